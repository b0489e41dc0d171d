"""What is measured of our service: that it answers as the engine does, what it adds, how much it answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bench.serve.data import Questions
from bench.serve.load import Load, Times, closed_loop, open_loop
from bench.serve.process import COLLECTION, Memory, Server, cpu_seconds, memory_of
from bench.serve.wire import Connection, post
from bench.timing import latencies
from retrieval import Engine
from retrieval.client import Client
from retrieval.client.packing import packed
from retrieval.types import FloatArray, SearchResult

__all__ = [
    "FORMS",
    "Flow",
    "Form",
    "Options",
    "Overhead",
    "check",
    "closed",
    "engine_load",
    "opened",
    "overheads",
    "requests",
]

ROUNDING = 1e-5
"""Scores that differ by no more are equal: a text may have been encoded in a batch."""
SHARES = (0.5, 0.8, 0.95, 2.0, 5.0)
"""Rates of the open loop, as shares of the most that the closed loop got answered."""
OPEN_CONNECTIONS = 256
LEAST, WARM = 10, 3
ALL_FIELDS = ("title", "text", "metadata")


@dataclass(frozen=True)
class Form:
    """How a question is put: as a text, which is encoded, or as its vectors, in numbers of JSON or packed
    in base64; what of a hit is wanted."""

    query: Literal["vector", "packed", "text"]
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.query}, {'ids and texts' if self.fields else 'ids'}"


QUERIES: tuple[Literal["vector", "packed", "text"], ...] = ("vector", "packed", "text")
FORMS = tuple(Form(query, fields) for query in QUERIES for fields in ((), ALL_FIELDS))


@dataclass(frozen=True)
class Options:
    """``seconds`` are those of one block of one round."""

    k: int
    concurrency: tuple[int, ...]
    seconds: float
    rounds: int


@dataclass
class Overhead:
    """Milliseconds of the same questions, put to the engine, over HTTP, and by the Python client."""

    form: Form
    engine: list[Times] = field(default_factory=list)
    http: list[Times] = field(default_factory=list)
    client: list[Times] = field(default_factory=list)

    @property
    def added_ms(self) -> float:
        """The median of what HTTP added to each question, which may be easy or hard."""
        return float(np.median(np.concatenate(self.http) - np.concatenate(self.engine)))


@dataclass
class Flow:
    """Rounds of load of one form. ``clients`` wait for answers; or requests come at ``rate`` a second."""

    form: Form
    clients: int | None = None
    rate: float | None = None
    loads: list[Load] = field(default_factory=list)
    server_cpu_s: list[float | None] = field(default_factory=list)
    memory: Memory = field(default_factory=lambda: Memory(None, None))
    """Of the server's process, after the last round."""

    @property
    def ms(self) -> Times:
        """Of all rounds."""
        return np.concatenate([load.ms for load in self.loads])

    @property
    def qps(self) -> float:
        """The median of the rounds."""
        return float(np.median([load.qps for load in self.loads]))

    @property
    def failed(self) -> int:
        """Answers that are neither an answer nor a refusal for now."""
        return sum(load.failed for load in self.loads)


def body_of(question: str | FloatArray, form: Form, k: int) -> dict[str, Any]:
    """The search as JSON."""
    if isinstance(question, str):
        query: dict[str, Any] = {"query": question}
    else:
        sent = packed(question) if form.query == "packed" else question.tolist()
        query = {"vector" if question.ndim == 1 else "vectors": sent}
    return {**query, "limit": k, "fields": list(form.fields)}


def requests(server: Server, asked: Questions, form: Form, k: int) -> list[bytes]:
    """A request for each question."""
    return [post(server.path("search"), body_of(one, form, k)) for one in _asked(asked, form)]


def check(engine: Engine, server: Server, asked: Questions, k: int) -> None:
    """Put every question in every form, and compare hit by hit with the engine in this process.

    Raises:
        ValueError: an answer differs; then no speed counts.
    """
    connection = Connection(server.address)
    try:
        for form in FORMS:
            sent = requests(server, asked, form, k)
            for question, request in zip(_asked(asked, form), sent, strict=True):
                status, body = connection.ask(request)
                expected = engine.search(question, k, fields=form.fields)
                if status != 200 or not _same(json.loads(body)["hits"], expected):
                    told = f"{form.name}: the service answered {status} with other hits than the engine"
                    raise ValueError(f"{told}: {str(question)[:100]!r}, {body[:500]!r}")
    finally:
        connection.close()


