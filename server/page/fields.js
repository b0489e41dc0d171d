// Labelled inputs that can say what is wrong with them, and problems shown at the inputs they point to.

import { fill, freshId, h } from "./dom.js";

/**
 * @typedef {{node: HTMLElement, input: any, show(text: string | null): void}} Field
 */

/**
 * An input with its label, a hint and a place for what is wrong.
 * @param {string} label
 * @param {HTMLElement} input
 * @param {string} [hint]
 * @returns {Field}
 */
export function field(label, input, hint) {
  const id = freshId("field");
  const hintNode = hint ? h("small", { id: `${id}-hint` }, hint) : null;
  const wrong = h("p", { id: `${id}-wrong`, class: "wrong", hidden: true });
  const isBox = input.type === "checkbox";
  input.id = id;
  input.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-wrong` : `${id}-wrong`);
  const name = h("label", { for: id }, label);
  const node = h("div", { class: isBox ? "field box" : "field" }, isBox ? [input, name] : [name, input]);
  node.append(...[hintNode, wrong].filter(Boolean));
  return {
    node,
    input,
    show(text) {
      wrong.hidden = text === null;
      fill(wrong, text ?? "");
      if (text === null) input.removeAttribute("aria-invalid");
      else input.setAttribute("aria-invalid", "true");
    },
  };
}

/** A select with these values, or pairs of value and text. */
export function choice(values) {
  return h(
    "select",
    {},
    values.map((value) => {
      const [key, text] = Array.isArray(value) ? value : [value, value];
      return h("option", { value: key }, text);
    }),
  );
}

/** A number, or undefined where nothing was written. */
export function numberOf(input) {
  return input.value.trim() === "" ? undefined : Number(input.value);
}

const BY_CODE = { bad_filter: "/filter", unknown_collection: "/collection" };

/**
 * Says what is wrong, at the fields that it points to and as a sentence.
 * @param {HTMLElement} place
 * @param {any} problem
 * @param {Map<string, Field>} [fields] by the beginning of a JSON pointer
 */
export function showProblem(place, problem, fields = new Map()) {
  const errors = problem.errors?.length ? problem.errors : [];
  const pointed = errors.map((error) => [error.pointer, `${error.detail} (${error.pointer})`]);
  if (!pointed.length && BY_CODE[problem.code]) pointed.push([BY_CODE[problem.code], problem.message]);
  const rest = [];
  for (const [pointer, text] of pointed) {
    const at = [...fields.keys()].find((key) => pointer === key || pointer.startsWith(`${key}/`));
    if (at === undefined) rest.push(text);
    else fields.get(at).show(text);
  }
  const told = [problem.code, problem.requestId].filter(Boolean).join(", request ");
  const first = [...fields.values()].find((each) => each.input.getAttribute("aria-invalid") === "true");
  fill(
    place,
    h(
      "div",
      { class: "problem", role: "alert" },
      h("p", {}, h("strong", {}, "Problem: "), problem.message),
      rest.length > 1 ? h("ul", {}, rest.map((text) => h("li", {}, text))) : null,
      told ? h("p", { class: "quiet" }, told) : null,
    ),
  );
  first?.input.focus();
}

/** Takes back what `showProblem` said at fields. @param {Map<string, Field>} fields */
export function clearProblems(fields) {
  for (const each of fields.values()) each.show(null);
}
