// The recall curve that was measured when the index was trained.

import { h, scrolled, svg, table } from "./dom.js";
import { numberText } from "./format.js";

const [WIDTH, HEIGHT] = [640, 280];
const SPACE = { left: 52, right: 100, top: 14, bottom: 42 };
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
const GRAPH_VISIT = 60; // of the cost model: a node of a graph costs as much as so many codes

/**
 * @typedef {{k: number, nprobe: number, ef_search: number, depth: number, recall: number, error: number,
 *   scanned: number, scored: number, work: number | null}} Point
 */

/** Milliseconds that an effort takes, by the model that the engine chooses by. @param {Point} point */
export function costOf(point, curve) {
  const finding = point.work ?? point.scanned * (point.ef_search ? GRAPH_VISIT : 1);
  return ((curve.preparing ?? 0) + (curve.pace ?? 1) * finding + point.depth * curve.row_cost) / 1e6;
}

/** Recall against cost, a line for each k, and the same as a table. */
export function recallCurve(curve) {
  const points = curve.points.map((point) => ({ ...point, cost: costOf(point, curve) }));
  const ks = [...new Set(points.map((point) => point.k))].sort((a, b) => a - b);
  const told =
    `Measured with ${curve.queries} pseudo-queries on ${numberText(curve.documents)} documents: ` +
    "the recall of the best k, and what finding and scoring them costs.";
  const picture = scrolled("Picture of the curve", drawn(points, ks));
  return h("figure", {}, h("figcaption", {}, told), picture, tabled(points));
}

function drawn(points, ks) {
  const costs = points.map((point) => Math.max(point.cost, 1e-6));
  const [low, high] = [Math.log10(Math.min(...costs)), Math.log10(Math.max(...costs))];
  const worst = Math.min(0.9, ...points.map((point) => point.recall));
  const right = WIDTH - SPACE.right;
  const bottom = HEIGHT - SPACE.bottom;
  const wide = (right - SPACE.left) / (high - low || 1);
  const x = (cost) => SPACE.left + (Math.log10(Math.max(cost, 1e-6)) - low) * wide;
  const y = (recall) => bottom - ((recall - worst) / (1 - worst)) * (bottom - SPACE.top);
  const picture = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    class: "curve",
    role: "img",
    "aria-label": "Recall against milliseconds; the table below has the numbers",
  });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const recall = worst + share * (1 - worst);
    const at = y(recall);
    picture.append(svg("line", { x1: SPACE.left, x2: right, y1: at, y2: at, class: "grid" }));
    picture.append(svg("text", { x: SPACE.left - 6, y: at + 4, "text-anchor": "end" }, recall.toFixed(3)));
    const cost = 10 ** (low + share * (high - low));
    picture.append(svg("text", { x: x(cost), y: bottom + 16, "text-anchor": "middle" }, cost.toPrecision(2)));
  }
  picture.append(svg("text", { x: (SPACE.left + right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "ms (log)"));
  ks.forEach((k, i) => picture.append(line(points.filter((point) => point.k === k), k, i, x, y)));
  return picture;
}

function line(points, k, i, x, y) {
  const sorted = points.toSorted((a, b) => a.cost - b.cost);
  const path = sorted.map((point) => `${x(point.cost).toFixed(1)},${y(point.recall).toFixed(1)}`).join(" ");
  const dashes = DASHES[i % DASHES.length] || null;
  const group = svg("g", { class: `line line-${i % DASHES.length}` });
  group.append(svg("polyline", { points: path, fill: "none", "stroke-dasharray": dashes }));
  for (const point of sorted) {
    const dot = svg("circle", { cx: x(point.cost), cy: y(point.recall), r: 3 });
    dot.append(svg("title", {}, `recall@${k} ${point.recall.toFixed(3)} in ${point.cost.toPrecision(2)} ms`));
    group.append(dot);
  }
  // Lines often end at the same recall, so their names do not stand at their ends.
  const [from, at] = [WIDTH - SPACE.right + 12, SPACE.top + 6 + 18 * i];
  group.append(svg("line", { x1: from, x2: from + 24, y1: at, y2: at, "stroke-dasharray": dashes }));
  group.append(svg("text", { x: from + 30, y: at + 4 }, `k = ${k}`));
  return group;
}

function tabled(points) {
  const head = ["k", "recall", "± error", "ms", "lists probed", "refined"];
  const rows = points.map(({ k, recall, error, cost, nprobe, depth }) => {
    const cells = [k, recall.toFixed(4), error.toFixed(4), cost.toPrecision(3), nprobe, depth];
    return h("tr", {}, cells.map((cell) => h("td", { class: "number" }, cell)));
  });
  return h(
    "details",
    {},
    h("summary", {}, "The curve as numbers"),
    scrolled("Recall curve", table(head, rows)),
  );
}
