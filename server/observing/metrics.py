"""What Prometheus is told. Everything belongs to one application: a second one in the process counts for
itself.

Names of routes, collections and models are the only labels that grow, and each of those exists here: no
request can make a series by asking for what is not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from retrieval import Engine
from retrieval.errors import RetrievalError
from server.http.problems import ProblemError
from server.working.batching import BATCH_SIZES, BatchingEncoder

if TYPE_CHECKING:
    from server.context import AppContext

__all__ = ["Metrics"]

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
STAGES = frozenset({"queue", "encode", "filter", "search", "fetch", "explain"})
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LONG = (1, 5, 15, 60, 300, 900, 3600, 14_400)
BYTES_SECONDS = 30
"""How old the sizes of a collection may be: they are found by looking at its files."""
COLLECTION = "collection"


class Metrics:
    """Counts as things happen; what can be looked at is looked at when it is asked for. Any thread may
    call."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        made: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter(
            "retrieval_requests", "Requests answered", ("route", "method", "status"), **made
        )
        self._seconds = Histogram(
            "retrieval_request_seconds",
            "From arrival to the last byte of the answer",
            ("route", "method"),
            buckets=SECONDS,
            **made,
        )
        self._stages = Histogram(
            "retrieval_stage_seconds",
            "Stages of a search; queue: waiting for a thread",
            (COLLECTION, "stage"),
            buckets=SECONDS,
            **made,
        )
        self._tasks = Histogram(
            "retrieval_task_seconds", "Tasks that ended", ("kind", "state"), buckets=LONG, **made
        )
        self._sizes: dict[int, tuple[float, Mapping[str, int]]] = {}

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request has been answered. ``route`` is the template, never the path that was sent."""
        known = method if method in METHODS else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._seconds.labels(route, known).observe(seconds)

    def stages(self, collection: str, timings_ms: Mapping[str, float]) -> None:
        """A search has taken so many milliseconds in each stage."""
        for stage, ms in timings_ms.items():
            if stage in STAGES:
                self._stages.labels(collection, stage).observe(ms / 1000)

    def task_ended(self, kind: str, state: str, seconds: float) -> None:
        """A task has ended in this state, so many seconds after it began (0: it never began)."""
        self._tasks.labels(kind, state).observe(seconds)

    def text(self, context: AppContext, may_read: Callable[[str], bool]) -> bytes:
        """Everything in Prometheus' text format, without collections that the reader may not read. Blocks."""
        return generate_latest(_Shown([self._registry, _Now(context, self._size_of)], may_read))

    def _size_of(self, engine: Engine) -> Mapping[str, int]:
        """Bytes by component, looked at anew after a while."""
        now = time.monotonic()
        self._sizes = {key: kept for key, kept in self._sizes.items() if now - kept[0] < BYTES_SECONDS}
        if id(engine) not in self._sizes:
            self._sizes[id(engine)] = now, engine.inspect().bytes
        return self._sizes[id(engine)][1]


class _Shown(CollectorRegistry):
    """Some collectors' metrics, those of collections only where they may be seen."""

    def __init__(
        self, sources: Iterable[Collector | CollectorRegistry], may_read: Callable[[str], bool]
    ) -> None:
        super().__init__()
        self._sources, self._may_read = list(sources), may_read

    def collect(self) -> Iterable[Metric]:
        """As `CollectorRegistry.collect`."""
        for source in self._sources:
            for metric in source.collect():
                metric.samples = [
                    one
                    for one in metric.samples
                    if not one.name.endswith("_created")  # as many series again, of use to nobody here
                    and (COLLECTION not in one.labels or self._may_read(one.labels[COLLECTION]))
                ]
                yield metric


