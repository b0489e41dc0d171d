"""``retrieval count`` and ``facets``: how many documents, and with which values."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from index_tools import options as opt
from index_tools.output import Output, printable

__all__ = ["count", "facets"]

Field = Annotated[str, typer.Argument(help="metadata field; of an object: field.member", metavar="FIELD")]
Limit = Annotated[int, typer.Option("--limit", help="values to show, the most frequent first")]


def count(
    context: typer.Context, index: opt.IndexPath, wanted: opt.Filter = None, as_json: opt.Json = False
) -> None:
    """Count the documents of INDEX, or those that a filter accepts."""
    output = Output.of(context, as_json)

    from retrieval import Engine

    with Engine.open(index) as engine:
        number = engine.count(wanted)
    output.data({"index": str(index), "count": number}, lambda: output.show(f"{number:,}"))


def facets(
    context: typer.Context,
    index: opt.IndexPath,
    field: Field,
    wanted: opt.Filter = None,
    limit: Limit = 20,
    as_json: opt.Json = False,
) -> None:
    """Show the most frequent values of a metadata field of INDEX, and how many documents have each."""
    output = Output.of(context, as_json)

    from retrieval import Engine

    with Engine.open(index) as engine:
        found = engine.facets(field, filter=wanted, limit=limit)

    def human() -> None:
        table = Table(show_header=False, box=None, pad_edge=False)
        for value, number in found:
            table.add_row(f"{number:,}", Text(printable(str(value))))
        output.show(table if found else "no values")

    values = [{"value": value, "count": number} for value, number in found]
    output.data({"index": str(index), "field": field, "values": values}, human)
