// Calls to the API of the server that the page came from. The browser adds the credentials that were
// given for the page; the page itself never sees a key.

/**
 * @typedef {{pointer: string, detail: string}} PointedError
 * @typedef {{name: string, state: string, detail?: string, kind?: string, documents?: number,
 *   aliases?: string[]}} Summary
 * @typedef {{id: string, kind: string, collection: string, state: string, created_at: string,
 *   started_at: string | null, finished_at: string | null, progress: {stage: string | null,
 *   fraction: number | null, documents: number | null, eta_seconds: number | null},
 *   result: Record<string, any> | null, problem: Record<string, any> | null}} Task
 */

/** What went wrong, as the server tells it (application/problem+json), or as the page does. */
export class Problem extends Error {
  /** @param {{detail?: string, title?: string, code?: string, request_id?: string | null,
   *    errors?: PointedError[]}} body */
  constructor(body) {
    super(body.detail ?? body.title ?? "the request failed");
    this.code = body.code ?? "unknown";
    this.requestId = body.request_id ?? null;
    this.errors = body.errors ?? [];
  }
}

/** The address of a path below /v1, also where the server lies below a prefix of its own. */
export function address(path) {
  return new URL(`v1${path}`, document.baseURI.split("#")[0]);
}

/** A path of a collection, such as `/search`. */
export function ofCollection(name, path = "") {
  return `/collections/${encodeURIComponent(name)}${path}`;
}

/**
 * One call; the answer's JSON, null where there is none.
 * @param {string} method
 * @param {string} path below /v1
 * @param {any} [body]
 * @param {AbortSignal} [signal]
 */
export async function call(method, path, body, signal) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent = body === undefined ? undefined : JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(address(path), { method, headers, body: sent, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ code: "unreachable", detail: "The server cannot be reached; is it running?" });
  }
  const text = await answer.text();
  const value = parsed(text);
  if (!answer.ok) {
    throw new Problem(value ?? { code: "no_problem", detail: `The server answered ${answer.status}.` });
  }
  return value;
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/**
 * All items of a list that comes in pages.
 * @param {string} path
 * @param {string} member the answer's member that holds the items
 */
export async function listed(path, member, most = 1000) {
  const items = [];
  let cursor = null;
  do {
    const query = cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
    const answer = await call("GET", path + query);
    items.push(...answer[member]);
    cursor = answer.next_cursor ?? null;
  } while (cursor !== null && items.length < most);
  return items;
}
