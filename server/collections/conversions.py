"""Long work on one collection: compact it, check it, try recipes on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from retrieval import Engine, GivenVectors, IndexConfig
from retrieval.types import TrainingProgress
from server.collections.configs import check_fit, wanted_recipe
from server.collections.refusals import refusing
from server.context import AppContext
from server.http.problems import invalid_request
from server.schemas.collections import Conversion
from server.settings import ServerSettings
from server.tasks.control import TaskControl
from server.tasks.manager import TaskWork

__all__ = ["check_queries", "compacting", "diagnosing", "verifying"]


def check_queries(queries: Sequence[str] | None, settings: ServerSettings) -> None:
    """Hold the limits of queries.

    Raises:
        ProblemError: 422 invalid_request.
    """
    most = settings.max_query_chars
    found = [
        (f"/queries/{i}", f"{len(query)} characters; the most is {most}")
        for i, query in enumerate(queries or ())
        if len(query) > most
    ]
    if found:
        raise invalid_request(found)


def compacting(context: AppContext, collection: str, asked: Conversion) -> TaskWork:
    """The work that compacts and converts, after checking what can be checked at once. Blocks.

    Raises:
        ProblemError: 404, 422 bad_config or invalid_request, 503.
    """
    with context.registry.lease(collection) as engine:
        _check_encodes(engine, asked.queries)
        info, kind = engine.inspect(), engine.kind
    now = IndexConfig.of(**info.config)
    recipe = wanted_recipe(asked, now.recipe)
    wanted = now.replace(precision=asked.precision or now.precision, recipe=recipe or now.recipe)
    check_fit(asked, wanted, kind, info.dim)

    def work(control: TaskControl) -> dict[str, object]:
        control.check()
        with context.registry.lease(collection) as engine, refusing():
            before = sum(engine.inspect().bytes.values())
            report = engine.compact(
                asked.precision,
                recipe=recipe,
                retrain=asked.retrain,
                queries=asked.queries,
                force=asked.force,
                progress=_told(control),
            )
            after = engine.inspect()
        sizes = {"bytes_before": before, "bytes": sum(after.bytes.values())}
        return {**asdict(report), **sizes, "generation": after.generation}

    return work


def verifying(context: AppContext, collection: str) -> TaskWork:
    """The work that checks every byte."""

    def work(control: TaskControl) -> dict[str, object]:
        def told(done: int, total: int) -> None:
            control.tell(stage="verify", fraction=done / max(total, 1))

        control.check()
        with context.registry.lease(collection) as engine:
            report = engine.verify(told)
        return {"ok": report.ok, **asdict(report)}

    return work


def diagnosing(context: AppContext, collection: str, queries: Sequence[str] | None) -> TaskWork:
    """The work that tries recipes on a sample, after checking what can be checked at once. Blocks.

    Raises:
        ProblemError: 404, 422 invalid_request, 503.
    """
    with context.registry.lease(collection) as engine:
        _check_encodes(engine, queries)

    def work(control: TaskControl) -> dict[str, object]:
        control.check()
        with context.registry.lease(collection) as engine, refusing():
            return engine.diagnose(queries, progress=_told(control))

    return work


def _check_encodes(engine: Engine, queries: Sequence[str] | None) -> None:
    if queries and isinstance(engine.encoder, GivenVectors):
        told = "the collection holds given vectors and has no model for texts; leave 'queries' out"
        raise invalid_request([("/queries", told)])


def _told(control: TaskControl) -> TrainingProgress:
    return lambda stage, share: control.tell(stage=stage, fraction=share)
