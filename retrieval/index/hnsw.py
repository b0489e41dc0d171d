"""HNSW by faiss: a graph over float16 or 8-bit vectors, kept as plain arrays.

Malkov, Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical navigable
small world graphs (2016). faiss builds and walks it; its file format is not used, and whatever its walk
follows is checked when a segment is attached.

With biases (l2) the graph is one of distances: to a vector ``x`` with bias ``b`` goes one more coordinate
``s`` with ``s^2 = c - 2 b - |x|^2``, to a query a zero. Then ``|q - x|^2 = |q|^2 + c - 2 (q . x + b)``: the
nearest is the best (Bachrach et al., Speeding up the Xbox recommender system, RecSys 2014, which has no
biases). For l2 without reduction ``s`` is zero everywhere. A coordinate holding the bias itself would keep
the inner product, but links between documents would follow the product of two biases, which means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.building import teller
from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.index import graph
from retrieval.index.base import Arrays, Block, Effort, Found
from retrieval.index.best import best_of, nothing
from retrieval.index.blocks import in_blocks
from retrieval.index.checking import check_keys, take, under
from retrieval.index.training import spread
from retrieval.kernels.arrays import plain
from retrieval.quantize import codec_from_state, fit_codec
from retrieval.quantize.base import Codec
from retrieval.quantize.float16 import Float16Codec
from retrieval.quantize.int8 import Int8Codec
from retrieval.types import FloatArray

__all__ = ["CODECS", "HnswIndex", "bytes_to_build"]

CODECS = ("float16", "int8")
ROWS = 8192
CALIBRATION = 65536
REGISTER = 16
SCANNED = 5
"""Vectors that are scored one after another in the time of one step of the walk: 2 (float16) to 20 (int8)."""
WALK_COST = 3000.0
"""Nanoseconds of one of a walk's width, by the model of `retrieval.search.curve`. Measured by bench.ann."""


class HnswIndex:
    """What all segments' graphs share: how vectors are coded, ``m_links`` links a vector (twice as many on
    the ground), and ``ef_construction``."""

    name: ClassVar[str] = "hnsw"

    def __init__(self, codec: Int8Codec | Float16Codec, m_links: int, ef_construction: int) -> None:
        self.codec, self.m_links, self.ef_construction = codec, m_links, ef_construction

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        n: int,  # noqa: ARG003
        options: Mapping[str, Any],
        seed: int = 0,
        threads: int = 1,
    ) -> Self:
        """Calibrate the codes.

        Raises:
            ConfigError: another codec than float16 and int8.
        """
        name = options["codec"]
        if name not in CODECS:
            raise ConfigError(f"codec is {name!r}: the index hnsw stores {' or '.join(CODECS)}")
        rows = np.ascontiguousarray(sample[spread(len(sample), CALIBRATION)], dtype=np.float32)
        codec = fit_codec(name, rows, options, seed, threads)
        return cls(cast(Int8Codec | Float16Codec, codec), options["m_links"], options["ef_construction"])

    def arrange(self, blocks: Iterator[Block], n: int, threads: int = 1) -> dict[str, NDArray[Any]]:
        """Build the graph: codes, links and levels. Holds the segment's ``(n, dim)`` vectors meanwhile; see
        `bytes_to_build`."""
        dim = self.codec.dim
        values, biases = np.zeros((n, _width(dim)), np.float32), None
        for first, block in in_blocks(blocks, ROWS, n, dim):
            if block.biases is not None and biases is None:
                values, biases = np.zeros((n, _width(dim + 1)), np.float32), np.empty(n, np.float32)
            last = first + len(block.values)
            values[first:last, :dim] = block.values
            if biases is not None:
                biases[first:last] = block.biases
        teller()("build the graph", None)
        if biases is None:
            return self._layout(None).build(values, threads)
        lift, values[:, dim] = _lift(values, biases)
        return {"lift": lift, **self._layout(lift).build(values, threads)}

    def _layout(self, lift: FloatArray | None) -> graph.Layout:
        """How faiss keeps a segment, with or without one more coordinate."""
        extent = () if lift is None else (lift[1],)
        codec = _widened(self.codec, extent)
        return graph.Layout(codec, self.m_links, self.ef_construction, is_distance=lift is not None)

    def attach(self, arrays: Arrays, n: int, rows: NDArray[Any], stored: Codec) -> HnswSearch:  # noqa: ARG002
        """See `VectorIndex.attach`. faiss keeps a copy of the arrays."""
        lift = take(arrays, "lift", np.float32, (2,)) if "lift" in arrays else None
        if lift is not None and lift.min() < 0:
            raise IndexDamagedError("the array 'lift' is negative; run verify, then repair")
        layout = self._layout(lift)
        return HnswSearch(layout.attach(arrays, n), n, None if lift is None else lift[0])

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration and trained arrays."""
        config, arrays = self.codec.state()
        return {
            "codec": {"name": self.codec.name, "config": config},
            "m_links": self.m_links,
            "ef_construction": self.ef_construction,
        }, {f"codec/{name}": array for name, array in arrays.items()}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: a codec or an option that this version does not know.
            IndexDamagedError: arrays that do not fit.
        """
        check_keys(config, {"codec", "m_links", "ef_construction"}, "hnsw index")
        stored = config["codec"]
        if stored["name"] not in CODECS:
            raise IndexFormatError(
                f"the index hnsw uses {stored['name']!r}, unknown to this version; upgrade"
            )
        codec = codec_from_state(stored["name"], stored["config"], under(arrays, "codec"))
        links, ef = int(config["m_links"]), int(config["ef_construction"])
        return cls(cast(Int8Codec | Float16Codec, codec), links, ef)


