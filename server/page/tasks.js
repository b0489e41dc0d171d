// The view Tasks, and how a task is shown wherever one is.

import { call } from "./api.js";
import { button, fill, h, statusLine } from "./dom.js";
import { showProblem } from "./fields.js";
import { counted, facts, numberText, timeText } from "./format.js";
import { isFinal, watch } from "./watch.js";

const SHOWN = 50;
const STREAMS = 3; // a browser opens six connections to a server at most, and other calls need some
const REFRESH_MS = 3000;

/** Where a task stands: a bar, and the same in words. @param {import("./api.js").Task} task */
export function progressOf(task) {
  const { stage, fraction, documents, eta_seconds: eta } = task.progress ?? {};
  const isRunning = task.state === "running";
  const isKnown = isRunning && typeof fraction === "number";
  const words = [
    task.state,
    isFinal(task) ? null : stage,
    isKnown ? `${Math.round(100 * fraction)} %` : null,
    documents ? counted(documents, "document") : null,
    isRunning && typeof eta === "number" ? `${numberText(Math.ceil(eta))} s left` : null,
  ];
  const bar = isRunning ? h("progress", { max: "1", "aria-label": "Progress" }) : null;
  if (isKnown) bar.value = fraction; // without a value it says that something is being done
  const text = h("span", { class: `state state-${task.state}` }, words.filter(Boolean).join(" · "));
  const problem = task.problem ? h("p", { class: "wrong" }, task.problem.detail ?? task.problem.title) : null;
  return [bar, text, problem];
}

/** The view. */
export function tasksView() {
  const told = statusLine();
  const wrong = h("div");
  const list = h("ul", { class: "tasks" });
  const node = h("section", {}, h("div", { class: "row" }, button("Refresh", () => refresh())), told, wrong, list);
  /** @type {Map<string, {node: HTMLElement, show(task: any): void}>} */
  const cards = new Map();
  /** @type {Map<string, () => void>} */
  const streams = new Map();
  let timer = null;
  let isShown = false;

  async function refresh() {
    clearTimeout(timer);
    let tasks;
    try {
      tasks = (await call("GET", `/tasks?limit=${SHOWN}`)).tasks;
    } catch (problem) {
      showProblem(wrong, problem);
      return;
    }
    if (!isShown) return;
    fill(wrong);
    for (const task of tasks) cardOf(task).show(task);
    const gone = [...cards.keys()].filter((id) => !tasks.some((task) => task.id === id));
    for (const id of gone) cards.delete(id);
    arrange(tasks.map((task) => cards.get(task.id).node));
    const open = tasks.filter((task) => !isFinal(task));
    fill(told, tasks.length ? `${counted(tasks.length, "task")}, ${open.length} unfinished.` : "There are no tasks.");
    follow(open);
    if (open.length) timer = setTimeout(refresh, REFRESH_MS);
  }

  /** Only what moved is moved: a pressed or focused button stays what it is. */
  function arrange(nodes) {
    const same = nodes.length === list.children.length && nodes.every((each, i) => each === list.children[i]);
    if (!same) fill(list, nodes);
  }

  function follow(open) {
    for (const task of open.filter((each) => each.state === "running")) {
      if (streams.size >= STREAMS || streams.has(task.id)) continue;
      const end = () => streams.delete(task.id);
      const stop = watch(
        task.id,
        (now) => {
          cards.get(now.id)?.show(now);
          if (!isFinal(now)) return;
          end();
          refresh();
        },
        end,
      );
      streams.set(task.id, stop);
    }
  }

  function cardOf(task) {
    if (!cards.has(task.id)) cards.set(task.id, taskCard(task, wrong, refresh));
    return cards.get(task.id);
  }

  return {
    title: "Tasks",
    node,
    enter() {
      isShown = true;
      return refresh();
    },
    leave() {
      isShown = false;
      clearTimeout(timer);
      for (const stop of streams.values()) stop();
      streams.clear();
    },
  };
}

function taskCard(first, wrong, changed) {
  const state = h("div", { class: "progress" });
  const about = h("p", { class: "quiet" });
  const outcome = h("div");
  const cancel = button("Cancel", async () => {
    cancel.disabled = true;
    try {
      show(await call("POST", `/tasks/${encodeURIComponent(first.id)}/cancel`, {}));
      fill(cancel, "Cancelling…"); // running work stops at its next step
      changed();
    } catch (problem) {
      cancel.disabled = false;
      showProblem(wrong, problem);
    }
  }, { "aria-label": `Cancel ${first.kind} of ${first.collection}` });
  const title = h("h3", {}, `${first.kind} of ${first.collection}`);
  const node = h("li", { class: "task", "data-id": first.id }, title, state, about, cancel, outcome);
  let before = "";

  function show(task) {
    const now = JSON.stringify(task);
    if (now === before) return;
    before = now;
    fill(state, progressOf(task));
    const ended = task.finished_at ? `, ended ${timeText(task.finished_at)}` : "";
    fill(about, `created ${timeText(task.created_at)}${ended} · `, h("code", {}, task.id));
    cancel.hidden = isFinal(task);
    fill(outcome, task.result ? h("details", {}, h("summary", {}, "Result"), facts(task.result)) : null);
  }

  return { node, show };
}
