// How a collection is to be searched: the inputs that Search has once and Compare twice.

import { detailOf, modesOf, offer } from "./collections.js";
import { fill, h } from "./dom.js";
import { choice, field, numberOf } from "./fields.js";
import { filterField } from "./filter.js";

const FUSIONS = ["minmax", "zscore", "rrf", ["engine", "engine (its scores alone)"]];

/**
 * The inputs. `ready` resolves when the chosen collection's modes and fields are known.
 * @param {string} legend
 * @param {(detail: Record<string, any>) => void} [changed] called with another collection's detail
 */
export function searchSettings(legend, changed = () => {}) {
  const collection = field("Collection", h("select", { required: true }));
  const mode = field("Mode", choice([]));
  const fuse = field("Fusion", choice(FUSIONS));
  const second = field("Second collection (dense)", h("select"), "Over the same documents; BM25 takes part too.");
  const recall = field(
    "Recall target",
    h("input", { type: "number", min: "0.01", max: "1", step: "0.01", inputmode: "decimal" }),
    "Empty: the collection's own.",
  );
  const budget = field("Budget (ms)", h("input", { type: "number", min: "0.1", step: "any" }), "Empty: none.");
  const exact = field("Exact: score every document", h("input", { type: "checkbox" }));
  const filter = filterField();
  const hybrid = h("div", { class: "row", hidden: true }, fuse.node, second.node);
  const node = h(
    "fieldset",
    { class: "settings" },
    h("legend", {}, legend),
    h("div", { class: "row" }, collection.node, mode.node, recall.node, budget.node, exact.node),
    hybrid,
    filter.node,
  );
  /** @type {any} */ let detail = null;
  let asked = 0;
  let known = "";
  const fields = new Map([
    ["/collection", collection],
    ["/mode", mode],
    ["/hybrid/dense", second],
    ["/hybrid", fuse],
    ["/filter", filter],
    ["/params/budget_ms", budget],
    ["/params/exact", exact],
    ["/params", recall],
  ]);
  const made = {
    node,
    fields,
    ready: Promise.resolve(),
    get collection() {
      return collection.input.value;
    },
    get detail() {
      return detail;
    },
    /** @param {import("./api.js").Summary[]} all */
    offer(all, preferred) {
      const told = JSON.stringify(all);
      // Nobody's open menu or focus is taken away for nothing.
      if (told === known && detail && !preferred) return made.ready;
      known = told;
      if (preferred) collection.input.value = preferred;
      offer(collection.input, all);
      const dense = all.filter((one) => one.kind === "dense");
      offer(second.input, dense, "none");
      return made.refresh();
    },
    refresh() {
      made.ready = load();
      return made.ready;
    },
    /** What of a request these inputs decide; null after saying what is wrong. */
    read() {
      if (!collection.input.value) {
        collection.show("Choose a collection that is ready.");
        collection.input.focus();
        return null;
      }
      const condition = filter.read();
      if (condition === null) {
        filter.input.focus();
        return null;
      }
      const body = {};
      if (detail && mode.input.value !== modesOf(detail)[0]) body.mode = mode.input.value;
      if (mode.input.value === "hybrid") body.hybrid = hybridOf();
      if (condition.value !== undefined) body.filter = condition.value;
      const params = paramsOf();
      if (Object.keys(params).length) body.params = params;
      return body;
    },
  };

  function hybridOf() {
    const chosen = second.input.value;
    return { fuse: fuse.input.value, ...(chosen ? { dense: chosen } : {}) };
  }

  function paramsOf() {
    const values = {
      recall_target: numberOf(recall.input),
      budget_ms: numberOf(budget.input),
      exact: exact.input.checked || undefined,
    };
    return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  }

  async function load() {
    const name = collection.input.value;
    const mine = ++asked;
    detail = null;
    if (!name) return;
    let found;
    try {
      found = await detailOf(name);
    } catch (problem) {
      collection.show(problem.message);
      return;
    }
    if (mine !== asked) return; // another was chosen meanwhile
    collection.show(null);
    detail = found;
    const before = mode.input.value;
    const modes = modesOf(found);
    fill(mode.input, modes.map((each) => h("option", { value: each }, each)));
    mode.input.value = modes.includes(before) ? before : modes[0];
    filter.offer(found.fields ?? {});
    showHybrid();
    changed(found);
  }

  function showHybrid() {
    hybrid.hidden = mode.input.value !== "hybrid";
  }

  collection.input.addEventListener("change", () => made.refresh());
  mode.input.addEventListener("change", showHybrid);
  return made;
}
