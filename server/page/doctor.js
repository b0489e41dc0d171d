// The doctor's report: the geometry of the vectors, and what each recipe makes of them.

import { h, scrolled, table } from "./dom.js";
import { facts, numberText } from "./format.js";

/** @param {Record<string, any>} report */
export function doctorReport(report) {
  const chosen = report.chosen
    ? h("p", {}, "Best: the preset ", h("strong", {}, report.chosen), ".")
    : h("p", { class: "warning" }, "No recipe could be made of these documents.");
  const spread = report.maxsim_spread === undefined ? {} : { maxsim_spread: report.maxsim_spread };
  return h(
    "div",
    { class: "report" },
    h("p", {}, `Tried on ${numberText(report.documents)} documents of ${numberText(report.tokens)} vectors.`),
    chosen,
    facts({ ...report.geometry, ...spread }),
    trials(report.trials ?? [], report.chosen),
  );
}

function trials(tried, chosen) {
  const head = ["recipe", "best recall", "target", "ms a query", "seconds to make", "settings"];
  const rows = tried.map((trial) => {
    const name = trial.name === chosen ? `${trial.name} (best)` : trial.name;
    const cells = trial.failed
      ? [h("td", { colspan: "4" }, `cannot be made: ${trial.failed}`)]
      : [
          h("td", { class: "number" }, recallText(trial)),
          h("td", { class: "number" }, trial.recall_target),
          h("td", { class: "number" }, trial.cost_ms === null ? "not reached" : trial.cost_ms.toFixed(2)),
          h("td", { class: "number" }, trial.seconds.toFixed(1)),
        ];
    const settings = Object.entries(trial.recipe ?? {}).map(([key, value]) => `${key}=${value}`);
    return h("tr", {}, h("th", { scope: "row" }, name), cells, h("td", {}, settings.join(" ")));
  });
  return scrolled("Recipes tried", table(head, rows, "Recipes tried on a sample"));
}

function recallText({ recall, k }) {
  return recall === null ? "not measured" : `${recall.toFixed(3)} @${k}`;
}
