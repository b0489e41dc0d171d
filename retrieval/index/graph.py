"""faiss's HNSW in arrays: what is stored of it, how it is checked, and how it is put together again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError
from retrieval.index.base import Arrays
from retrieval.index.checking import take
from retrieval.quantize.float16 import Float16Codec
from retrieval.quantize.int8 import Int8Codec
from retrieval.types import FloatArray, IntArray

__all__ = ["Graph", "Layout", "selector"]

MAX_LEVELS = 64
ROWS = 8192


def _faiss() -> Any:
    """faiss, untyped: its stubs do not know the signatures that it has in Python."""
    import faiss

    return faiss


def selector(accept: NDArray[np.bool_]) -> Any:
    """The mask as faiss takes it."""
    return _faiss().IDSelectorBitmap(np.packbits(accept, bitorder="little"))


@dataclass(frozen=True, slots=True)
class Layout:
    """Vectors as ``codec`` codes them, which is as faiss does; compared by squared distance or by inner
    product."""

    codec: Int8Codec | Float16Codec
    m_links: int
    ef_construction: int
    is_distance: bool

    def build(self, values: FloatArray, threads: int) -> dict[str, NDArray[Any]]:
        """The graph of ``(n, dim)`` vectors: ``codes``, ``levels`` ``(n,)``, ``neighbors`` and ``entry``.

        faiss's own seed draws the levels. Where it merges links in a fixed order the graph is the same for
        any number of threads; older versions build on one.
        """
        faiss = _faiss()
        index = self._empty()
        index.hnsw.efConstruction = self.ef_construction
        in_order = hasattr(index.hnsw, "merge_reverse_links_deterministic")

        def add() -> None:
            # OpenMP counts threads for the thread that asks: a fresh one leaves the others' counts alone.
            faiss.omp_set_num_threads(threads if in_order else 1)
            if len(values):
                index.add(np.ascontiguousarray(values))

        with ThreadPoolExecutor(1, thread_name_prefix="hnsw") as pool:
            pool.submit(add).result()
        codes = faiss.vector_to_array(faiss.downcast_index(index.storage).codes)
        return {
            "codes": codes.view(self.codec.dtype).reshape(len(values), self.codec.dim),
            "levels": faiss.vector_to_array(index.hnsw.levels).astype(np.uint8),
            "neighbors": faiss.vector_to_array(index.hnsw.neighbors),
            "entry": np.array([index.hnsw.entry_point], np.int64),
        }

    def _empty(self) -> Any:
        faiss = _faiss()
        metric = faiss.METRIC_L2 if self.is_distance else faiss.METRIC_INNER_PRODUCT
        calibrated = isinstance(self.codec, Int8Codec)
        kind = faiss.ScalarQuantizer.QT_8bit if calibrated else faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexHNSWSQ(self.codec.dim, kind, self.m_links, metric)
        storage = faiss.downcast_index(index.storage)
        if isinstance(self.codec, Int8Codec):
            calibration = np.concatenate([self.codec.low, self.codec.span])
            faiss.copy_array_to_vector(calibration, storage.sq.trained)
        storage.is_trained = index.is_trained = True
        return index

    def attach(self, arrays: Arrays, n: int) -> Graph:
        """The inverse of `build`.

        Raises:
            IndexDamagedError: arrays that do not fit, or links that lead out of the graph.
        """
        codes = take(arrays, "codes", self.codec.dtype, (n, self.codec.dim))
        levels = take(arrays, "levels", np.uint8, (n,)).astype(np.int32)
        entry = int(take(arrays, "entry", np.int64, (1,))[0])
        if n and (levels.min() < 1 or levels.max() > MAX_LEVELS):
            raise IndexDamagedError("the array 'levels' is out of range; run verify, then repair")
        if entry != -1 if n == 0 else not (0 <= entry < n and levels[entry] == levels.max()):
            raise IndexDamagedError(
                f"the graph begins at {entry}, which is not on top; run verify, then repair"
            )
        offsets = np.zeros(n + 1, np.int64)
        np.cumsum((levels + 1).astype(np.int64) * self.m_links, out=offsets[1:])
        neighbors = take(arrays, "neighbors", np.int32, (int(offsets[-1]),))
        self._check_links(neighbors, levels, offsets, n)
        index = self._filled(codes, levels, offsets, neighbors, entry)
        return Graph(index, self.codec, codes)

    def _check_links(
        self, neighbors: NDArray[np.int32], levels: NDArray[np.int32], offsets: IntArray, n: int
    ) -> None:
        """A link leads to a vector, and above the ground to one that is on that level too: the walk reads the
        links of that level there."""
        wrong = len(neighbors) > 0 and (neighbors.min() < -1 or neighbors.max() >= n)
        for level in range(1, int(levels.max(initial=1))):
            if wrong:
                break
            above = offsets[:-1][levels > level] + (level + 1) * self.m_links
            linked = neighbors[above[:, None] + np.arange(self.m_links)]
            wrong = bool((levels[linked[linked >= 0]] <= level).any())
        if wrong:
            raise IndexDamagedError("the array 'neighbors' leads out of the graph; run verify, then repair")

    def _filled(
        self,
        codes: NDArray[Any],
        levels: NDArray[np.int32],
        offsets: IntArray,
        neighbors: NDArray[np.int32],
        entry: int,
    ) -> Any:
        faiss = _faiss()
        index = self._empty()
        storage, hnsw = faiss.downcast_index(index.storage), index.hnsw
        faiss.copy_array_to_vector(np.ascontiguousarray(codes).view(np.uint8).reshape(-1), storage.codes)
        faiss.copy_array_to_vector(levels, hnsw.levels)
        faiss.copy_array_to_vector(offsets.astype(np.uint64), hnsw.offsets)
        faiss.copy_array_to_vector(np.ascontiguousarray(neighbors), hnsw.neighbors)
        storage.ntotal = index.ntotal = len(levels)
        hnsw.entry_point, hnsw.max_level = entry, int(levels[entry]) - 1 if len(levels) else -1
        return index


class Graph:
    """An attached graph. One query is searched by the calling thread alone."""

    def __init__(self, index: Any, codec: Int8Codec | Float16Codec, codes: NDArray[Any]) -> None:
        self._index, self._codec, self._codes, self.dim = index, codec, codes, codec.dim

    def products(self, query: FloatArray, ordinals: IntArray) -> FloatArray:
        """Inner products ``(n,)`` with ``query`` ``(dim,)``."""
        products: FloatArray = self._codec.scores(query[None], self._codes[ordinals])[0]
        return products

    @cached_property
    def squares(self) -> FloatArray:
        """Squared lengths of all vectors, ``(n,)``; made when a scan first asks for distances."""
        squares = np.empty(len(self._codes), np.float32)
        for first in range(0, len(squares), ROWS):
            values = self._codec.decode(self._codes[first : first + ROWS])
            squares[first : first + ROWS] = np.einsum("nd,nd->n", values, values)
        return squares

    def search(self, query: FloatArray, depth: int, width: int, accepted: Any) -> tuple[FloatArray, IntArray]:
        """Scores and ordinals of at most ``depth`` vectors near ``query`` ``(dim,)``, -1 behind the last;
        ``accepted`` is a `selector` or None."""
        faiss = _faiss()
        parameters = faiss.SearchParametersHNSW(efSearch=width)
        if accepted is not None:
            parameters.sel = accepted
        scores, ordinals = self._index.search(query[None], depth, params=parameters)
        return scores[0], ordinals[0]
