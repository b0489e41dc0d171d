// Two rankings of the same query, compared.

/**
 * @typedef {{id: string, a: number | null, b: number | null,
 *   change: "same" | "up" | "down" | "new" | "gone", by: number}} RankRow
 */

/**
 * Every document of either ranking with its ranks (from 1): by the rank in B, then those that B has not.
 * @param {string[]} a ids, best first
 * @param {string[]} b
 * @returns {{rows: RankRow[], shared: number, of: number}} `shared` documents are in both, of the longer's length
 */
export function compareRankings(a, b) {
  const rankA = new Map(a.map((id, i) => [id, i + 1]));
  const rankB = new Map(b.map((id, i) => [id, i + 1]));
  const gone = a.filter((id) => !rankB.has(id));
  const rows = [...b, ...gone].map((id) => row(id, rankA.get(id) ?? null, rankB.get(id) ?? null));
  return { rows, shared: b.filter((id) => rankA.has(id)).length, of: Math.max(a.length, b.length) };
}

function row(id, a, b) {
  if (a === null) return { id, a, b, change: "new", by: 0 };
  if (b === null) return { id, a, b, change: "gone", by: 0 };
  const change = a === b ? "same" : b < a ? "up" : "down";
  return { id, a, b, change, by: Math.abs(a - b) };
}

/** In words. @param {RankRow} each */
export function changeText({ change, by }) {
  return { same: "=", up: `▲ up ${by}`, down: `▼ down ${by}`, new: "new in B", gone: "gone in B" }[change];
}
