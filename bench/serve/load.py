"""Clients of a server: so many that each wait for their answer, or requests that come whatever it does.

One thread, one selector, requests made beforehand. `Load.cpu_s` says what that took of the machine.
"""

from __future__ import annotations

import gc
import selectors
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from bench.serve.wire import Address, Connection

__all__ = ["Load", "Times", "closed_loop", "open_loop"]

OK = 200
TICK = 1e-3
"""Seconds that an open loop sleeps."""
Times = NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """``ms`` are the times of answers 200, ``refused_ms`` of 503; ``statuses`` counts all (0: the connection
    broke). ``late_ms`` is how late requests were sent, of an open loop."""

    seconds: float
    cpu_s: float
    ms: Times
    refused_ms: Times
    statuses: dict[int, int]
    late_ms: Times

    @property
    def qps(self) -> float:
        """Answers 200 a second."""
        return len(self.ms) / self.seconds

    @property
    def failed(self) -> int:
        """Answers that are neither 200 nor 503."""
        return sum(n for status, n in self.statuses.items() if status not in (OK, 503))


@dataclass(slots=True, eq=False)
class _Tally:
    """What came back, as it comes."""

    times: list[tuple[int, float]]
    late: list[float]

    def load(self, seconds: float, cpu_s: float) -> Load:
        ms = {wanted: [1e3 * t for status, t in self.times if status == wanted] for wanted in (OK, 503)}
        return Load(
            seconds,
            cpu_s,
            np.array(ms[OK]),
            np.array(ms[503]),
            dict(Counter(status for status, _ in self.times)),
            1e3 * np.array(self.late),
        )


def closed_loop(address: Address, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    """``clients`` that ask again as soon as they have an answer, for so long; answers that are due then are
    waited for."""
    clock, tally, following = time.perf_counter, _Tally([], []), cycle(requests)
    made = _connected(address, clients, selectors.DefaultSelector)
    with made as (connections, selector), _measured() as spent:
        started = clock()
        end = started + seconds
        sent: dict[Connection, float] = {}
        for each in connections:
            sent[each] = clock()
            each.send(next(following))
        while sent:
            for each in _whole(selector, sent):
                now = clock()
                tally.times.append((each.status, now - sent.pop(each)))
                if each.is_over:
                    _anew(each, selector)
                if now < end:
                    sent[each] = clock()
                    each.send(next(following))
        taken = clock() - started
    return tally.load(taken, spent())


def open_loop(
    address: Address, requests: Sequence[bytes], rate: float, seconds: float, connections: int, seed: int = 0
) -> Load:
    """Requests that come by chance, ``rate`` a second (Poisson), over as many connections. A time begins when
    the request was due: what waits for a free connection counts too, and so does up to a `TICK`, in which it
    was not looked whether something is due or has come. Clients on other machines sleep without cost to the
    server; one that is woken by each answer had it pay for that with 18 microseconds a refusal."""
    clock, tally, following = time.perf_counter, _Tally([], []), cycle(requests)
    gaps = np.random.default_rng(seed).exponential(1 / rate, max(1, round(rate * seconds)))
    made = _connected(address, connections, selectors.DefaultSelector)
    with made as (free, selector), _measured() as spent:
        started = clock()
        due = deque((started + np.cumsum(gaps)).tolist())
        idle, sent = list(free), dict[Connection, float]()
        while due or sent:
            while due and idle and due[0] <= (now := clock()):
                each, at = idle.pop(), due.popleft()
                tally.late.append(now - at)
                sent[each] = at
                each.send(next(following))
            time.sleep(TICK)
            for each in _whole(selector, sent, 0.0):
                tally.times.append((each.status, clock() - sent.pop(each)))
                if each.is_over:
                    _anew(each, selector)
                idle.append(each)
        taken = clock() - started
    return tally.load(taken, spent())


def _whole(
    selector: selectors.BaseSelector, sent: Container[Connection], patience: float | None = None
) -> Iterator[Connection]:
    """Connections whose answers are there. Quiet ones that the server has closed are made anew."""
    for key, _ in selector.select(patience):
        connection = key.fileobj
        assert isinstance(connection, Connection)
        if connection not in sent:
            _anew(connection, selector)
        elif connection.receive():
            yield connection


def _anew(connection: Connection, selector: selectors.BaseSelector) -> None:
    selector.unregister(connection)
    connection.renew()
    selector.register(connection, selectors.EVENT_READ)


@contextmanager
def _connected(
    address: Address, n: int, make: type[selectors.BaseSelector]
) -> Iterator[tuple[list[Connection], selectors.BaseSelector]]:
    connections: list[Connection] = []
    try:
        with make() as selector:
            for _ in range(n):
                connections.append(Connection(address))
                selector.register(connections[-1], selectors.EVENT_READ)
            yield connections, selector
    finally:
        for each in connections:
            each.close()


@contextmanager
def _measured() -> Iterator[Callable[[], float]]:
    """The thread's CPU time since then; nothing is collected meanwhile, because what lies in this process
    besides would be looked through."""
    was = gc.isenabled()
    gc.disable()
    started = time.thread_time()
    try:
        yield lambda: time.thread_time() - started
    finally:
        if was:
            gc.enable()
