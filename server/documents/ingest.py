"""Documents on their way into a collection: at once and in turn, or as a task that outlives the server.

An answer, or the end of a task, comes after the commit: what it counts is durable, and the next search sees
it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, BinaryIO, Literal

from starlette.requests import Request

from retrieval import Engine, GivenVectors
from retrieval.corpus import ErrorPolicy, FieldNames, records_of
from retrieval.errors import DataError
from retrieval.types import BuildProgress, Record
from server.collections.registry import Registry
from server.documents.bodies import DocumentRows, Form, with_vectors
from server.documents.dates import DateFields
from server.documents.spool import Spool, Spooled
from server.documents.writers import Writers
from server.http.problems import ProblemError
from server.schemas.documents import ItemError, WriteResponse
from server.settings import ServerSettings
from server.store.store import ServerStore
from server.tasks.manager import TaskControl, TaskRecord, Tasks, TaskWork
from server.tasks.problems import may_pass

__all__ = ["INGEST", "Ingestion", "Plan"]

INGEST = "ingest"
MAX_REFUSED = 100
"""How many bad documents a refusal names."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How documents are to be written. ``upsert`` replaces those with the same id, for ``add`` they are bad
    ones; ``stop`` writes nothing where one is bad, ``skip`` the others."""

    form: Form
    mode: Literal["upsert", "add"] = "upsert"
    on_error: Literal["stop", "skip"] = "stop"


class Ingestion:
    """Writes documents to collections, in turn with the other ``writers``: what was accepted first takes
    effect first, at once or as a task.

    Make it before requests come: bodies that a killed server left, and no task waits for, are removed.
    """

    def __init__(
        self,
        settings: ServerSettings,
        store: ServerStore,
        registry: Registry,
        tasks: Tasks,
        writers: Writers,
    ) -> None:
        self._settings, self._store, self._registry = settings, store, registry
        self._tasks, self._writers = tasks, writers
        data_dir = settings.data_dir
        self._spool = None if data_dir is None else Spool(data_dir.expanduser())
        tasks.register_kind(INGEST, self._resumed, ended=self._forget, places=writers.turns)
        if not settings.read_only:
            self._clear_orphans()

    @property
    def spool(self) -> Spool:
        """Where bodies of tasks lie.

        Raises:
            ProblemError: 409, there is no place for them.
        """
        if self._spool is None:
            told = (
                "ack=task needs a place for the documents until they are written: the server has no data_dir"
            )
            raise ProblemError(409, "no_data_dir", told)
        return self._spool

    async def write(
        self, collection: str, file: BinaryIO, plan: Plan, arrived: float, request: Request
    ) -> WriteResponse:
        """Write the documents of the body of ``request``, which has been read.

        ``arrived`` is the ``time.perf_counter()`` at which the request came in.

        Raises:
            ProblemError: a body that cannot be read; 422 bad_documents, and nothing was written; and as
                `Writers.in_turn`.
            Disconnected: as `Writers.in_turn`.
            RetrievalError: as `Engine.upsert`.
        """
        rows = self._rows(file, plan.form, self._settings.max_documents)
        received = time.perf_counter()

        def job(engine: Engine, waited_for: str | None) -> WriteResponse:
            began = time.perf_counter()
            written = _written(engine, rows, plan)
            written.waited_for = waited_for
            waited = {"receive": _ms(arrived, received), "queue": _ms(received, began)}
            written.timings_ms = {**waited, **written.timings_ms, "total": _ms(arrived, time.perf_counter())}
            return written

        return await self._writers.in_turn(collection, job, request)

    def submit(self, collection: str, spooled: Spooled, plan: Plan) -> TaskRecord:
        """Have a task write the documents of a body that lies in `spool`. Blocks.

        After a restart the task begins anew: what it wrote is replaced by the same. With mode ``add``, in the
        moment between the commit and the end of the task, it then finds its own documents and fails.

        Raises:
            ProblemError: 429, too many tasks wait; a body in which not even the first document can be read.
            DataError: no readable Arrow stream.
        """
        next(iter(self._rows(spooled.file, plan.form, None)))  # better told now than by the task
        spooled.sync()
        payload = {"file": spooled.name, **asdict(plan)}
        spooled.keep()  # first: the request may end before this thread does
        try:
            return self._tasks.submit(INGEST, collection, self._work(collection, payload), payload=payload)
        except BaseException:
            spooled.drop()
            raise

    def _clear_orphans(self) -> None:
        """Remove bodies that no task waits for; before requests come."""
        if self._spool is not None:
            waiting = [task.payload for task in self._store.unfinished_tasks() if task.kind == INGEST]
            self._spool.clear({payload["file"] for payload in waiting if payload})

    def _resumed(self, record: TaskRecord) -> TaskWork:
        return self._work(record.collection, dict(record.payload or {}))

    def _forget(self, record: TaskRecord) -> None:
        if record.payload:
            self.spool.remove(record.payload["file"])

    def _work(self, collection: str, payload: Mapping[str, Any]) -> TaskWork:
        plan = Plan(**{name: value for name, value in payload.items() if name != "file"})

        def work(control: TaskControl) -> Mapping[str, Any]:
            turns, own = self._writers.turns, control.record.id
            with (
                # Before the engine takes a lock: whoever has the turn may wait for that.
                turns.of_task(collection, own, control.check, comes_again=may_pass),
                self.spool.reading(payload["file"]) as file,
                self._registry.lease(collection) as engine,
            ):
                began = time.perf_counter()
                # Bounded by the size of the body alone: they are read, encoded and stored a part at a time.
                rows = self._rows(file, plan.form, None)
                written = _written(engine, rows, plan, control)
                written.timings_ms["total"] = _ms(began, time.perf_counter())
                return written.model_dump()

        return work

    def _rows(self, file: BinaryIO, form: Form, most: int | None) -> DocumentRows:
        return DocumentRows(file, form, max_depth=self._settings.max_json_depth, most=most)


class _Source:
    """Records of a body, as the engine reads them; a task can be stopped between two. ``brings_vectors``:
    members of that name are no metadata."""

    def __init__(
        self,
        rows: DocumentRows,
        policy: ErrorPolicy,
        dates: DateFields,
        control: TaskControl | None,
        *,
        brings_vectors: bool,
    ) -> None:
        self.policy, self.fraction = policy, rows.fraction
        self._rows, self._dates, self._control = rows, dates, control
        self._brings_vectors = brings_vectors

    def __iter__(self) -> Iterator[Record]:
        rows = with_vectors(self._rows) if self._brings_vectors else self._rows
        records = records_of(rows, FieldNames(vectors=self._brings_vectors), self.policy)
        for record in records:
            if self._control is not None:
                self._control.check()
            yield self._dates.restored(record)


def _written(
    engine: Engine, rows: DocumentRows, plan: Plan, control: TaskControl | None = None
) -> WriteResponse:
    """Write them in one commit."""
    policy = ErrorPolicy("collect" if plan.on_error == "stop" else "skip")
    put = engine.upsert if plan.mode == "upsert" else engine.add
    dates = DateFields(lambda: engine.inspect().fields)
    # Members of a JSON document are never metadata; the engine refuses vectors that it makes by itself.
    brings_vectors = rows.form == "json" or isinstance(engine.encoder, GivenVectors)
    source = _Source(rows, policy, dates, control, brings_vectors=brings_vectors)
    try:
        report = put(source, progress=None if control is None else partial(_tell, control))
    except DataError as error:
        raise _refusal(policy, len(rows.ids)) if error.errors else error from None
    return WriteResponse(
        documents=report.documents,
        replaced=report.replaced,
        skipped=report.skipped,
        errors=[_item(error, rows.ids) for error in policy.errors],
        # Somebody else may have committed since: this commit, or a later one.
        generation=engine.generation,
        timings_ms={
            "encode": round(1000 * report.encode_seconds, 3),
            "write": round(1000 * (report.seconds - report.encode_seconds), 3),
        },
    )


def _tell(control: TaskControl, progress: BuildProgress) -> None:
    """How far encoding is."""
    control.tell("encode", progress.fraction, progress.documents)


def _refusal(policy: ErrorPolicy, n_documents: int) -> ProblemError:
    first, bad = policy.errors[0], policy.skipped
    told = f"{bad} of {n_documents} documents cannot be used, and none was written; {first}"
    found = [{"pointer": error.where or "", "detail": error.detail} for error in policy.errors[:MAX_REFUSED]]
    return ProblemError(422, "bad_documents", told, errors=found)


def _item(error: DataError, ids: list[str | None]) -> ItemError:
    index = int((error.where or "").split("/")[2])  # /documents/3, or what is inside that
    return ItemError(index=index, id=ids[index], code=error.code, detail=error.detail)


def _ms(began: float, ended: float) -> float:
    return round((ended - began) * 1000, 3)
