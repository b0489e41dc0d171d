"""``retrieval inspect``: what an index holds and what it weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from index_tools import options as opt
from index_tools.output import Output, printable
from index_tools.reports import size, told_recall

if TYPE_CHECKING:
    from retrieval.storage import IndexInfo

__all__ = ["inspect"]

SHOWN_KS = (10, 100)


def inspect(context: typer.Context, index: opt.IndexPath, as_json: opt.Json = False) -> None:
    """Show documents, vectors, recipe, recall, bytes, encoder and metadata fields of INDEX."""
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
        *([("pooling", info.pooling)] if info.pooling != "none" else []),
        ("recipe", _recipe(info)),
        *_waiting(info),
        *_recalls(info),
        *_geometry(info),
        *_strain(info),
        *_clipped(info),
        *_unarranged(info),
        ("encoder", f"{encoder['name']}  {told}" if encoder else _unknown(info)),
        ("fields", "  ".join(f"{name}: {kind}" for name, kind in info.fields.items()) or "none"),
    ]
    rows += _each(info)
    rows += [(f"  {component}", size(count)) for component, count in info.bytes.items()]
    rows.append(("size", _total(info)))
    return rows


def _unknown(info: IndexInfo) -> str:
    """What made the vectors, where the index has no model of its own."""
    if info.fingerprint.get("name") != "given":
        return "the caller's own class"
    return f"none: documents bring their vectors  model={info.fingerprint.get('model', 'not told')}"


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
    curve = quality.get("curve")
    parts = [recipe["index"], *_codes(recipe)]
    parts += [recipe["reduce"]] if recipe["reduce"] != "none" else []
    told = " ".join(parts)
    if recipe["index"] == "tokens" and curve is not None:
        told += f", {curve['nlist']:,} centroids"
    told += f", recall target {recipe['recall_target']}"
    if curve is None:
        return told

    from retrieval.training import has_grown

    if has_grown(info.documents, curve):
        return f"{told}; measured on {curve['documents']:,} documents: train it again with compact --retrain"
    return f"{told}; {told_recall(curve)}"


def _waiting(info: IndexInfo) -> list[tuple[str, str]]:
    """What was asked for and is not there yet."""
    from retrieval.training import untrained

    return [("waiting", told) for told in untrained(info.config, info.recipe, info.precision)]


def _codes(recipe: Mapping[str, Any]) -> list[str]:
    """What an index of codes holds of a vector, or of what a centroid leaves of it."""
    if recipe["index"] == "funnel" or recipe["codec"] == "none":
        return []
    codes = f"{recipe['bits']}-bit codes" if recipe["codec"] == "bits" else f"{recipe['codec']} codes"
    return [f"{codes} of residuals" if recipe["index"] == "tokens" else codes]


def _recalls(info: IndexInfo) -> list[tuple[str, str]]:
    """How hard searches look by themselves, and what that gives, for the usual numbers of hits."""
    stored = (info.quality or {}).get("curve")
    if stored is None or info.recipe is None or not stored["points"]:
        return []

    from retrieval.search import RecallCurve
    from retrieval.training import has_grown

    if has_grown(info.documents, stored):
        return []
    curve, target = RecallCurve.from_json(stored), float(info.recipe["recall_target"])
    measured = {point.k for point in curve.points}
    rows = []
    for k in [k for k in SHOWN_KS if k in measured]:
        choice = curve.choose(k, target)
        effort = choice.effort
        looked = {
            "nprobe": effort.nprobe if curve.nlist > 1 else 0,
            "ef_search": effort.ef_search,
            "num_scored": effort.scored,
            "num_candidates": effort.depth,
        }
        told = ", ".join(f"{name}={value}" for name, value in looked.items() if value)
        rows.append((f"  recall@{k}", f"{choice.recall:.3f} by {told}"))
    return rows


def _geometry(info: IndexInfo) -> list[tuple[str, str]]:
    """How well the vectors that were trained on tell each other apart."""
    geometry = (info.quality or {}).get("geometry")
    if geometry is None:
        return []
    return [
        (
            "geometry",
            f"mean cosine {geometry['mean_cosine']:.3f}, effective rank {geometry['effective_rank']:.1f} of "
            f"{info.dim}, mean length {geometry['mean_norm']:.3g}",
        )
    ]


def _strain(info: IndexInfo) -> list[tuple[str, str]]:
    """Whether the documents are still like those that the centroids were trained on."""
    before = (info.quality or {}).get("strain")
    if info.strain is None or not before:
        return []
    told = f"centroids leave {info.strain:.3f} of tokens' squares, {before:.3f} when they were trained"

    from retrieval.training import is_strained

    if is_strained(info):
        told += ": the documents have changed, train again with compact --retrain"
    return [("strain", told)]


def _unarranged(info: IndexInfo) -> list[tuple[str, str]]:
    """Segments that were too large for memory."""
    if not info.unarranged:
        return []
    told = f"{info.unarranged:,} documents, all scored, for want of memory: compact where there is more"
    return [("not arranged", told)]


def _clipped(info: IndexInfo) -> list[tuple[str, str]]:
    """Whether bytes still hold what is added."""
    if info.clipped is None:
        return []
    told = f"{info.clipped:.2%} of the numbers added since int8 was calibrated were cut off"

    from retrieval.training.advice import CLIPPED

    return [
        ("clipped", f"{told}: calibrate again with repair --recalibrate" if info.clipped > CLIPPED else told)
    ]


def _each(info: IndexInfo) -> list[tuple[str, str]]:
    """Bytes of one token; only where every one is in a segment, since what is pending lies in the catalog."""
    if info.kind != "late" or info.pending or not info.tokens:
        return []
    rows = [("a token", f"{info.bytes.get('codes', 0) / info.tokens:.1f} bytes stored")]
    arranged = info.bytes.get("arranged")
    if arranged is None or info.recipe is None:
        return rows
    if info.recipe["index"] == "tokens":
        return [(rows[0][0], f"{rows[0][1]}, {arranged / info.tokens:.1f} bytes for the search")]
    return [*rows, ("a document", f"{arranged / info.documents:.1f} bytes for the search")]


def _total(info: IndexInfo) -> str:
    total = sum(info.bytes.values())
    each = f" ({size(total / info.documents)} a document)" if info.documents else ""
    return size(total) + each
