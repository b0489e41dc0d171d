// The current search as something to paste elsewhere. A key never appears: both read it from the
// environment.

import { address, ofCollection } from "./api.js";

const BY_ARGUMENT = ["filter", "fields", "params", "mode", "hybrid", "timeout_ms"];

/** A word of a POSIX shell that means exactly this text. @param {string} text */
export function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * @param {string} collection
 * @param {Record<string, any>} body
 */
export function asCurl(collection, body) {
  return [
    `curl -sS ${shellQuoted(String(address(ofCollection(collection, "/search"))))} \\`,
    '  -H "Authorization: Bearer $RETRIEVAL_API_KEY" \\',
    "  -H 'Content-Type: application/json' \\",
    `  --data-binary ${shellQuoted(JSON.stringify(body))}`,
  ].join("\n");
}

/** A JSON value as a Python expression. @param {any} value @returns {string} */
export function pythonOf(value) {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return JSON.stringify(value).replaceAll("\u007f", "\\x7f");
  if (Array.isArray(value)) return `[${value.map(pythonOf).join(", ")}]`;
  if (typeof value === "object") {
    const items = Object.entries(value).map(([key, each]) => `${pythonOf(key)}: ${pythonOf(each)}`);
    return `{${items.join(", ")}}`;
  }
  return String(value);
}

/**
 * @param {string} collection
 * @param {Record<string, any>} body
 */
export function asPython(collection, body) {
  const explain = [body.explain].flat().includes("plan") ? ['explain="plan"'] : [];
  const given = BY_ARGUMENT.filter((name) => name in body).map((name) => `${name}=${pythonOf(body[name])}`);
  const root = String(address("/")).replace(/\/v1\/$/, "");
  const lines = [
    "from retrieval.client import Client",
    "",
    `with Client(${pythonOf(root)}) as client:  # the key: $RETRIEVAL_API_KEY`,
    `    engine = client.collection(${pythonOf(collection)})`,
    "    result = engine.search(",
    ...[pythonOf(body.query), `k=${body.limit ?? 10}`, ...given, ...explain].map((each) => `        ${each},`),
    "    )",
  ];
  if ([body.explain].flat().includes("tokens")) {
    lines.push(`    reasons = engine.explain_batch(${pythonOf(body.query)}, [hit.id for hit in result])`);
  }
  return [...lines, "for hit in result:", "    print(hit.score, hit.id, hit.title)"].join("\n");
}