def overheads(
    engine: Engine, server: Server, asked: Questions, options: Options, forms: Sequence[Form] = FORMS
) -> Iterator[Overhead]:
    """One question at a time, in turns: a block for the engine, one over HTTP, one by the client."""
    connection = Connection(server.address)
    with Client(server.url, timeout_s=60) as client:
        remote = client.collection(COLLECTION)
        try:
            for form in forms:
                found, sent = Overhead(form), requests(server, asked, form, options.k)
                given = _asked(asked, form)

                def of_engine(i: int, given: Any = given, form: Form = form) -> object:
                    return engine.search(given[i], options.k, fields=form.fields)

                def over_http(i: int, sent: list[bytes] = sent) -> None:
                    status, _ = connection.ask(sent[i])
                    if status != 200:
                        raise ValueError(f"the service answered {status} to one request at a time")

                def of_client(i: int, given: Any = given, form: Form = form) -> object:
                    return remote.search(given[i], options.k, fields=form.fields)

                for turn in range(options.rounds):
                    block = _block(of_engine, len(given), options.seconds, turn)
                    for ask, taken in (
                        (of_engine, found.engine),
                        (over_http, found.http),
                        (of_client, found.client),
                    ):
                        latencies(ask, block[:WARM])
                        taken.append(1e3 * latencies(ask, block))
                yield found
        finally:
            connection.close()


def closed(server: Server, sent: Mapping[Form, Sequence[bytes]], options: Options) -> list[Flow]:
    """Clients that wait for their answers; forms and numbers of clients take turns."""
    flows = [Flow(form, clients=n) for form in sent for n in options.concurrency]
    for _ in range(options.rounds):
        for flow in flows:
            assert flow.clients is not None  # as made above
            before = cpu_seconds(server.pid)
            flow.loads.append(closed_loop(server.address, sent[flow.form], flow.clients, options.seconds))
            flow.server_cpu_s.append(_since(before, server.pid))
            flow.memory = memory_of(server.pid)
    return flows


def opened(
    server: Server, sent: Mapping[Form, Sequence[bytes]], peaks: Mapping[Form, float], options: Options
) -> list[Flow]:
    """Requests that come by chance, at shares of the peak."""
    flows = [Flow(form, rate=share * peaks[form]) for form in sent for share in SHARES]
    for turn in range(options.rounds):
        for flow in flows:
            assert flow.rate is not None  # as made above
            before = cpu_seconds(server.pid)
            flow.loads.append(
                open_loop(
                    server.address, sent[flow.form], flow.rate, options.seconds, OPEN_CONNECTIONS, seed=turn
                )
            )
            flow.server_cpu_s.append(_since(before, server.pid))
            flow.memory = memory_of(server.pid)
    return flows


def engine_load(engine: Engine, asked: Questions, threads: int, options: Options) -> Load:
    """Vector queries by so many threads of this process, each of which asks again at once."""
    clock, n = time.perf_counter, len(asked.vectors)
    started, cpu = clock(), time.process_time()

    def ask(number: int) -> list[float]:
        times, turn = [], number * n // threads
        while (began := clock()) < started + options.seconds:
            engine.search(asked.vectors[turn % n], options.k, fields=())
            times.append(1e3 * (clock() - began))
            turn += 1
        return times

    with ThreadPoolExecutor(threads) as pool:
        ms = np.array([one for times in pool.map(ask, range(threads)) for one in times])
    none: Times = np.empty(0)
    return Load(clock() - started, time.process_time() - cpu, ms, none, {200: len(ms)}, none)


def _asked(asked: Questions, form: Form) -> Sequence[Any]:
    return asked.texts if form.query == "text" else asked.vectors


def _block(ask: Callable[[int], object], n: int, seconds: float, turn: int) -> list[int]:
    """As many questions as fit into the time, beginning elsewhere each turn; asking a few warms up."""
    taken = float(np.median(latencies(ask, range(min(LEAST, n)))))
    count = int(np.clip(seconds / max(taken, 1e-6), LEAST, n))
    return [(turn * count + i) % n for i in range(count)]


def _same(hits: Sequence[Mapping[str, Any]], expected: SearchResult) -> bool:
    """The same documents in the same order; where ids differ, their scores may not."""
    if len(hits) != len(expected):
        return False
    return all(
        abs(hit["score"] - other.score) <= ROUNDING * max(1.0, abs(other.score))
        and (hit["id"] == other.id or _is_tied(hit["score"], expected, i))
        for i, (hit, other) in enumerate(zip(hits, expected, strict=True))
    )


def _is_tied(score: float, expected: SearchResult, i: int) -> bool:
    """Whether a neighbour has this score, or the list ends here."""
    near = [expected[j].score for j in (i - 1, i + 1) if 0 <= j < len(expected)]
    margin = ROUNDING * max(1.0, abs(score))
    return i == len(expected) - 1 or any(abs(score - one) <= margin for one in near)


def _since(before: float | None, pid: int) -> float | None:
    now = cpu_seconds(pid)
    return None if before is None or now is None else now - before
