"""``retrieval doctor``: the geometry of an index, and which recipes suit it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from index_tools import options as opt
from index_tools.output import Output
from index_tools.queries import read_queries

__all__ = ["doctor"]


def doctor(
    context: typer.Context,
    index: opt.IndexPath,
    queries: opt.Queries = None,
    as_json: opt.Json = False,
) -> None:
    """Look at the vectors of INDEX and try recipes on a sample of its documents: what recall each reaches,
    and in what time. Nothing is changed; `compact --preset NAME` takes one."""
    output = Output.of(context, as_json)
    settings = opt.settings()

    from retrieval import Engine

    asked = None if queries is None else read_queries(queries)
    title = f"examining {index}"
    with Engine.open(index, runtime=settings.runtime()) as engine, output.progress(title) as reporter:
        report = engine.diagnose(asked, progress=reporter.stages(title))
    output.data({"index": str(index), **report}, lambda: _show(output, report))


def _show(output: Output, report: Mapping[str, Any]) -> None:
    geometry = report["geometry"]
    told = (
        f"{report['documents']:,} documents of {report['tokens']:,} vectors: mean cosine "
        f"{geometry['mean_cosine']:.3f}, effective rank {geometry['effective_rank']:.0f}"
    )
    if "maxsim_spread" in report:
        told += f", MaxSim spreads by {report['maxsim_spread']:.3f} a query token"
    output.show(told)
    for trial in report["trials"]:
        output.show(_told(trial))
    if report["chosen"] is not None:
        output.show(f"best: --preset {report['chosen']}")


def _told(trial: Mapping[str, Any]) -> str:
    name = f"{trial['name']:<10}"
    if trial["failed"] is not None:
        return f"{name} cannot be made: {trial['failed']}"
    if trial["recall"] is None:
        return f"{name} could not be measured"
    cost = f"{trial['recall_target']} is not reached"
    if trial["cost_ms"] is not None:
        cost = f"{trial['recall_target']} in {trial['cost_ms']:.2f} ms a query"
    return f"{name} recall@{trial['k']} up to {trial['recall']:.3f}, {cost}"
