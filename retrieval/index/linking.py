"""How a graph of a segment's vectors comes to be: in batches, each of which reads a graph that stays as it is
meanwhile, so that it is the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.building import teller
from retrieval.kernels.blocks import over_blocks
from retrieval.kernels.links.cpu import choose_links
from retrieval.kernels.walk.cpu import walk
from retrieval.kernels.walk.prepared import SLACK, Asked, Graph, Layout, aligned
from retrieval.types import FloatArray, IntArray

__all__ = ["Vectors", "entries_of", "link", "link_bytes", "n_entries"]

ENTRIES = 512
SHARE = 16
"""An entry for so many vectors, up to `ENTRIES`."""
FIRST = 64
"""Vectors that are compared with each other: the graph to begin with."""
LARGEST = 4000
GROWTH = 4
"""A batch is a quarter of what is linked: those of a batch do not find each other."""
ALPHA = np.float32(1.15)
LAST_ALPHA = np.float32(1.09)
"""Factors of squared distances, while links are made and at the end. Measured on 200,000 passages at k = 10:
shorter lists at the end are as good as long ones, and faster."""
ROOM = 3
"""Times ``m_links``: links that a vector may have until they are chosen anew, to twice as many at most."""
BLOCK = 64
ROWS = 8192
MOST_LINKS = 254
"""Of one vector; a byte counts them, and a copy's is one more."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """What is linked: ``values`` ``(n, d)`` float32, between which distances count, ``lines`` and ``codes``
    as the walk reads them, and ``ask``, which gives some of the vectors as its queries."""

    layout: Layout
    values: FloatArray
    lines: NDArray[np.uint8]
    codes: NDArray[np.uint8]
    ask: Callable[[IntArray], Asked]


def n_entries(n: int) -> int:
    """How many entries a graph of ``n`` vectors has."""
    return min(ENTRIES, max(n // SHARE, SHARE), n)


def entries_of(order: IntArray, n: int) -> NDArray[np.int32]:
    """Where walks may begin: the first of ``order`` to be linked, again where they are too few."""
    return np.resize(order, n_entries(n)).astype(np.int32)


def link_bytes(n: int) -> int:
    """Bytes of a link."""
    return 3 if n <= 2**24 else 4


def link(vectors: Vectors, order: IntArray, m_links: int, width: int, threads: int = 1) -> NDArray[np.int32]:
    """Links of the vectors of ``order``, in which they are added: ``(n, most)`` int32, -1 behind the last and
    for those that are not in it. ``width`` is that of the walks which find candidates."""
    making = _Making(vectors, entries_of(order, len(vectors.values)), m_links, width, threads)
    tell = teller()
    for first, last in _batches(len(order)):
        making.add(order[first:last], first)
        tell("build the graph", last / len(order))
    return making.finish(order)


def _batches(n: int) -> Iterator[tuple[int, int]]:
    first = 0
    while first < n:
        last = min(n, first + (max(min(LARGEST, first // GROWTH), 1) if first else FIRST))
        yield first, last
        first = last


class _Making:
    """A graph that grows. Of each vector there is room for ``len(links[0])`` links."""

    def __init__(
        self, vectors: Vectors, entries: NDArray[np.int32], m_links: int, width: int, threads: int
    ) -> None:
        n, layout = len(vectors.values), vectors.layout
        self._vectors, self._width, self._threads = vectors, width, threads
        self._most, room = min(2 * m_links, MOST_LINKS), min(ROOM * m_links, MOST_LINKS)
        self._links, self._counts = np.full((n, room), -1, np.int32), np.zeros(n, np.int64)
        size = link_bytes(n)
        stored = aligned((1, n * room * size), SLACK)[0]
        first = aligned((-(-len(entries) // 16) * 16, layout.length))
        first[: len(entries)] = vectors.lines[entries]
        self._stored = stored.reshape(n, room, size)
        layout.starts(vectors.lines)[:, 0] = np.arange(n, dtype=np.uint32) * np.uint32(room)
        given = layout, vectors.lines, stored, size, vectors.codes, entries, first
        self._graph = Graph(*given)

    def add(self, ordinals: IntArray, linked: int) -> None:
        """Link some more; ``linked`` are."""
        found = self._found(ordinals) if linked else np.broadcast_to(ordinals, (len(ordinals),) * 2)
        candidates = np.concatenate([found, self._links[ordinals]], axis=1).astype(np.int32)
        chosen = self._choose(ordinals, candidates, ALPHA, self._most)
        self._set(ordinals, chosen)
        there = chosen >= 0
        self._link_back(np.repeat(ordinals, there.sum(axis=1)), chosen[there].astype(np.int64))

    def _found(self, ordinals: IntArray) -> IntArray:
        asked = self._vectors.ask(ordinals)

        def work(start: int, stop: int) -> IntArray:
            return walk(asked.part(start, stop), self._graph, self._width, self._width)[0]

        return np.concatenate(over_blocks(work, len(ordinals), BLOCK, self._threads))

    def _choose(
        self, ordinals: IntArray, candidates: NDArray[np.int32], alpha: np.float32, most: int
    ) -> NDArray[np.int32]:
        return choose_links(self._vectors.values, ordinals, candidates, float(alpha), most, self._threads)

    def _set(self, ordinals: IntArray, links: NDArray[np.int32]) -> None:
        self._links[ordinals, : links.shape[1]] = links
        self._links[ordinals, links.shape[1] :] = -1
        self._counts[ordinals] = (links >= 0).sum(axis=1)
        self._publish(ordinals)

    def _publish(self, ordinals: IntArray) -> None:
        """Have the walk see them."""
        size = self._stored.shape[2]
        links = np.maximum(self._links[ordinals], 0)
        self._stored[ordinals] = links.view(np.uint8).reshape(*links.shape, 4)[:, :, :size]
        self._vectors.layout.degrees(self._vectors.lines)[ordinals] = self._counts[ordinals]

    def _link_back(self, sources: IntArray, targets: IntArray) -> None:
        """Links the other way. Where there is no room, the best of all are chosen."""
        new = ~(self._links[targets] == sources[:, None]).any(axis=1)
        sources, targets = sources[new], targets[new]
        if not len(targets):
            return
        order = np.argsort(targets, kind="stable")
        sources, targets = sources[order], targets[order]
        nodes, starts, more = np.unique(targets, return_index=True, return_counts=True)
        rank = np.arange(len(targets)) - np.repeat(starts, more)
        fits = self._counts[nodes] + more <= self._links.shape[1]
        fit = np.repeat(fits, more)
        self._links[targets[fit], self._counts[targets[fit]] + rank[fit]] = sources[fit]
        self._counts[nodes[fits]] += more[fits]
        self._publish(nodes[fits])
        full = nodes[~fits]
        if len(full):
            added = np.full((len(full), int(more[~fits].max())), -1, np.int32)
            added[np.repeat(np.arange(len(full)), more[~fits]), rank[~fit]] = sources[~fit]
            both = np.concatenate([self._links[full], added], axis=1)
            self._set(full, self._choose(full, both, ALPHA, self._most))

    def finish(self, order: IntArray) -> NDArray[np.int32]:
        """The links that are kept."""
        for some in _runs(order):
            self._set(some, self._choose(some, self._links[some], LAST_ALPHA, self._most))
        self._lead_to_all(order)
        return self._links

    def _lead_to_all(self, order: IntArray) -> None:
        """Have a link lead to each vector to which no walk can come, since whatever led to it found nearer
        ones in its direction: from the nearest to which one comes and that has room for it. None is led to
        where the walk comes to no such vector."""
        reached = np.zeros(len(self._links), np.bool_)
        self._reach(self._graph.entries.astype(np.int64), reached)
        for some in _runs(order[~reached[order]]):
            for ordinal, found in zip(some, self._found(some), strict=True):
                near = found[(found >= 0) & (self._counts[found] < self._links.shape[1])]
                if reached[ordinal] or not len(near):
                    continue
                self._links[near[0], self._counts[near[0]]] = ordinal
                self._counts[near[0]] += 1
                self._publish(near[:1])
                self._reach(ordinal[None], reached)

    def _reach(self, ordinals: IntArray, reached: NDArray[np.bool_]) -> None:
        """Mark these and all that they lead to."""
        reached[ordinals] = True
        while len(ordinals):
            following = [ordinals[:0]]
            for some in _runs(ordinals):
                links = self._links[some]
                fresh = np.unique(links[(links >= 0) & ~reached[links]]).astype(np.int64)
                reached[fresh] = True
                following.append(fresh)
            ordinals = np.concatenate(following)


def _runs(ordinals: IntArray) -> Iterator[IntArray]:
    """So many at a time as bounds what is copied for them."""
    return (ordinals[first : first + ROWS] for first in range(0, len(ordinals), ROWS))
