// The view Compare: one query, two ways to search.

import { call, ofCollection } from "./api.js";
import { allCollections, areLoading } from "./collections.js";
import { fill, h, scrolled, statusLine, table } from "./dom.js";
import { clearProblems, field, numberOf, showProblem } from "./fields.js";
import { changeText, compareRankings } from "./ranking.js";
import { searchSettings } from "./settings.js";
import { timingBars } from "./timings.js";

const SIDES = ["A", "B"];

/** The view. */
export function compareView() {
  const query = field("Query", h("input", { type: "search", required: true, autocomplete: "off" }));
  const limit = field("Hits of each", h("input", { type: "number", min: "1", step: "1", value: "10" }));
  const settings = SIDES.map((side) => searchSettings(`Configuration ${side}`));
  const told = statusLine();
  const wrong = SIDES.map(() => h("div"));
  const summary = h("div");
  const columns = SIDES.map(() => h("div", { class: "side" }));
  const node = h(
    "section",
    {},
    h(
      "form",
      { "aria-label": "Compare two searches", novalidate: true, onsubmit: submitted },
      h("div", { class: "row" }, query.node, limit.node, h("button", { class: "main" }, "Compare")),
      h("div", { class: "sides" }, settings.map((each, i) => h("div", { class: "side" }, each.node, wrong[i]))),
    ),
    told,
    summary,
    h("div", { class: "sides" }, columns),
  );
  let asked = 0;
  /** @type {Promise<boolean>} */ let entering = Promise.resolve(false);

  async function submitted(event) {
    event.preventDefault();
    await entering;
    await Promise.all(settings.map((each) => each.ready));
    const bodies = settings.map((each) => {
      clearProblems(each.fields);
      return each.read();
    });
    query.show(query.input.value.trim() === "" ? "Write what to search for." : null);
    if (query.input.value.trim() === "") query.input.focus();
    else if (bodies.every((body) => body !== null)) await run(bodies);
  }

  async function run(bodies) {
    const mine = ++asked;
    fill(told, "Searching…");
    for (const place of [...wrong, ...columns, summary]) fill(place);
    const common = { query: query.input.value, limit: numberOf(limit.input) ?? 10, fields: ["title"] };
    const answers = await Promise.allSettled(
      bodies.map((body, i) => call("POST", ofCollection(settings[i].collection, "/search"), { ...common, ...body })),
    );
    if (mine !== asked) return;
    answers.forEach((answer, i) => {
      if (answer.status === "rejected") showProblem(wrong[i], answer.reason, fieldsOf(i));
    });
    if (answers.every((answer) => answer.status === "fulfilled")) show(answers.map((answer) => answer.value));
    else fill(told, "The comparison failed.");
  }

  function fieldsOf(side) {
    return new Map([["/query", query], ["/limit", limit], ...settings[side].fields]);
  }

  function show(answers) {
    const { rows, shared, of } = compareRankings(...answers.map((answer) => answer.hits.map((hit) => hit.id)));
    const share = of ? (shared / of).toFixed(2) : "–";
    fill(told, `overlap@${of}: ${share} (${shared} of ${of} documents are in both).`);
    const titles = new Map(answers.flatMap((answer) => answer.hits.map((hit) => [hit.id, hit.title || hit.id])));
    const byId = new Map(rows.map((row) => [row.id, row]));
    fill(summary, difference(rows, titles));
    answers.forEach((answer, i) => {
      const name = `${SIDES[i]}: ${settings[i].collection}`;
      fill(columns[i], h("h3", {}, name), hitList(answer.hits, byId, i), timingBars(answer.timings_ms));
    });
  }

  async function prepare() {
    try {
      const all = await allCollections();
      const ready = all.filter((one) => one.state === "ready").map((one) => one.name);
      const first = settings.every((each) => each.collection === "");
      await Promise.all(settings.map((each) => each.offer(all)));
      if (first && ready.length > 1) await settings[1].offer(all, ready[1]);
      return areLoading(all);
    } catch (problem) {
      showProblem(wrong[0], problem);
      return false;
    }
  }

  return { title: "Compare", node, enter: () => (entering = prepare()), leave() {} };
}

function hitList(hits, byId, side) {
  const items = hits.map((hit) => {
    const row = byId.get(hit.id);
    const other = side === 0 ? row.b : row.a;
    const place = other === null ? `not in ${SIDES[1 - side]}` : `${SIDES[1 - side]}: ${other}`;
    return h(
      "li",
      { "data-id": hit.id },
      h("span", { class: "title" }, hit.title || hit.id),
      h("span", { class: "quiet" }, ` ${hit.score.toFixed(4)} · ${place}`),
    );
  });
  return h("ol", { class: "ranking" }, items);
}

function difference(rows, titles) {
  const lines = rows.map((row) =>
    h(
      "tr",
      { class: `change-${row.change}` },
      h("th", { scope: "row" }, titles.get(row.id)),
      h("td", { class: "number" }, row.a ?? "–"),
      h("td", { class: "number" }, row.b ?? "–"),
      h("td", {}, changeText(row)),
    ),
  );
  const head = ["document", "rank in A", "rank in B", "change"];
  const made = table(head, lines, "Difference of the rankings");
  made.className = "difference";
  return scrolled("Difference of the rankings", made);
}