def bytes_to_build(n: int, dim: int, codec: str, m_links: int) -> int:
    """Memory that the graph of a segment of ``n`` vectors takes while it is built: float32 vectors, and codes
    and links twice, faiss's own and the arrays that are stored. The most that `HnswIndex.arrange` holds."""
    width = _width(dim + 1)
    code = width * (1 if codec == Int8Codec.name else 2)
    links = 4 * (2 * m_links + m_links // (m_links - 1) + 1) + 16  # the ground, what is above it, and places
    return n * (4 * width + 2 * code + 2 * links)


def _width(dim: int) -> int:
    """Dimensions that faiss keeps: it compares a register at a time only where all registers are full."""
    return -(-dim // REGISTER) * REGISTER


def _widened(codec: Int8Codec | Float16Codec, extent: tuple[np.float32, ...]) -> Int8Codec | Float16Codec:
    """The codec of vectors with one more coordinate, from 0 to ``extent`` if that is given, and zeros."""
    width = _width(codec.dim + len(extent))
    if isinstance(codec, Float16Codec):
        return Float16Codec(width)
    low, span = np.zeros(width, np.float32), np.zeros(width, np.float32)
    low[: codec.dim], span[: codec.dim] = codec.low, codec.span
    span[codec.dim : codec.dim + len(extent)] = extent
    return Int8Codec(low, span)


def _lift(values: FloatArray, biases: FloatArray) -> tuple[FloatArray, FloatArray]:
    """``(c, largest coordinate)`` and the coordinates ``(n,)``; see the module."""
    short = -2 * biases.astype(np.float64) - np.einsum("nd,nd->n", values, values, dtype=np.float64)
    ceiling = max(0.0, float(-short.min(initial=0)))
    coordinates = np.sqrt(short + ceiling).astype(np.float32)
    return np.array([ceiling, coordinates.max(initial=0)], np.float32), coordinates


class HnswSearch:
    """One segment's graph. ``ceiling`` is the constant of lifted vectors, None where nothing is lifted."""

    def __init__(self, built: graph.Graph, n: int, ceiling: np.float32 | None) -> None:
        self._graph, self._n, self._ceiling = built, n, ceiling

    def search(
        self, queries: FloatArray, effort: Effort, accept: NDArray[np.bool_] | None = None
    ) -> list[Found]:
        """See `SegmentSearch.search`.

        The walk cannot say how many codes it looked at; ``scanned`` is then how wide it was. Where a filter
        leaves so few documents that walking to them costs more, and where the walk ends with too few, all
        accepted are scored.
        """
        n_accepted = self._n if accept is None else int(np.count_nonzero(accept))
        depth = min(effort.depth, n_accepted)
        if depth == 0:
            return [nothing() for _ in queries]
        if n_accepted == self._n:
            accept = None
        width = max(effort.ef_search, depth) * self._n // n_accepted
        scan = n_accepted <= SCANNED * width
        selector = None if accept is None or scan else graph.selector(accept)
        found = []
        for query in plain(self._as_stored(queries), np.float32):
            one = None if scan else self._walk(query, depth, width, selector)
            if one is None or len(one.ordinals) < depth:
                one = self._scan(query, depth, accept)
            found.append(one)
        return found

    def _as_stored(self, queries: FloatArray) -> FloatArray:
        if queries.shape[1] == self._graph.dim:
            return queries
        wide = np.zeros((len(queries), self._graph.dim), np.float32)
        wide[:, : queries.shape[1]] = queries
        return wide

    def _walk(self, query: FloatArray, depth: int, width: int, selector: Any) -> Found:
        scores, ordinals = self._graph.search(query, depth, width, selector)
        valid = ordinals >= 0
        estimates, cost = self._estimates(scores[valid], query), WALK_COST * width
        return best_of(estimates, ordinals[valid], depth, width, cost=cost)

    def _scan(self, query: FloatArray, depth: int, accept: NDArray[np.bool_] | None) -> Found:
        ordinals = np.arange(self._n) if accept is None else np.flatnonzero(accept)
        scores = np.concatenate(
            [self._score(query, ordinals[i : i + ROWS]) for i in range(0, len(ordinals), ROWS)]
        )
        cost = WALK_COST / SCANNED * len(ordinals)
        return best_of(self._estimates(scores, query), ordinals, depth, len(ordinals), cost=cost)

    def _score(self, query: FloatArray, ordinals: NDArray[np.int64]) -> FloatArray:
        """As the graph's scores: inner products, or squared distances."""
        products = self._graph.products(query, ordinals)
        if self._ceiling is None:
            return products
        distances: FloatArray = self._graph.squares[ordinals] - 2 * products + query @ query
        return distances

    def _estimates(self, scores: FloatArray, query: FloatArray) -> FloatArray:
        if self._ceiling is None:
            return scores
        return np.asarray((self._ceiling + query @ query - scores) / 2, dtype=np.float32)
