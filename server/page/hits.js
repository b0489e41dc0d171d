// One hit: what it is, and where its score comes from.

import { fill, h, scrolled, table } from "./dom.js";
import { facts } from "./format.js";
import { matchName, spansOf, splitTitle, tokenName } from "./explain.js";
import { codePoints, paint } from "./text.js";

/**
 * A hit of a list.
 * @param {Record<string, any>} hit
 * @param {number} rank from 1
 */
export function hitView(hit, rank) {
  const heading = h("span", { class: "title" }, hit.title || hit.id);
  const body = h("div", { class: "text", role: "group", "aria-label": `Text of hit ${rank}` });
  const matched = h("p", { class: "matched", hidden: true });
  const explanation = hit.explanation ?? null;
  const points = explanation ? codePoints(explanation.text) : [];
  const { titleEnd, textStart } = splitTitle(points, hit.title ?? "");
  fill(body, hit.text ?? "");
  const hasMetadata = hit.metadata && Object.keys(hit.metadata).length > 0;
  const node = h(
    "li",
    { class: "hit", tabindex: "-1", "data-id": hit.id },
    h("h3", {}, h("span", { class: "rank" }, `${rank}. `), heading),
    h("p", { class: "quiet" }, `score ${hit.score.toFixed(4)} · id `, h("code", {}, hit.id)),
    hit.text || explanation ? body : null,
    matched,
    hasMetadata ? h("details", {}, h("summary", {}, "Metadata"), facts(hit.metadata, true)) : null,
    explanation ? contributions(explanation, hit) : null,
  );

  return {
    node,
    explanation,
    /** Once it is in the page: a text that scrolls can be reached by keyboard. */
    settle() {
      if (body.scrollHeight > body.clientHeight) body.tabIndex = 0;
    },
    /** Shade by all contributions, or show what one query token matched. */
    highlight(chosen, most) {
      if (!explanation) return;
      const spans = spansOf(explanation, chosen);
      if (titleEnd) paint(heading, points, 0, titleEnd, spans, most);
      paint(body, points, textStart, points.length, spans, most);
      matched.hidden = chosen === null;
      if (chosen !== null) fill(matched, sentence(explanation.matches[chosen]));
      const first = body.querySelector("mark.chosen");
      if (first) body.scrollTop = Math.max(0, first.offsetTop - body.offsetTop - 20);
    },
  };
}

function sentence(match) {
  return [
    h("q", {}, tokenName(match.query_token)),
    " matched ",
    h("q", {}, matchName(match)),
    `: similarity ${match.similarity.toFixed(3)}, adds ${match.contribution.toFixed(3)}.`,
  ];
}

/** The table whose last column adds up to the score. */
function contributions(explanation, hit) {
  const rows = explanation.matches.map((match) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, tokenName(match.query_token)),
      h("td", {}, matchName(match)),
      number(match.similarity),
      number(match.contribution),
    ),
  );
  const sum = explanation.matches.reduce((before, match) => before + match.contribution, 0);
  const total = h("tr", {}, h("th", { scope: "row", colspan: "3" }, "sum"), number(sum));
  const head = ["query token", "matched", "similarity", "adds"];
  return h(
    "details",
    { class: "contributions" },
    h("summary", {}, `Contributions of ${explanation.matches.length} query tokens`),
    scrolled("Table of contributions", table(head, rows, undefined, total)),
    h("p", { class: "quiet" }, origin(explanation, hit)),
  );
}

function number(value) {
  return h("td", { class: "number" }, value.toFixed(4));
}

function origin(explanation, hit) {
  const from =
    explanation.scored_from === "codes"
      ? "The vectors were made again from lossy codes; nothing else is kept of them."
      : "The vectors are those that the index stores.";
  const same = Math.abs(explanation.score - hit.score) <= 1e-3 * Math.max(1, Math.abs(hit.score));
  return same ? from : `${from} The hit's own score, ${hit.score.toFixed(4)}, is a fused one.`;
}
