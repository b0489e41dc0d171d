"""``retrieval inspect``: what an index holds and what it weighs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from index_tools import options as opt
from index_tools.output import Output, printable
from index_tools.reports import size, told_recall

if TYPE_CHECKING:
    from retrieval.storage import IndexInfo

__all__ = ["inspect"]

GROWN = 1.5
"""Times more documents than a recall was measured on, from which on it is worth measuring again."""


def inspect(context: typer.Context, index: opt.IndexPath, as_json: opt.Json = False) -> None:
    """Show documents, vectors, bytes, encoder and metadata fields of INDEX."""
    output = Output.of(context, as_json)

    from retrieval import inspect_index

    info = inspect_index(index)
    output.data(asdict(info), lambda: output.show(_table(info)))


def _table(info: IndexInfo) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(info):
        table.add_row(name, Text(printable(value)))
    return table


def _rows(info: IndexInfo) -> list[tuple[str, str]]:
    encoder = info.encoder or {}
    options = {name: value for name, value in encoder.items() if name != "name" and value is not None}
    told = "  ".join(f"{name}={value}" for name, value in options.items())
    rows = [
        ("index", info.path),
        ("created", info.created_at),
        ("state", "complete" if info.complete else "unfinished: resume its build"),
        ("format", f"{info.format_version}, generation {info.generation}"),
        ("documents", _documents(info)),
        ("vectors", f"{info.tokens:,} of {info.dim} x {info.precision} ({info.kind}, {info.metric})"),
        ("recipe", _recipe(info)),
        ("encoder", f"{encoder['name']}  {told}" if encoder else "the caller's own class"),
        ("fields", "  ".join(f"{name}: {kind}" for name, kind in info.fields.items()) or "none"),
    ]
    rows += [(f"  {component}", size(count)) for component, count in info.bytes.items()]
    rows.append(("size", _total(info)))
    return rows


def _documents(info: IndexInfo) -> str:
    told = f"{info.documents:,} in {info.segments:,} segment{'' if info.segments == 1 else 's'}"
    if info.pending:
        told += f", {info.pending:,} of them pending"
    if info.deleted:
        told += f"; {info.deleted:,} deleted still take room"
    return told


def _recipe(info: IndexInfo) -> str:
    if info.recipe is None:
        return "exact: every vector is scored"
    recipe, quality = info.recipe, info.quality or {}
    codes = f"{recipe['bits']}-bit codes" if recipe["codec"] == "bits" else f"{recipe['codec']} codes"
    parts = [recipe["index"], *([codes] if recipe["index"] != "funnel" else [])]
    parts += [recipe["reduce"]] if recipe["reduce"] != "none" else []
    told = f"{' '.join(parts)}, recall target {recipe['recall_target']}"
    curve = quality.get("curve")
    if curve is None:
        return told
    if info.documents > GROWN * max(curve["documents"], 1):
        return f"{told}; measured on {curve['documents']:,} documents: train it again with compact --retrain"
    return f"{told}; {told_recall(curve)}"


def _total(info: IndexInfo) -> str:
    total = sum(info.bytes.values())
    each = f" ({size(total / info.documents)} a document)" if info.documents else ""
    return size(total) + each
