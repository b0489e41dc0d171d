// Text by code points. Positions of tokens count code points, as Python does; strings here count UTF-16
// units, in which one emoji is two.

import { h, setVariable } from "./dom.js";

/**
 * @typedef {{start: number, end: number, weight: number, label: string, chosen: boolean}} Span
 */

/** @param {string} text @returns {string[]} */
export function codePoints(text) {
  return Array.from(text);
}

/**
 * Writes `points[from:to]` into an element, with marks where spans lie; where they overlap, weights add up.
 * @param {HTMLElement} parent
 * @param {string[]} points
 * @param {number} from
 * @param {number} to
 * @param {Span[]} spans
 * @param {number} most the weight that is shaded fully
 */
export function paint(parent, points, from, to, spans, most) {
  parent.replaceChildren();
  const inside = spans.filter((span) => span.start < to && span.end > from && span.start < span.end);
  const edges = new Set([from, to]);
  for (const span of inside) edges.add(Math.max(span.start, from)).add(Math.min(span.end, to));
  const ordered = [...edges].sort((a, b) => a - b);
  const byStart = inside.toSorted((a, b) => a.start - b.start);
  let next = 0;
  let open = [];
  for (let i = 0; i + 1 < ordered.length; i += 1) {
    const [start, end] = [ordered[i], ordered[i + 1]];
    while (next < byStart.length && byStart[next].start <= start) open.push(byStart[next++]);
    open = open.filter((span) => span.end > start);
    const text = points.slice(start, end).join("");
    parent.append(open.length ? mark(text, open, most) : text);
  }
}

function mark(text, spans, most) {
  const weight = spans.reduce((sum, span) => sum + span.weight, 0);
  const chosen = spans.some((span) => span.chosen);
  const node = h("mark", { class: chosen ? "chosen" : null, title: spans.map((s) => s.label).join("\n") }, text);
  return setVariable(node, "--heat", most > 0 ? Math.min(1, Math.max(0, weight / most)).toFixed(3) : 0);
}
