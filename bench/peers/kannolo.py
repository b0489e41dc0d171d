"""kANNolo: a graph over 4-bit codes, rescored from half floats."""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import Ask, Bytes, Engine, Setting, grid
from retrieval.types import FloatArray

__all__ = ["Kannolo", "engines"]


class Kannolo:
    name, shared = "kannolo HNSW 4 bits, f16 rerank", True

    def build(self, vectors: FloatArray, threads: int) -> None:  # noqa: ARG002
        from kannolo import DenseRerankHNSW

        # It takes no number of threads; RAYON_NUM_THREADS, read at its first use, is the only way.
        self._halves = vectors.nbytes // 2
        self._index = DenseRerankHNSW.build_from_array(
            vectors.ravel(),
            vectors.shape[1],
            m=16,
            ef_construction=200,
            metric="dotproduct",
            encoder="rabitq-ext",
            rabitq_total_bits=4,
        )

    def settings(self, k: int) -> list[Setting]:
        widths = tuple(ef for ef in (10, 16, 24, 32, 48, 64, 100, 150, 200, 300, 500, 800) if ef >= k)
        return [
            one for one in grid(ef=widths, candidates=(k, 2 * k, 4 * k)) if one["candidates"] <= one["ef"]
        ]

    def prepare(self, k: int, setting: Setting) -> Ask:
        search, ef, candidates = self._index.search, setting["ef"], setting["candidates"]
        return lambda query: search(query, k=k, k_candidates=candidates, ef_search=ef)[1]

    def measure_bytes(self, scratch: Path) -> Bytes:
        path = scratch / "kannolo"
        self._index.save(str(path))
        size = path.stat().st_size
        path.unlink()
        return Bytes(size - self._halves, size, size)


def engines() -> list[Engine]:
    return [Kannolo()]
