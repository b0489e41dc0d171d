// Which view is in sight: the part of the address after the #.

import { compareView } from "./compare.js";
import { h } from "./dom.js";
import { indexView } from "./index-page.js";
import { searchView } from "./search.js";
import { tasksView } from "./tasks.js";

const AGAIN_MS = 2000;
const MAKERS = { search: searchView, compare: compareView, index: indexView, tasks: tasksView };
const main = /** @type {HTMLElement} */ (document.getElementById("main"));
/** @type {Map<string, any>} */
const views = new Map();
/** @type {any} */ let current = null;
/** @type {any} */ let timer = null;

function nameOf(hash) {
  const name = hash.replace(/^#\//, "");
  return name in MAKERS ? name : "search";
}

function viewOf(name) {
  if (!views.has(name)) {
    const view = MAKERS[name]();
    const heading = h("h2", { tabindex: "-1" }, view.title);
    const section = h("div", { class: "view", id: `view-${name}` }, heading, view.node);
    main.append(section);
    views.set(name, { ...view, heading, section });
  }
  return views.get(name);
}

function go(isFirst) {
  if (location.hash === "#main") return; // the link that skips the navigation
  const name = nameOf(location.hash);
  const next = viewOf(name);
  if (next === current) return;
  clearTimeout(timer);
  current?.leave();
  for (const [key, view] of views) view.section.hidden = key !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${next.title} – Retrieval`;
  current = next;
  if (!isFirst) next.heading.focus();
  enter(next);
}

/** A view that found collections still loading enters again, as long as it is in sight. */
async function enter(view) {
  clearTimeout(timer);
  const again = await view.enter();
  clearTimeout(timer); // of another that came meanwhile
  if (again === true && current === view) timer = setTimeout(enter, AGAIN_MS, view);
}

addEventListener("hashchange", () => go(false));
go(true);
