"""ScaNN: a tree, asymmetric hashing, and float rescoring."""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import Ask, Bytes, Engine, Setting, folder_bytes, grid, lists_for
from retrieval.types import FloatArray

__all__ = ["Scann", "engines"]


class Scann:
    name, shared = "ScaNN, float reorder", True

    def build(self, vectors: FloatArray, threads: int) -> None:
        from scann import scann_ops_pybind

        self._leaves = lists_for(len(vectors))
        self._floats = vectors.nbytes
        self._searcher = (
            scann_ops_pybind.builder(vectors, 10, "dot_product")
            .tree(self._leaves, min(32, self._leaves), training_sample_size=len(vectors))
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(100)
            .set_n_training_threads(threads)
            .build()
        )

    def settings(self, k: int) -> list[Setting]:
        leaves = tuple(p for p in (4, 8, 12, 16, 24, 32, 48, 64, 100, 150, 250) if p < self._leaves)
        ratios = (3, 6, 10, 20, 40, 80) if k <= 10 else (1.5, 2, 3, 5, 8)
        return grid(leaves=leaves or (self._leaves,), reorder=tuple(int(k * ratio) for ratio in ratios))

    def prepare(self, k: int, setting: Setting) -> Ask:
        search, leaves, reorder = self._searcher.search, setting["leaves"], setting["reorder"]
        return lambda query: search(query, k, reorder, leaves)[0]

    def measure_bytes(self, scratch: Path) -> Bytes:
        folder = scratch / "scann"
        folder.mkdir()
        self._searcher.serialize(str(folder))
        size = folder_bytes(folder)
        return Bytes(size - self._floats, size, size)


def engines() -> list[Engine]:
    return [Scann()]
