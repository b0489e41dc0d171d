"""The walk on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import simd_level
from retrieval.kernels.rotate.cpu import rotate
from retrieval.kernels.walk.prepared import SHORTEST, Asked, Coding, Graph, Layout
from retrieval.types import FloatArray, IntArray

__all__ = ["Asked", "Coding", "Graph", "ask_walk", "check_choice", "check_queries", "walk"]

_ALL = np.empty(0, np.uint8)
_FLOAT, _BYTE = np.dtype(np.float32), np.dtype(np.int8)


def ask_walk(queries: FloatArray, coding: Coding, error: float, weights: FloatArray) -> Asked:
    """See `retrieval.kernels.walk.reference.ask_walk`; the same up to rounding."""
    layout, queries = coding.layout, check_queries(queries, coding.layout)
    n, dim = queries.shape
    if weights.dtype != _FLOAT or weights.shape != (n,):
        raise ValueError(f"weights are {weights.dtype} {weights.shape}: they must be float32 ({n},)")
    fours, octets = np.zeros((n, layout.fours), np.int8), np.zeros((n, layout.wide), np.int8)
    scalars = np.empty((n, 7), np.float32)
    rest = coding.mean, coding.steps, coding.offsets, float(error), _own(weights), fours, octets, scalars
    if simd_level() == "avx512" and dim >= SHORTEST and len(coding.signs):
        turned, size = np.empty((n, dim), np.float32), 1 << (dim.bit_length() - 1)
        _kernels("avx512").turn_and_ask(queries, coding.signs, size, turned, *rest)
    else:
        _kernels("portable").ask(queries, rotate(queries, coding.signs), *rest)
    return Asked(fours, octets, scalars)


def walk(
    asked: Asked,
    graph: Graph,
    width: int,
    depth: int,
    accept: NDArray[np.bool_] | None = None,
    room: int | None = None,
) -> tuple[IntArray, FloatArray]:
    """See `retrieval.kernels.walk.reference.walk`; the same, bit for bit."""
    _check(asked, graph)
    room = width if room is None else room
    check_choice(graph, width, depth, accept, room)
    n, layout = len(asked.scalars), graph.layout
    ordinals, scores = np.empty((n, depth), np.int64), np.empty((n, depth), np.float32)
    if not len(graph.lines):
        ordinals[:], scores[:] = -1, -np.inf
        return ordinals, scores
    chosen = _ALL if accept is None else np.ascontiguousarray(accept).view(np.uint8)
    sizes = width, min(room, len(graph.lines))
    if simd_level() == "avx512":
        _kernels("avx512").walk(graph.places, graph.shape, *asked, *sizes, chosen, ordinals, scores)
    else:
        lines = graph.lines
        floats, starts = np.ascontiguousarray(layout.floats(lines)), layout.starts(lines)[:, 0].copy()
        known = lines, floats, starts, layout.degrees(lines).copy(), graph.links, graph.size, graph.codes
        rest = graph.entries, layout.dim, *asked, *sizes, chosen, ordinals, scores
        _kernels("portable").walk(*known, *rest)
    return ordinals, scores


def check_queries(queries: FloatArray, layout: Layout) -> FloatArray:
    """Queries as kernels take them.

    Raises:
        ValueError: a type or shape that does not fit.
    """
    if queries.dtype != _FLOAT or queries.ndim != 2 or queries.shape[1] != layout.dim:
        raise ValueError(
            f"queries are {queries.dtype} {queries.shape}: they must be float32 (n_q, {layout.dim})"
        )
    return _own(queries)


def _check(asked: Asked, graph: Graph) -> None:
    n, layout = len(asked.scalars), graph.layout
    parts: tuple[tuple[NDArray[Any], tuple[int, int], Any], ...] = (
        (asked.fours, (n, layout.fours), _BYTE),
        (asked.octets, (n, layout.wide), _BYTE),
        (asked.scalars, (n, 7), _FLOAT),
    )
    for array, shape, dtype in parts:
        if array.dtype != dtype or array.shape != shape or not array.flags.carray:
            raise ValueError(f"what is asked has {array.dtype} {array.shape}: it must be {dtype} {shape}")


def check_choice(graph: Graph, width: int, depth: int, accept: NDArray[np.bool_] | None, room: int) -> None:
    """Raises ValueError: a ``width``, ``depth`` or ``room`` that cannot be, a filter that does not fit."""
    if depth < 1 or width < 1:
        raise ValueError(f"depth is {depth}, width {width}: both must be at least 1")
    if room < width:
        raise ValueError(f"room is {room}: it must not be less than the width, {width}")
    if accept is None and depth > room:
        raise ValueError(f"depth is {depth}: it must not be more than the room, {room}")
    if accept is not None and (accept.dtype != np.bool_ or accept.shape != (len(graph.lines),)):
        raise ValueError(f"accept is {accept.dtype} {accept.shape}: it must be bool ({len(graph.lines)},)")


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """The array as kernels are compiled for: contiguous, aligned and writable; else a copy."""
    return array if array.flags.carray and type(array) is np.ndarray else np.array(array, order="C")


@cache
def _kernels(level: str) -> Any:
    return import_module(f"retrieval.kernels.walk.{level}")
