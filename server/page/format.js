// Values as people read them.

import { h, scrolled, setVariable, table } from "./dom.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** @param {number} bytes */
export function bytesText(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** @param {number} value whole numbers with separators, others with `digits` behind the point */
export function numberText(value, digits = 3) {
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return Math.abs(value) >= 0.001 ? value.toFixed(digits) : value.toPrecision(2);
}

/** @param {string | null} time ISO 8601 */
export function timeText(time) {
  return time ? new Date(time).toLocaleString() : "–";
}

/** @param {number} count */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en-US")} ${count === 1 ? one : many}`;
}

/**
 * An object as a list of names and values, however deep. Names are words of ours and numbers are measures,
 * unless `isTheirs`: then both are a user's, and stand as they came (a year has no thousands).
 * @param {Record<string, any>} values
 */
export function facts(values, isTheirs = false) {
  const rows = Object.entries(values).map(([name, value]) =>
    h("div", {}, h("dt", {}, isTheirs ? name : name.replaceAll("_", " ")), h("dd", {}, shown(value, isTheirs))),
  );
  return h("dl", { class: "facts" }, rows);
}

function shown(value, isTheirs) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number" && !isTheirs) return numberText(value);
  if (Array.isArray(value)) {
    return value.every((item) => typeof item !== "object") ? value.join(", ") || "–" : alike(value, isTheirs);
  }
  return typeof value === "object" ? facts(value, isTheirs) : String(value);
}

/** A list of objects as a table, a column for every name that any of them has. */
function alike(items, isTheirs) {
  const head = [...new Set(items.flatMap((item) => Object.keys(item ?? {})))];
  const cells = (item) => head.map((name) => h("td", {}, shown(item?.[name], isTheirs)));
  return scrolled("Table", table(head, items.map((item) => h("tr", {}, cells(item)))));
}

/**
 * Numbers as bars, the longest the whole width; the number stands beside.
 * @param {string} caption
 * @param {Array<{name: string, value: number, text: string, inner?: boolean}>} rows
 */
export function bars(caption, rows) {
  const most = Math.max(...rows.map((row) => row.value), Number.MIN_VALUE);
  const lines = rows.map((row) =>
    h(
      "tr",
      { class: row.inner ? "inner" : null },
      h("th", { scope: "row" }, row.name),
      h("td", { class: "track" }, setVariable(h("span", { class: "bar" }), "--share", row.value / most)),
      h("td", { class: "number" }, row.text),
    ),
  );
  return h("table", { class: "bars" }, h("caption", {}, caption), h("tbody", {}, lines));
}
