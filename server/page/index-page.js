// The view Index: what a collection is made of and how good it is.

import { call, ofCollection } from "./api.js";
import { allCollections, detailOf, offer } from "./collections.js";
import { recallCurve } from "./curve.js";
import { doctorReport } from "./doctor.js";
import { button, fill, h, statusLine } from "./dom.js";
import { field, showProblem } from "./fields.js";
import { bars, bytesText, facts, numberText } from "./format.js";
import { progressOf } from "./tasks.js";
import { isFinal, watch } from "./watch.js";

const PLAIN = [
  ...["kind", "metric", "dim", "precision", "pooling", "documents", "pending", "tokens", "segments"],
  ...["encoder", "generation", "created_at", "writable"],
];

/** The view. */
export function indexView() {
  const collection = field("Collection", h("select"));
  const told = statusLine();
  const place = h("div");
  const node = h("section", {}, collection.node, told, place);
  let stopWatching = () => {};
  let asked = 0;
  collection.input.addEventListener("change", show);

  async function show() {
    stopWatching();
    const mine = ++asked;
    const name = collection.input.value;
    fill(place);
    if (!name) {
      fill(told, "There is no collection that is ready.");
      return;
    }
    fill(told, "Loading…");
    try {
      const detail = await detailOf(name);
      if (mine !== asked) return;
      fill(told, `${detail.name}: ${numberText(detail.documents)} documents, generation ${detail.generation}.`);
      fill(place, sections(detail));
    } catch (problem) {
      if (mine !== asked) return;
      fill(told, "");
      showProblem(place, problem);
    }
  }

  function sections(detail) {
    const { geometry, curve, doctor, ...measured } = detail.quality ?? {};
    const plain = Object.fromEntries(PLAIN.filter((key) => key in detail).map((key) => [key, detail[key]]));
    return [
      part("Facts", facts(plain)),
      part("Aliases", detail.aliases?.length ? detail.aliases.join(", ") : "No alias names this collection."),
      part("Size on disk", sizes(detail.bytes)),
      part("Metadata fields", Object.keys(detail.fields ?? {}).length ? facts(detail.fields, true) : "None."),
      part("Recipe", detail.recipe ? facts(detail.recipe) : "None: every stored vector is scored."),
      part("Advice", advice(detail.advice ?? [])),
      part("Recall", curve?.points?.length ? recallCurve(curve) : "Nothing was measured: every search is exact."),
      geometry ? part("Geometry", facts({ ...geometry, ...plainOf(measured) })) : null,
      part("Doctor", examination(detail.name, doctor)),
    ];
  }

  function examination(name, stored) {
    const state = h("div", { role: "status" });
    const report = h("div", {}, stored ? doctorReport(stored) : null);
    const start = button("Run the doctor", async () => {
      start.disabled = true;
      fill(report);
      try {
        const task = await call("POST", ofCollection(name, "/diagnose"), {});
        follow(task);
      } catch (problem) {
        failed(problem);
      }
    });

    function follow(task) {
      told(task);
      if (!isFinal(task)) stopWatching = watch(task.id, told, failed);
    }

    function told(task) {
      fill(state, progressOf(task));
      if (!isFinal(task)) return;
      start.disabled = false;
      if (task.result) fill(report, doctorReport(task.result));
    }

    function failed(problem) {
      start.disabled = false;
      fill(state);
      showProblem(report, problem);
    }

    const hint = "Tries recipes on a sample of the documents; nothing is changed. It needs a key that may administer.";
    return [h("p", { class: "quiet" }, hint), start, state, report];
  }

  return {
    title: "Index",
    node,
    async enter() {
      try {
        offer(collection.input, await allCollections());
        await show();
      } catch (problem) {
        showProblem(place, problem);
      }
    },
    leave() {
      stopWatching();
    },
  };
}

function part(title, ...content) {
  return h("section", { class: "part", "aria-label": title }, h("h3", {}, title), content);
}

function sizes(bytes) {
  const rows = Object.entries(bytes ?? {}).sort((a, b) => b[1] - a[1]);
  const total = rows.reduce((sum, [, size]) => sum + size, 0);
  return bars(
    `${bytesText(total)} in all`,
    rows.map(([name, value]) => ({ name, value, text: bytesText(value) })),
  );
}

function advice(lines) {
  return lines.length ? h("ul", {}, lines.map((line) => h("li", {}, line))) : "Nothing to advise.";
}

/** Numbers beside the curve and the geometry; objects have their own place or none. */
function plainOf(measured) {
  return Object.fromEntries(Object.entries(measured).filter(([, value]) => typeof value === "number"));
}
