// The query's tokens as buttons: press one to see in every hit what it matched.

import { button, fill, h } from "./dom.js";
import { mostHeat, queryTotals, tokenName } from "./explain.js";
import { counted } from "./format.js";

/** The panel; it paints the hits it is shown. */
export function heatmap() {
  const node = h("section", { class: "tokens", "aria-label": "Query tokens", hidden: true });
  const row = h("div", { class: "chips", role: "group", "aria-label": "Query tokens" });
  const told = h("p", { role: "status", class: "quiet" });
  node.append(h("h3", {}, "Query tokens"), row, told, legend());
  /** @type {Array<ReturnType<typeof import("./hits.js").hitView>>} */
  let views = [];
  /** @type {number | null} */ let chosen = null;

  function choose(position) {
    chosen = position === chosen ? null : position;
    draw();
  }

  function draw() {
    const explanations = views.map((view) => view.explanation).filter(Boolean);
    const totals = queryTotals(explanations);
    node.hidden = totals.length === 0;
    if (node.hidden) return;
    [...row.children].forEach((each, i) => each.setAttribute("aria-pressed", String(i - 1 === (chosen ?? -1))));
    const most = mostHeat(explanations, chosen);
    for (const view of views) view.highlight(chosen, most);
    const over = counted(explanations.length, "hit");
    fill(
      told,
      chosen === null
        ? `Texts are shaded by what all query tokens together added, over ${over}. Press a token to see its matches.`
        : `“${tokenName(totals[chosen].token)}” added ${totals[chosen].total.toFixed(3)} over ${over}; ` +
            "what it matched is outlined.",
    );
  }

  return {
    node,
    /** @param {Array<ReturnType<typeof import("./hits.js").hitView>>} hits */
    show(hits, keepChoice = false) {
      views = hits;
      if (!keepChoice) chosen = null;
      const totals = queryTotals(hits.map((hit) => hit.explanation).filter(Boolean));
      const tokens = totals.map(({ token, total }, i) =>
        button([tokenName(token), " ", h("span", { class: "number" }, total.toFixed(2))], () => choose(i), {
          class: "chip token",
          "aria-pressed": "false",
        }),
      );
      const all = button("all tokens", () => choose(chosen), { class: "chip", "aria-pressed": "true" });
      fill(row, all, tokens);
      draw();
    },
  };
}

function legend() {
  const steps = [0, 0.25, 0.5, 0.75, 1].map((step) => {
    const mark = h("mark", {}, step === 0 ? "none" : step === 1 ? "most" : "…");
    mark.style.setProperty("--heat", String(step));
    return mark;
  });
  return h("p", { class: "legend", "aria-hidden": "true" }, "added: ", steps);
}
