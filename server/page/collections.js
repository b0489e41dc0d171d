// Which collections there are, and what each can do.

import { call, listed, ofCollection } from "./api.js";
import { fill, h } from "./dom.js";

/** @returns {Promise<import("./api.js").Summary[]>} */
export function allCollections() {
  return listed("/collections", "collections");
}

/** @returns {Promise<Record<string, any>>} */
export function detailOf(name) {
  return call("GET", ofCollection(name));
}

/** Whether some are still being opened, so that it is worth asking again. */
export function areLoading(all) {
  return all.some((one) => one.state === "loading");
}

/**
 * The ways a collection can be searched, its own first.
 * @param {Record<string, any>} detail
 */
export function modesOf(detail) {
  if (detail.kind === "dense") return ["dense", "hybrid"];
  const folded = String(detail.recipe?.reduce ?? "").includes("muvera");
  return [folded ? "muvera" : "late", "hybrid"];
}

/**
 * Offer collections, and aliases by the side, in a select; the choice stays if it is still there.
 * @param {HTMLSelectElement} select
 * @param {import("./api.js").Summary[]} all
 * @param {string} [empty] the text of a choice of none, which comes first
 */
export function offer(select, all, empty) {
  const chosen = select.value;
  const aliases = all.flatMap((one) => (one.aliases ?? []).map((alias) => [alias, one]));
  const none = empty === undefined ? [] : [h("option", { value: "" }, empty)];
  const group = aliases.map(([alias, one]) => option(alias, `${alias} → ${one.name}`, one));
  const named = all.map((one) => option(one.name, one.name, one));
  fill(select, none, named, group.length ? h("optgroup", { label: "Aliases" }, group) : null);
  const free = [...select.options].filter((each) => !each.disabled).map((each) => each.value);
  select.value = free.includes(chosen) ? chosen : (free[0] ?? "");
}

function option(value, label, summary) {
  const ready = summary.state === "ready";
  const text = ready ? `${label} (${summary.kind}, ${summary.documents})` : `${label} (${summary.state})`;
  return h("option", { value, disabled: !ready, title: summary.detail }, text);
}
