"""Build every engine, look how good each setting is, then time the settings that are worth it in turns.

One query at a time, its vectors given, as a user asks whose encoder is done. CPU time is that of the
whole process, so that an engine which works on threads of its own gains nothing by it.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from bench.late.data import LateData
from bench.late.truth import Truth, ndcg, recall
from bench.memory import Peak, free_memory
from bench.peers.late_base import AskTokens, LateBytes, LateEngine, LateSetting, Reopening, Tokens
from bench.timing import latencies, workers
from retrieval.types import FloatArray

__all__ = ["CUTOFF", "Built", "Cost", "Options", "Point", "build_all", "encode_ms", "measure"]

Tell = Callable[[str], None]
CUTOFF = 10
"""The first hits, which have a recall of their own."""
SLACK = 1.2
"""A setting that is this many times slower than one of no less recall is not timed again."""
LEAST = 5
"""Queries that a point is timed with at least."""
FILES, COST = "files", "cost.json"
"""What an engine writes, and once it is whole what that cost: in a folder of the engine's name."""


@dataclass(frozen=True)
class Options:
    """``seconds`` is what a point may take in a round."""

    k: int = 100
    threads: tuple[int, ...] = (1, 2)
    rounds: int = 3
    seconds: float = 2.0
    build_threads: int = 1


@dataclass
class Cost:
    """What a build took: ``peak`` and ``anonymous`` are memory in bytes beyond that before, with pages of
    mapped files and without."""

    wall_s: float
    cpu_s: float
    peak: int | None
    anonymous: int | None


@dataclass
class Built:
    """An engine with its index."""

    engine: LateEngine
    bytes: LateBytes
    cost: Cost


@dataclass
class Point:
    """One setting of one engine, asked for ``k`` documents. ``recalls`` are by cutoff; ``qps`` and ``cpu_ms``
    (a query) by threads, the best round counts; percentiles are those of one thread."""

    engine: str
    k: int
    setting: LateSetting
    recalls: dict[int, float]
    ndcg: float | None
    first_ms: float
    qps: dict[int, float] = field(default_factory=dict)
    cpu_ms: dict[int, float] = field(default_factory=dict)
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


def build_all(
    engines: Sequence[LateEngine], documents: Tokens, folder: Path, threads: int, tell: Tell
) -> list[Built]:
    """Those that could be built, or are in ``folder`` from an earlier call and can be opened again; the
    others are told by name, with the reason."""
    built = []
    for engine in engines:
        place = folder / re.sub(r"[^a-z0-9]+", "-", engine.name.lower())
        is_there = (place / COST).is_file() and isinstance(engine, Reopening)
        try:
            cost = (_reopen if is_there else _build)(engine, documents, place, threads)
            one = Built(engine, engine.measure_bytes(), cost)
        except ImportError as error:
            tell(f"skipped {engine.name}: not available ({error})")
            continue
        except Exception as error:  # noqa: BLE001  (a peer that cannot do this data ends nothing)
            tell(f"skipped {engine.name}: {type(error).__name__}: {str(error)[:300]}")
            continue
        built.append(one)
        tell(
            f"{'opened' if is_there else 'built'} {engine.name}: {cost.cpu_s:.1f} CPU s, "
            f"{one.bytes.resident / documents.count:.0f} bytes a token"
        )
    return built


def _build(engine: LateEngine, documents: Tokens, place: Path, threads: int) -> Cost:
    need = int(engine.copies * documents.floats)
    if (free := free_memory()) is not None and free < need:
        raise MemoryError(f"{free >> 20} MiB of memory free, {need >> 20} wanted")
    shutil.rmtree(place, ignore_errors=True)  # left by a build that was killed
    (place / FILES).mkdir(parents=True)
    with threadpool_limits(threads), Peak() as peak:
        wall, cpu = time.perf_counter(), time.process_time()
        engine.build(documents, place / FILES, threads)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    cost = Cost(wall, cpu, peak.grown(), peak.anonymous())
    (place / COST).write_text(json.dumps(asdict(cost)), encoding="ascii")
    return cost


