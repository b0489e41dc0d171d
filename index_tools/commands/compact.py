"""``retrieval compact``: one segment, without deleted documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from index_tools import options as opt
from index_tools.compiling import compiling_shown
from index_tools.output import Output
from index_tools.queries import read_queries
from index_tools.reports import show_training, size

__all__ = ["compact"]

Precision = Annotated[
    Literal["float32", "float16", "int8", "residual"] | None,
    typer.Option("--precision", help="convert the stored vectors", show_default="as they are"),
]


Retrain = Annotated[bool, typer.Option("--retrain", help="train the recipe again, on what the index holds")]


def compact(
    context: typer.Context,
    index: opt.IndexPath,
    precision: Precision = None,
    preset: opt.Preset = None,
    changes: opt.Set = None,
    retrain: Retrain = False,
    queries: opt.Queries = None,
    force: opt.Force = False,
    codec: opt.CodecFile = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Make one segment of INDEX and give back the room of deleted documents, while others use it; with
    --preset or --set train another recipe on it."""
    output = Output.of(context, as_json)
    settings = opt.settings(threads=threads)

    from retrieval import Engine, RecipeConfig, recipe_of

    asked = None if queries is None else read_queries(queries)
    given, title = opt.read_codec(codec), f"compacting {index}"
    with (
        Engine.open(index, runtime=settings.runtime()) as engine,
        output.progress(title) as reporter,
        compiling_shown(reporter),
    ):
        info = engine.inspect()
        recipe = recipe_of(preset, changes, RecipeConfig.of(**info.recipe) if info.recipe else None)
        before = sum(info.bytes.values())
        report = engine.compact(
            precision,
            recipe=recipe,
            retrain=retrain,
            queries=asked,
            force=force,
            codec=given,
            progress=reporter.stages(title),
        )
        after = sum(engine.inspect().bytes.values())
    values = {"index": str(index), **asdict(report), "bytes_before": before, "bytes": after}
    told = f"{index}: {report.segments:,} segments, {size(after)} ({size(before)} before)"
    output.data(values, lambda: output.show(told))
    show_training(output, report.training)
