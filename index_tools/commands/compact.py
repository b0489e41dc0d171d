"""``retrieval compact``: one segment, without deleted documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from index_tools import options as opt
from index_tools.output import Output
from index_tools.reports import size

__all__ = ["compact"]

Precision = Annotated[
    Literal["float32", "float16"] | None,
    typer.Option("--precision", help="convert the stored vectors", show_default="as they are"),
]


def compact(
    context: typer.Context, index: opt.IndexPath, precision: Precision = None, as_json: opt.Json = False
) -> None:
    """Make one segment of INDEX and give back the room of deleted documents, while others use it."""
    output = Output.of(context, as_json)
    settings = opt.settings()

    from retrieval import Engine

    with Engine.open(index, runtime=settings.runtime()) as engine, output.progress(f"compacting {index}"):
        before = sum(engine.inspect().bytes.values())
        report = engine.compact(precision)
        after = sum(engine.inspect().bytes.values())
    values = {"index": str(index), **asdict(report), "bytes_before": before, "bytes": after}
    told = f"{index}: {report.segments:,} segments, {size(after)} ({size(before)} before)"
    output.data(values, lambda: output.show(told))
