"""``retrieval explain``: why a document got its score for a query."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from index_tools import options as opt
from index_tools.given import query_of
from index_tools.output import Output, printable
from index_tools.passages import in_context, marked, matched_words, snippet
from retrieval.types import Explanation, TokenMatch

__all__ = ["explain"]

FROM_CODES = "scored from lossy codes: the index keeps nothing else of the vectors"
LONGEST_TOKEN = 40  # a dense index has one "token" a text: the whole of it

DocumentId = Annotated[str, typer.Argument(help="id of the document", metavar="DOC_ID")]
Query = Annotated[
    str | None, typer.Argument(help="the query, in quotes", metavar="QUERY", show_default=False)
]


def explain(
    context: typer.Context,
    index: opt.IndexPath,
    doc_id: DocumentId,
    query: Query = None,
    vector: opt.Vector = None,
    encoder: opt.OtherEncoder = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    backend: opt.Backend = None,
    token_budget: opt.TokenBudget = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Show which query token matched which document token, and what each added to the score; where tokens
    were pooled, those that share the vector that matched."""
    output = Output.of(context, as_json)
    settings = opt.settings(
        device=device, dtype=dtype, backend=backend, token_budget=token_budget, threads=threads
    )

    from retrieval import Engine

    with Engine.open(index, encoder, runtime=settings.runtime()) as engine:
        explanation = engine.explain(query_of(query, vector, engine.kind), doc_id)
    late = engine.kind == "late"
    output.data(asdict(explanation), lambda: _show(output, explanation, words=late))


def _show(output: Output, explanation: Explanation, *, words: bool) -> None:
    """The table, and on a terminal the text; its matched words are marked where ``words`` have vectors."""
    text = printable(explanation.text)
    output.show(_table(text, explanation))
    if output.on_terminal:
        output.show(marked(text, matched_words(text, explanation.matches) if words else (), terminal=True))


def _table(text: str, explanation: Explanation) -> Table:
    title = printable(f"{explanation.id}  ·  {explanation.query}")
    lossy = FROM_CODES if explanation.scored_from == "codes" else None
    table = Table(title=Text(title), show_footer=True, caption=lossy)
    table.add_column("query token", footer="score")
    table.add_column("document token")
    table.add_column("in context")
    table.add_column("similarity", justify="right")
    table.add_column("contribution", justify="right", footer=f"{explanation.score:.4f}")
    for match in explanation.matches:
        token = match.document_token
        table.add_row(
            Text(snippet(printable(match.query_token.text), LONGEST_TOKEN)),
            Text(snippet(printable(token.text), LONGEST_TOKEN) if token else "-"),
            _context(text, match),
            f"{match.similarity:.4f}",
            f"{match.contribution:.4f}",
        )
    return table


def _context(text: str, match: TokenMatch) -> Text:
    token = match.document_token
    if token is None or token.start is None or token.end is None or token.end - token.start > LONGEST_TOKEN:
        return Text("")
    return in_context(text, token.start, token.end)
