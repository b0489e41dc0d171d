// Following a task until it ends.

import { address, call } from "./api.js";

const FINAL = new Set(["succeeded", "failed", "cancelled"]);
const POLL_MS = 1000;

/** Whether a task will not change again. @param {import("./api.js").Task} task */
export function isFinal(task) {
  return FINAL.has(task.state);
}

/**
 * Calls `tell` at every change, the last time with a final state. Events come as a stream; where the
 * browser gives that up, the task is asked for again and again.
 * @param {string} id
 * @param {(task: import("./api.js").Task) => void} tell
 * @param {(problem: Error) => void} fail
 * @returns {() => void} stops it
 */
export function watch(id, tell, fail) {
  const path = `/tasks/${encodeURIComponent(id)}`;
  const source = new EventSource(address(`${path}/events`));
  let timer = null;
  let stopped = false;

  function stop() {
    stopped = true;
    source.close();
    clearTimeout(timer);
  }

  function told(task) {
    if (stopped) return;
    if (isFinal(task)) stop();
    tell(task);
  }

  async function poll() {
    try {
      const task = await call("GET", path);
      told(task);
      if (!stopped) timer = setTimeout(poll, POLL_MS);
    } catch (problem) {
      if (!stopped) fail(problem);
      stop();
    }
  }

  source.addEventListener("task", (event) => told(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    // Still connecting: the browser tries again by itself.
    if (source.readyState === EventSource.CLOSED && !stopped) poll();
  });
  return stop;
}
