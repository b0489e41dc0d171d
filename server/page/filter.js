// The filter as JSON, checked before it is sent.

import { fill, h, button } from "./dom.js";
import { field } from "./fields.js";

const EXAMPLE = { bool: true, string: "text" };

/**
 * Reads a filter. Gives undefined for an empty one.
 * @param {string} text
 * @returns {Record<string, any> | undefined}
 * @throws {SyntaxError} with what is wrong, as a sentence
 */
export function readFilter(text) {
  if (text.trim() === "") return undefined;
  let value;
  try {
    value = JSON.parse(text, checkedNumber);
  } catch (error) {
    if (error instanceof RangeError) throw new SyntaxError(error.message);
    throw new SyntaxError(`This is not JSON: ${error.message}.`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new SyntaxError('A filter is a JSON object, such as {"year": {"gte": 2000}}.');
  }
  return value;
}

/** A browser would round a larger one, and the filter would be another. */
function checkedNumber(_key, value) {
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new RangeError(`A browser cannot hold the number ${value} exactly; send this filter by the API.`);
  }
  return value;
}

/** The field, with buttons that write a condition on one of the collection's metadata fields. */
export function filterField() {
  const input = h("textarea", { rows: 2, spellcheck: "false", class: "code" });
  const made = field("Filter (JSON)", input, 'Such as {"year": {"gte": 2000}, "lang": ["en", "de"]}');
  const offered = h("div", { class: "chips", role: "group", "aria-label": "Add a condition on a field" });
  made.node.append(offered);
  input.addEventListener("input", () => made.show(null));
  return {
    ...made,
    /** @param {Record<string, string>} types the collection's metadata fields */
    offer(types) {
      const names = Object.entries(types);
      fill(offered, names.length ? "Fields: " : "This collection has no metadata fields.");
      for (const [name, type] of names) {
        offered.append(button(`${name} (${type})`, () => add(name, type), { class: "chip" }));
      }
    },
    /** The filter, or null after saying what is wrong with it. */
    read() {
      try {
        const value = readFilter(input.value);
        made.show(null);
        return { value };
      } catch (error) {
        made.show(error.message);
        return null;
      }
    },
  };

  function add(name, type) {
    let value;
    try {
      value = readFilter(input.value) ?? {};
    } catch (error) {
      made.show(error.message);
      return;
    }
    const part = { [name]: condition(type) };
    const long = ["must", "should", "must_not"].some((key) => key in value);
    const next = long ? { must: [value, { must: [{ key: name, ...full(type) }] }] } : { ...value, ...part };
    input.value = JSON.stringify(next, null, 1);
    input.focus();
  }
}

function condition(type) {
  if (type in EXAMPLE) return EXAMPLE[type];
  if (/date|time/.test(type)) return { gte: "2000-01-01" };
  return /int|double|float/.test(type) ? { gte: 0 } : EXAMPLE.string;
}

function full(type) {
  const short = condition(type);
  return typeof short === "object" ? { range: short } : { match: { value: short } };
}