def _reopen(engine: Reopening, documents: Tokens, place: Path, _: int) -> Cost:
    engine.reopen(documents, place / FILES)
    return Cost(**json.loads((place / COST).read_text(encoding="ascii")))


def measure(
    built: Sequence[Built], data: LateData, truth: Truth, options: Options, tell: Tell
) -> list[Point]:
    """All settings of all engines with their recall; those that are worth it with their times."""
    points: list[Point] = []
    engines = {one.engine.name: one.engine for one in built}
    queries = [data.queries[i] for i in range(len(data.queries))]
    with threadpool_limits(1):
        for one in built:
            for setting in one.engine.settings(options.k):
                point = _look(one.engine, setting, data, queries, truth, options.k)
                points.append(point)
                told = ", ".join(f"recall@{cutoff} {share:.3f}" for cutoff, share in point.recalls.items())
                tell(f"looked at {one.engine.name} {dict(setting)}: {told}, {point.first_ms:.1f} CPU ms")
        chosen = [point for point in points if not _is_dominated(point, points)]
        for threads in options.threads:
            _time(chosen, engines, queries, threads, options)
            tell(f"timed {len(chosen)} settings on {threads} thread{'s' * (threads > 1)}")
    return points


def encode_ms(texts: Sequence[str], encoder: str) -> float | None:
    """Median time to encode one query, which every engine would have to wait for; None without texts."""
    if not texts:
        return None
    from retrieval.encode import load_encoder

    model = load_encoder(encoder)
    with threadpool_limits(1):
        model.encode_query(texts[:1])
        each = latencies(lambda text: model.encode_query([text]), texts[:50])
    return 1000 * float(np.median(each))


def _look(
    engine: LateEngine, setting: LateSetting, data: LateData, queries: list[FloatArray], truth: Truth, k: int
) -> Point:
    """Recall over all queries, and how long that took."""
    ask = engine.prepare(k, setting)
    ask(queries[0])
    started = time.process_time()
    found = [np.asarray(ask(query)) for query in queries]
    ms = 1000 * (time.process_time() - started) / len(found)
    recalls = {cutoff: recall(found, truth, cutoff) for cutoff in sorted({min(CUTOFF, k), k})}
    return Point(engine.name, k, setting, recalls, ndcg(found, data), ms)


def _is_dominated(point: Point, points: Sequence[Point]) -> bool:
    return any(
        other.first_ms * SLACK < point.first_ms
        and all(other.recalls[cutoff] >= value for cutoff, value in point.recalls.items())
        for other in points
        if other.engine == point.engine
    )


def _time(
    points: Sequence[Point],
    engines: dict[str, LateEngine],
    queries: list[FloatArray],
    threads: int,
    options: Options,
) -> None:
    with workers(threads) as pool:
        for _ in range(options.rounds):
            for point in points:
                engine = engines[point.engine]
                if threads > 1 and not engine.shared:
                    continue
                count = min(len(queries), int(1000 * options.seconds / max(point.first_ms, 1e-3)))
                ask = engine.prepare(point.k, point.setting)
                ask(queries[0])
                _time_once(point, ask, queries[: max(LEAST, count)], threads, pool)


def _time_once(
    point: Point, ask: AskTokens, queries: list[FloatArray], threads: int, pool: ThreadPoolExecutor | None
) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    if pool is None:
        each = latencies(ask, queries)
    else:  # every thread asks all queries, each beginning elsewhere
        starts = [i * len(queries) // threads for i in range(threads)]
        list(pool.map(lambda start: latencies(ask, queries[start:] + queries[:start]), starts))
        each = None
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    answered = len(queries) * threads
    point.qps[threads] = max(point.qps.get(threads, 0.0), answered / wall)
    point.cpu_ms[threads] = min(point.cpu_ms.get(threads, np.inf), 1000 * cpu / answered)
    if each is not None and (point.p50_ms is None or 1000 * np.median(each) < point.p50_ms):
        # Of the best round all three, so that they belong together.
        point.p50_ms, point.p95_ms, point.p99_ms = (
            float(p) for p in 1000 * np.percentile(each, (50, 95, 99))
        )
