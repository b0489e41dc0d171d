"""Graphs over floats or plain scalar codes: hnswlib and usearch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import Ask, Bytes, Engine, Setting, grid
from retrieval.types import FloatArray

__all__ = ["Hnswlib", "Usearch", "engines", "widths"]

M_LINKS, EF_CONSTRUCTION = 16, 200


def widths(k: int) -> list[Setting]:
    """Widths of a graph's walk that are worth a try."""
    return grid(ef=tuple(ef for ef in (10, 16, 24, 32, 48, 64, 100, 150, 200, 300, 500, 800) if ef >= k))


class Hnswlib:
    name, shared = "hnswlib M16", True

    def build(self, vectors: FloatArray, threads: int) -> None:
        import hnswlib

        self._index = hnswlib.Index("ip", vectors.shape[1])
        self._index.init_index(len(vectors), M=M_LINKS, ef_construction=EF_CONSTRUCTION, random_seed=1)
        self._index.add_items(vectors, num_threads=threads)

    def settings(self, k: int) -> list[Setting]:
        return widths(k)

    def prepare(self, k: int, setting: Setting) -> Ask:
        index = self._index
        index.set_ef(setting["ef"])
        return lambda query: index.knn_query(query, k=k, num_threads=1)[0][0]

    def measure_bytes(self, scratch: Path) -> Bytes:
        path = scratch / "hnswlib"
        self._index.save_index(str(path))
        size = path.stat().st_size
        path.unlink()
        return Bytes(size, size, size)


class Usearch:
    shared = True

    def __init__(self, dtype: str) -> None:
        self.name, self._dtype = f"usearch {dtype}", dtype

    def build(self, vectors: FloatArray, threads: int) -> None:
        from usearch.index import Index

        self._index: Any = Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype=self._dtype,
            connectivity=M_LINKS,
            expansion_add=EF_CONSTRUCTION,
        )
        self._index.add(np.arange(len(vectors)), vectors, threads=threads)

    def settings(self, k: int) -> list[Setting]:
        return widths(k)

    def prepare(self, k: int, setting: Setting) -> Ask:
        index = self._index
        index.expansion_search = setting["ef"]
        return lambda query: index.search(query, k, threads=1).keys

    def measure_bytes(self, scratch: Path) -> Bytes:  # noqa: ARG002
        # Its own account of memory holds room for growth; the file does not.
        size = int(self._index.serialized_length)
        return Bytes(size, size, size)


def engines() -> list[Engine]:
    return [Hnswlib(), Usearch("f32"), Usearch("i8")]
