"""faiss: flat, inverted lists, graphs, and binary codes rescored from floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import Ask, Bytes, Engine, Setting, grid, lists_for, rescored
from retrieval.types import FloatArray

__all__ = ["Binary", "Factory", "engines"]

PROBES = (2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


class Factory:
    """An index by faiss's own description. ``{nlist}``, ``{half}`` and ``{dim}`` are filled in.

    ``refine`` are the tried ratios of candidates to k, for descriptions that end in a refinement.
    """

    shared = True

    def __init__(self, name: str, description: str, knob: str = "", refine: tuple[int, ...] = ()) -> None:
        self.name, self._description, self._knob, self._refine = f"faiss {name}", description, knob, refine
        self._index: Any = None

    def build(self, vectors: FloatArray, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        n, dim = vectors.shape
        text = self._description.format(nlist=lists_for(n), half=dim // 2, dim=dim)
        self._index = faiss.index_factory(dim, text, faiss.METRIC_INNER_PRODUCT)
        self._index.train(vectors)
        self._index.add(vectors)
        faiss.omp_set_num_threads(1)

    def settings(self, k: int) -> list[Setting]:
        knobs: dict[str, tuple[int, ...]] = {}
        if self._knob == "nprobe":
            nlist = self._base("nlist").nlist
            knobs["nprobe"] = tuple(p for p in PROBES if p < nlist) or (nlist,)
        if self._knob == "ef":
            knobs["ef"] = tuple(
                ef for ef in (10, 16, 24, 32, 48, 64, 100, 150, 200, 300, 500, 800) if ef >= k
            )
        if self._refine:
            knobs["refine"] = self._refine if k <= 10 else tuple(r for r in self._refine if r <= 8)
        return grid(**knobs)

    def prepare(self, k: int, setting: Setting) -> Ask:
        if "nprobe" in setting:
            self._base("nlist").nprobe = setting["nprobe"]
        if "ef" in setting:
            self._base("hnsw").hnsw.efSearch = setting["ef"]
        index = self._index
        if "refine" in setting:
            index.k_factor = setting["refine"]
        return lambda query: index.search(query[None], k)[1][0]

    def measure_bytes(self, scratch: Path) -> Bytes:
        whole = _written(self._index, scratch)
        codes = _written(self._index.base_index, scratch) if hasattr(self._index, "base_index") else whole
        return Bytes(codes, whole, whole)

    def _base(self, attribute: str) -> Any:
        """The index inside refinements and transforms that has the attribute."""
        import faiss

        index = self._index
        while not hasattr(index, attribute):
            index = faiss.downcast_index(index.base_index if hasattr(index, "base_index") else index.index)
        return index


class Binary:
    """Sign bits scanned by Hamming distance, the best rescored from the floats."""

    name, shared = "faiss binary flat, float rescoring", True

    def build(self, vectors: FloatArray, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        self._vectors = vectors
        self._index = faiss.IndexBinaryFlat(-(-vectors.shape[1] // 8) * 8)
        self._index.add(np.packbits(vectors > 0, axis=1))
        faiss.omp_set_num_threads(1)

    def settings(self, k: int) -> list[Setting]:
        return grid(candidates=tuple(c for c in (50, 100, 200, 400, 800, 1600, 3200, 6400) if c >= 2 * k))

    def prepare(self, k: int, setting: Setting) -> Ask:
        index, vectors, count = self._index, self._vectors, min(setting["candidates"], len(self._vectors))

        def ask(query: FloatArray) -> Any:
            found = index.search(np.packbits(query > 0)[None], count)[1][0]
            return rescored(vectors, query, found, k)

        return ask

    def measure_bytes(self, scratch: Path) -> Bytes:  # noqa: ARG002
        codes = self._index.ntotal * self._index.code_size
        return Bytes(codes, codes + self._vectors.nbytes, codes + self._vectors.nbytes)


def engines() -> list[Engine]:
    """All that are compared."""
    refine = (1, 2, 4, 8, 16, 32, 64)
    return [
        Factory("flat", "Flat"),
        Factory("flat SQ8", "SQ8"),
        Factory("IVF float", "IVF{nlist},Flat", "nprobe"),
        Factory("IVF PQ4fs, SQ8 refine", "IVF{nlist},PQ{half}x4fs,Refine(SQ8)", "nprobe", refine),
        Factory("IVF RaBitQfs, SQ8 refine", "RR{dim},IVF{nlist},RaBitQfs,Refine(SQ8)", "nprobe", refine),
        Factory("IVF RaBitQfs 4 bits", "RR{dim},IVF{nlist},RaBitQfs4", "nprobe"),
        Factory("flat PQ4fs, SQ8 refine", "PQ{half}x4fs,Refine(SQ8)", "", refine),
        Factory("HNSW32", "HNSW32", "ef"),
        Factory("HNSW32 SQ8", "HNSW32_SQ8", "ef"),
        Binary(),
    ]


def _written(index: Any, scratch: Path) -> int:
    import faiss

    path = scratch / "faiss"
    faiss.write_index(index, str(path))
    size = path.stat().st_size
    path.unlink()
    return size
