// Buttons that copy the current search as a command or a program.

import { button, h } from "./dom.js";
import { asCurl, asPython } from "./snippets.js";

/** @param {() => {collection: string, body: Record<string, any>} | null} current */
export function copying(current) {
  const code = h("textarea", { class: "code", readonly: true, rows: 8, "aria-label": "Copied text", hidden: true });
  const told = h("span", { role: "status", class: "quiet" });

  async function copy(write, name) {
    const search = current();
    if (search === null) return;
    code.value = write(search.collection, search.body);
    code.hidden = false;
    code.select();
    try {
      await navigator.clipboard.writeText(code.value);
      told.textContent = `Copied as ${name}.`;
    } catch {
      told.textContent = "The browser does not let the page copy; the text is selected: press Ctrl+C.";
    }
  }

  return h(
    "div",
    { class: "copying" },
    button("Copy as curl", () => copy(asCurl, "curl")),
    button("Copy as Python", () => copy(asPython, "Python")),
    told,
    code,
  );
}
