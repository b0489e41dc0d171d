// Where the time of a search went.

import { bars } from "./format.js";

const OUTER = ["queue", "encode", "search", "fetch", "explain"];

/**
 * Stages as bars: those that follow each other first, then, indented, those within the search.
 * @param {Record<string, number>} timings milliseconds by stage
 */
export function timingBars(timings) {
  const row = (name, inner = false) => ({
    name,
    value: timings[name],
    text: `${timings[name].toFixed(2)} ms`,
    inner,
  });
  const outer = OUTER.filter((name) => name in timings);
  const inner = Object.keys(timings).filter((name) => !OUTER.includes(name) && name !== "total");
  const within = inner.map((name) => row(name, true));
  const rows = outer.flatMap((name) => [row(name), ...(name === "search" ? within : [])]);
  const rest = outer.includes("search") ? [] : inner.map((name) => row(name));
  const total = "total" in timings ? [row("total")] : [];
  return bars("Milliseconds by stage (indented: within the search)", [...rows, ...rest, ...total]);
}
