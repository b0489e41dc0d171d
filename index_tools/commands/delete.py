"""``retrieval delete``: documents out of an index, by id or by a filter."""

from __future__ import annotations

from typing import Annotated

import typer

from index_tools import options as opt
from index_tools.output import Output
from index_tools.upkeep import keep_up

__all__ = ["delete"]

Ids = Annotated[list[str] | None, typer.Argument(help="ids of documents", metavar="ID")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only say how many it would be")]


def delete(
    context: typer.Context,
    index: opt.IndexPath,
    ids: Ids = None,
    wanted: opt.Filter = None,
    dry_run: DryRun = False,
    as_json: opt.Json = False,
) -> None:
    """Delete documents of INDEX, by ID or all that a filter accepts, in one commit."""
    output = Output.of(context, as_json)
    settings = opt.settings()

    from retrieval import Engine, Filter, HasId
    from retrieval.asked import filter_to_delete
    from retrieval.errors import QueryError

    if bool(ids) == (wanted is not None):
        raise QueryError("give either the ids of documents or a --filter")
    with Engine.open(index, runtime=settings.runtime()) as engine:
        if dry_run:
            by_id = Filter(must=(HasId(tuple(ids or ())),))
            count = engine.count(filter_to_delete(wanted) if wanted is not None else by_id)
        else:
            count = engine.delete(ids or None, filter=wanted)
        left = len(engine) - (count if dry_run else 0)
        _show(output, index, count, left, dry_run)
        if not dry_run:
            keep_up(engine, output)


def _show(output: Output, index: opt.IndexPath, count: int, left: int, dry_run: bool) -> None:
    done = "would be deleted" if dry_run else "deleted"
    values = {"index": str(index), "deleted": count, "documents": left, "dry_run": dry_run}
    output.data(values, lambda: output.show(f"{index}: {count:,} documents {done}, {left:,} left"))
