// Elements made by calls: text goes in as text nodes, so nothing a server sends is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected"]);

/**
 * An element. `on...` functions are listeners, null and false are left out, everything else is an attribute.
 * @param {string} tag
 * @param {Record<string, any>} [given]
 * @param {...(Node | string | number | null | undefined | Array<any>)} children
 * @returns {any}
 */
export function h(tag, given = {}, ...children) {
  return filled(document.createElement(tag), given, children);
}

/** As `h`, for SVG. */
export function svg(tag, given = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), given, children);
}

function filled(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) element.append(child instanceof Node ? child : String(child));
  }
}

/** Replace what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

let made = 0;

/** An id that no other element of the page has. */
export function freshId(prefix) {
  made += 1;
  return `${prefix}-${made}`;
}

/** Sets a custom property of style, which the policy allows where it forbids a style attribute. */
export function setVariable(element, name, value) {
  element.style.setProperty(name, String(value));
  return element;
}

/** A button that does not submit a form. */
export function button(label, onclick, given = {}) {
  return h("button", { type: "button", onclick, ...given }, label);
}

/** What may be wider than the page: it scrolls by itself, also by keyboard. */
export function scrolled(label, ...children) {
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, children);
}

/** A table of these columns. @param {string[]} head @param {Node[]} rows @param {string} [caption] */
export function table(head, rows, caption, foot = null) {
  return h(
    "table",
    {},
    caption ? h("caption", {}, caption) : null,
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows),
    foot ? h("tfoot", {}, foot) : null,
  );
}

/** A line that screen readers announce when it changes. */
export function statusLine() {
  return h("p", { role: "status", class: "status" });
}
