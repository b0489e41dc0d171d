// The view Search.

import { call, ofCollection } from "./api.js";
import { allCollections, areLoading } from "./collections.js";
import { copying } from "./copying.js";
import { button, fill, h, statusLine } from "./dom.js";
import { clearProblems, field, numberOf, showProblem } from "./fields.js";
import { counted, facts } from "./format.js";
import { heatmap } from "./heatmap.js";
import { hitView } from "./hits.js";
import { searchSettings } from "./settings.js";
import { timingBars } from "./timings.js";

/** The view: its node, and `enter` for whenever it comes into sight. */
export function searchView() {
  const query = field("Query", h("textarea", { rows: 2, required: true, autocomplete: "off" }), "Enter searches.");
  const limit = field("Hits", h("input", { type: "number", min: "1", step: "1", value: "10" }));
  const tokens = field("Token heat map", h("input", { type: "checkbox" }));
  const plan = field("Plan", h("input", { type: "checkbox" }));
  const settings = searchSettings("Where and how", known);
  const fields = new Map([["/query", query], ["/limit", limit], ["/explain", tokens], ...settings.fields]);
  const told = statusLine();
  const wrong = h("div");
  const heat = heatmap();
  const list = h("ol", { class: "hits" });
  const more = button("More hits", () => next(), { hidden: true });
  const about = h("div", { class: "about" });
  const form = h(
    "form",
    { role: "search", "aria-label": "Search a collection", novalidate: true, onsubmit: submitted },
    query.node,
    h("div", { class: "row" }, limit.node, tokens.node, plan.node, h("button", { class: "main" }, "Search")),
    settings.node,
    copying(() => {
      const body = request();
      return body && { collection: settings.collection, body };
    }),
  );
  const node = h("section", {}, form, told, wrong, about, heat.node, list, more);
  /** @type {AbortController | null} */ let running = null;
  /** @type {Array<ReturnType<typeof hitView>>} */ let views = [];
  /** @type {{collection: string, body: Record<string, any>} | null} */ let current = null;
  /** @type {string | null} */ let cursor = null;
  /** @type {string | null} */ let shown = null;
  /** @type {Promise<boolean>} */ let entering = Promise.resolve(false);

  query.input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });

  function known(detail) {
    if (detail.name === shown) return; // what was ticked stays ticked
    shown = detail.name;
    const late = detail.kind === "late";
    tokens.input.disabled = !late;
    tokens.input.checked = late;
    tokens.node.title = late ? "" : "This collection has one vector a document: there are no tokens to show.";
  }

  function request() {
    clearProblems(fields);
    const rest = settings.read();
    if (rest === null) return null;
    if (query.input.value.trim() === "") {
      query.show("Write what to search for.");
      query.input.focus();
      return null;
    }
    const explain = [plan.input.checked && "plan", tokens.input.checked && "tokens"].filter(Boolean);
    const body = { query: query.input.value, limit: numberOf(limit.input) ?? 10, ...rest };
    return explain.length ? { ...body, explain } : body;
  }

  async function submitted(event) {
    event.preventDefault();
    await entering; // whoever is quick need not know that the collections were still being asked for
    await settings.ready;
    const body = request();
    if (body === null) return;
    current = { collection: settings.collection, body };
    await run(null);
  }

  async function next() {
    const before = views.length;
    await run(cursor);
    views[before]?.node.focus();
  }

  async function run(after) {
    running?.abort();
    const mine = (running = new AbortController());
    fill(told, "Searching…");
    fill(wrong);
    more.hidden = true;
    const { collection, body } = /** @type {any} */ (current);
    const sent = after === null ? body : { ...body, cursor: after };
    try {
      const answer = await call("POST", ofCollection(collection, "/search"), sent, mine.signal);
      show(answer, after !== null);
    } catch (problem) {
      if (problem.name === "AbortError") return; // a newer search took its place
      fill(told, "The search failed.");
      if (after === null) clear();
      else more.hidden = false;
      showProblem(wrong, problem, fields);
    }
  }

  function clear() {
    views = [];
    fill(list);
    fill(about);
    heat.show([]);
  }

  function show(answer, isMore) {
    if (!isMore) clear();
    const added = answer.hits.map((hit, i) => hitView(hit, views.length + i + 1));
    views = [...views, ...added];
    list.append(...added.map((view) => view.node));
    for (const view of added) view.settle();
    heat.show(views, isMore);
    cursor = answer.next_cursor ?? null;
    more.hidden = cursor === null;
    const { stages_ms: _, ...steps } = answer.plan ?? {}; // they are among the bars
    const took = answer.timings_ms.total === undefined ? "" : ` in ${answer.timings_ms.total.toFixed(1)} ms`;
    const none = views.length === 0 ? " Nothing was found; is the filter too narrow?" : "";
    fill(told, `${counted(views.length, "hit")}${took}, generation ${answer.generation}.${none}`);
    fill(
      about,
      answer.partial ? h("p", { class: "warning" }, "Partial: damaged parts of the index were left out.") : null,
      h("details", { open: true }, h("summary", {}, "Time"), timingBars(answer.timings_ms)),
      answer.plan ? h("details", { open: true, class: "plan" }, h("summary", {}, "Plan"), facts(steps)) : null,
    );
  }

  async function prepare() {
    try {
      const all = await allCollections();
      if (!all.length) fill(told, "There is no collection yet: PUT /v1/collections/NAME makes one.");
      await settings.offer(all);
      return areLoading(all);
    } catch (problem) {
      showProblem(wrong, problem, fields);
      return false;
    }
  }

  return { title: "Search", node, enter: () => (entering = prepare()), leave() {} };
}
