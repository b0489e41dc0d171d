"""Build every engine, look how good each setting is, then time the settings that are worth it in turns.

One query at a time, as a user asks. CPU time is that of the whole process, so that an engine which
works on threads of its own gains nothing by it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.ann.data import Data, exact_scores
from bench.memory import free_memory
from bench.peers.base import Ask, Bytes, Engine, Setting
from bench.timing import latencies, workers
from retrieval.types import FloatArray

__all__ = ["Built", "Options", "Point", "Tell", "build_all", "measure", "recall"]

Tell = Callable[[str], None]
ROUNDING = 2e-6
"""Inner products of unit vectors that differ by no more are equal: engines add in different orders."""
SLACK = 1.2
"""A setting that is this many times slower than one of no less recall is not timed again."""
ENOUGH = 0.9995
"""Recall that needs no more effort."""
COPIES = 3
"""Memory that an engine takes while it is built, in copies of the vectors."""


@dataclass(frozen=True)
class Options:
    """``seconds`` is what a point may take in a round."""

    ks: tuple[int, ...] = (10, 100)
    threads: tuple[int, ...] = (1, 2)
    rounds: int = 3
    seconds: float = 0.5
    build_threads: int = 1


@dataclass
class Built:
    """An engine with its index, and what that cost."""

    engine: Engine
    bytes: Bytes
    wall_s: float
    cpu_s: float


@dataclass
class Point:
    """One setting of one engine. ``qps`` and ``cpu_ms`` (a query) are by threads; the best round counts."""

    engine: str
    k: int
    setting: Setting
    recall: float
    first_ms: float
    qps: dict[int, float] = field(default_factory=dict)
    cpu_ms: dict[int, float] = field(default_factory=dict)
    p50_ms: float | None = None
    p99_ms: float | None = None


def recall(
    found: Sequence[NDArray[Any]], exact: FloatArray, vectors: FloatArray, queries: FloatArray
) -> float:
    """Mean share of the k best that was found: ``exact`` ``(m, k)`` are the best scores of each query.

    Counted by scores, so that an engine which gives another one of equal vectors loses nothing; a
    vector that is given twice counts once.
    """
    shares = []
    for given, best, query in zip(found, exact, queries, strict=True):
        ids = np.unique(np.asarray(given, dtype=np.int64))
        ids = ids[(ids >= 0) & (ids < len(vectors))]
        good = int((vectors[ids] @ query >= best[-1] - ROUNDING).sum())
        shares.append(min(good, len(best)) / len(best))
    return float(np.mean(shares))


def build_all(engines: Sequence[Engine], data: Data, threads: int, tell: Tell) -> list[Built]:
    """Those that could be built; the others are told by name, with the reason."""
    built = []
    for engine in engines:
        need = COPIES * data.vectors.nbytes
        if (free := free_memory()) is not None and free < need:
            tell(f"skipped {engine.name}: {free >> 20} MiB of memory free, {need >> 20} wanted")
            continue
        try:
            with threadpool_limits(threads), tempfile.TemporaryDirectory() as scratch:
                wall, cpu = time.perf_counter(), time.process_time()
                engine.build(data.vectors, threads)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                size = engine.measure_bytes(Path(scratch))
        except ImportError as error:
            tell(f"skipped {engine.name}: not installed ({error})")
            continue
        except Exception as error:  # noqa: BLE001  (a peer that cannot do this data ends nothing)
            tell(f"skipped {engine.name}: {type(error).__name__}: {str(error)[:300]}")
            continue
        built.append(Built(engine, size, wall, cpu))
        tell(f"built {engine.name}: {cpu:.1f} CPU s, {size.held / len(data.vectors):.0f} bytes a vector")
    return built


def measure(built: Sequence[Built], data: Data, options: Options, tell: Tell) -> list[Point]:
    """Points of all engines and settings; the dominated ones have recall and a first time alone."""
    points: list[Point] = []
    engines = {one.engine.name: one.engine for one in built}
    with threadpool_limits(1):
        exact = exact_scores(data, max(options.ks))
        for one in built:
            for k in options.ks:
                points += _look(one.engine, k, exact[:, :k], data)
            tell(f"looked at {one.engine.name}")
        kept = [point for point in points if not _is_dominated(point, points)]
        for threads in options.threads:
            _time(kept, engines, data.queries, threads, options)
            tell(f"timed {len(kept)} settings on {threads} thread{'s' * (threads > 1)}")
    return points


def _look(engine: Engine, k: int, exact: FloatArray, data: Data) -> Iterator[Point]:
    """Recall over all queries, and how long that took. What only tries harder than a setting that finds
    everything is left out."""
    enough: list[Setting] = []
    for setting in engine.settings(k):
        if any(all(setting[name] >= least[name] for name in least) for least in enough):
            continue
        ask = engine.prepare(k, setting)
        ask(data.queries[0])
        started = time.process_time()
        found = [ask(query) for query in data.queries]
        ms = 1000 * (time.process_time() - started) / len(found)
        share = recall(found, exact, data.vectors, data.queries)
        if share >= ENOUGH:
            enough.append(setting)
        yield Point(engine.name, k, setting, share, ms)


def _is_dominated(point: Point, points: Sequence[Point]) -> bool:
    return any(
        other.first_ms * SLACK < point.first_ms and other.recall >= point.recall
        for other in points
        if (other.engine, other.k) == (point.engine, point.k)
    )


def _time(
    points: Sequence[Point], engines: dict[str, Engine], queries: FloatArray, threads: int, options: Options
) -> None:
    with workers(threads) as pool:
        for _ in range(options.rounds):
            for point in points:
                engine = engines[point.engine]
                if threads > 1 and not engine.shared:
                    continue
                count = max(20, min(len(queries), int(1000 * options.seconds / max(point.first_ms, 1e-3))))
                ask = engine.prepare(point.k, point.setting)
                ask(queries[0])
                _time_once(point, ask, queries[:count], threads, pool)


def _time_once(
    point: Point, ask: Ask, queries: FloatArray, threads: int, pool: ThreadPoolExecutor | None
) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    if pool is None:
        each = latencies(ask, queries)
    else:  # every thread asks all queries, each beginning elsewhere
        starts = [i * len(queries) // threads for i in range(threads)]
        list(pool.map(lambda start: latencies(ask, np.roll(queries, -start, axis=0)), starts))
        each = None
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    answered = len(queries) * threads
    point.qps[threads] = max(point.qps.get(threads, 0.0), answered / wall)
    point.cpu_ms[threads] = min(point.cpu_ms.get(threads, np.inf), 1000 * cpu / answered)
    if each is not None:
        p50, p99 = (1000 * float(value) for value in np.percentile(each, (50, 99)))
        point.p50_ms = min(p50, point.p50_ms or np.inf)
        point.p99_ms = min(p99, point.p99_ms or np.inf)
