// What an explanation says, as numbers and places; nothing of it touches the page.

/**
 * @typedef {{text: string, start: number | null, end: number | null}} Token
 * @typedef {{query_token: Token, document_token: Token | null, document_position: number | null,
 *   similarity: number, contribution: number, document_tokens?: Token[]}} Match
 * @typedef {{text: string, score: number, scored_from: string, matches: Match[]}} Explanation
 */

/** A token by name, also if the text does not contain it. @param {Token} token */
export function tokenName(token) {
  return token.start === null ? `${token.text} [not in text]` : token.text;
}

/** What a match found, by name; of a pooled vector each token behind it. @param {Match} match */
export function matchName(match) {
  if (!match.document_token) return "nothing: the document has no tokens";
  const behind = match.document_tokens ?? [];
  if (behind.length > 1) return `${match.document_token.text} (${behind.length} tokens share a vector)`;
  return tokenName(match.document_token);
}

/**
 * Where in the text a match found something: one place, or those of all tokens behind a pooled vector.
 * @param {Match} match
 */
export function placesOf(match) {
  const behind = match.document_tokens?.length ? match.document_tokens : [match.document_token];
  return behind.filter((token) => token && token.start !== null && token.end !== null);
}

/**
 * The marks of a text: what each place contributed, or with `chosen` only what that query token matched.
 * Equal places become one, so that a word matched twice is shaded once, by the sum.
 * @param {Explanation} explanation
 * @param {number | null} chosen position among the matches
 * @returns {import("./text.js").Span[]}
 */
export function spansOf(explanation, chosen) {
  /** @type {Map<string, import("./text.js").Span>} */
  const spans = new Map();
  explanation.matches.forEach((match, i) => {
    if (chosen !== null && i !== chosen) return;
    const label = `${tokenName(match.query_token)}: ${match.contribution.toFixed(3)}`;
    for (const { start, end } of placesOf(match)) {
      const key = `${start}:${end}`;
      const known = spans.get(key);
      if (known) {
        known.weight += match.contribution;
        known.label += `\n${label}`;
      } else {
        spans.set(key, { start, end, weight: match.contribution, label, chosen: chosen !== null });
      }
    }
  });
  return [...spans.values()];
}

/** The most that any place of any of these texts received. @param {Explanation[]} explanations */
export function mostHeat(explanations, chosen) {
  const weights = explanations.flatMap((each) => spansOf(each, chosen).map((span) => span.weight));
  return weights.reduce((most, weight) => Math.max(most, weight), 0);
}

/**
 * The query's tokens, and what each added to the scores of all these documents.
 * @param {Explanation[]} explanations of one query
 * @returns {Array<{token: Token, total: number}>}
 */
export function queryTotals(explanations) {
  if (!explanations.length) return [];
  return explanations[0].matches.map((match, i) => ({
    token: match.query_token,
    total: explanations.reduce((sum, each) => sum + (each.matches[i]?.contribution ?? 0), 0),
  }));
}

/**
 * Where the title ends and the text begins in what the encoder read (title, a blank, text).
 * @param {string[]} points of the explanation's text
 * @param {string} title
 */
export function splitTitle(points, title) {
  const head = Array.from(title.trimStart());
  const isHead = head.length > 0 && head.every((point, i) => point === points[i]);
  if (!isHead) return { titleEnd: 0, textStart: 0 };
  const gap = points[head.length] === " " ? 1 : 0;
  return { titleEnd: head.length, textStart: head.length + gap };
}