class _Now(Collector):
    """What the application is at the moment it is asked."""

    def __init__(self, context: AppContext, size_of: Callable[[Engine], Mapping[str, int]]) -> None:
        self._context, self._size_of = context, size_of

    def collect(self) -> Iterable[Metric]:
        """As `Collector.collect`."""
        yield _gauge(
            "retrieval_build_info", "The version that runs; always 1", {(_version(),): 1}, ("version",)
        )
        yield from self._load()
        yield from self._collections()
        yield from self._encoders()

    def _load(self) -> Iterable[Metric]:
        context = self._context
        gates = {("read",): context.gate, ("write",): context.write_gate}
        in_flight = {label: gate.in_flight for label, gate in gates.items()}
        yield _gauge("retrieval_requests_in_flight", "Worked on, or waiting", in_flight, ("kind",))
        turned_away = {label: gate.turned_away for label, gate in gates.items()}
        yield _counter(
            "retrieval_requests_turned_away", "Refused: too many in flight", turned_away, ("kind",)
        )
        pools = {
            "read": context.pool,
            "write": context.write_pool,
            "admin": context.admin_pool,
            "upkeep": context.upkeep_pool,
        }
        running = {(name, lane): pool.running(lane) for name, pool in pools.items() for lane in pool.lanes}
        waiting = {(name, lane): pool.waiting(lane) for name, pool in pools.items() for lane in pool.lanes}
        yield _gauge("retrieval_jobs_running", "Jobs that have a thread", running, ("pool", "lane"))
        yield _gauge("retrieval_jobs_waiting", "Jobs that wait for one", waiting, ("pool", "lane"))
        tasks = {(state,): count for state, count in context.tasks.counts().items()}
        yield _gauge("retrieval_tasks", "Tasks by state", tasks, ("state",))

    def _collections(self) -> Iterable[Metric]:
        states: dict[tuple[str, ...], float] = {}
        generations: dict[tuple[str, ...], float] = {}
        documents: dict[tuple[str, ...], float] = {}
        sizes: dict[tuple[str, ...], float] = {}
        for collection in self._context.registry.all():
            name = collection.name
            states[name, collection.state] = 1
            try:
                with self._context.registry.lease(name) as engine:
                    snapshot = engine.located()[0].snapshot
                    generations[name,], documents[name,] = snapshot.generation, len(snapshot)
                    sizes |= {(name, part): size for part, size in self._size_of(engine).items()}
            except (ProblemError, RetrievalError):  # not open, or just closed: the state says so
                continue
        yield _gauge("retrieval_collection_state", "1 for the state", states, (COLLECTION, "state"))
        yield _gauge("retrieval_generation", "The newest commit", generations, (COLLECTION,))
        yield _gauge("retrieval_documents", "Documents that can be found", documents, (COLLECTION,))
        yield _gauge("retrieval_index_bytes", "Bytes on disk", sizes, (COLLECTION, "component"))

    def _encoders(self) -> Iterable[Metric]:
        batches = HistogramMetricFamily(
            "retrieval_encode_batch_size", "Queries encoded at once", labels=("model",)
        )
        cached: dict[tuple[str, ...], float] = {}
        for name, encoder in self._wrapped().items():
            counts, total, buckets = encoder.counts, 0, []
            for bound, count in zip([*map(str, BATCH_SIZES), "+Inf"], counts.batches, strict=True):
                total += count
                buckets.append((bound, total))
            batches.add_metric((name,), buckets, counts.texts)
            cached[name, "hit"], cached[name, "miss"] = counts.hits, counts.misses
        yield batches
        told = "Queries whose vectors were at hand, or not"
        yield _counter("retrieval_query_cache", told, cached, ("model", "result"))

    def _wrapped(self) -> Mapping[str, BatchingEncoder]:
        """Encoders in use, each once, by name; of several with one name those after the first have a
        number."""
        found: dict[str, BatchingEncoder] = {}
        for encoder in self._context.models.all():
            config = getattr(encoder, "config", None)
            name = base = type(encoder.inner).__name__ if config is None else Path(config.name).name
            number = 2
            while name in found:
                name, number = f"{base}#{number}", number + 1
            found[name] = encoder
        return found


def _gauge(name: str, told: str, values: Mapping[Any, float], labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(name, told, labels=labels)
    for at, value in values.items():
        family.add_metric(at, value)
    return family


def _counter(name: str, told: str, values: Mapping[Any, float], labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(name, told, labels=labels)
    for at, value in values.items():
        family.add_metric(at, value)
    return family


def _version() -> str:
    try:
        return version("retrieval-engine")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
