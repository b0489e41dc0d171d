"""Intel's Scalable Vector Search: Vamana graphs over LVQ and LeanVec codes (they refuse other processors)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.peers.base import Ask, Bytes, Engine, Setting, folder_bytes
from bench.peers.graphs import widths
from retrieval.types import FloatArray

__all__ = ["Svs", "engines"]

DEGREE, WINDOW, ALPHA = 32, 200, 0.95


class Svs:
    """``primary`` and ``residual`` bits of LVQ; ``reduced`` dimensions for LeanVec (0: none)."""

    shared = False

    def __init__(self, primary: int, residual: int, reduced: int = 0) -> None:
        codes = f"LVQ{primary}x{residual}" if residual else f"LVQ{primary}"
        self.name = f"SVS Vamana, LeanVec{reduced} 8+8" if reduced else f"SVS Vamana, {codes}"
        self._primary, self._residual, self._reduced = primary, residual, reduced

    def build(self, vectors: FloatArray, threads: int) -> None:
        import svs

        parameters = svs.VamanaBuildParameters(alpha=ALPHA, graph_max_degree=DEGREE, window_size=WINDOW)
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "vectors.fvecs")
            svs.write_vecs(vectors, path)
            source = svs.VectorDataLoader(path, svs.DataType.float32)
            if self._reduced:
                kind = svs.LeanVecKind.lvq8
                data: Any = svs.LeanVecLoader(source, min(self._reduced, vectors.shape[1]), kind, kind)
            else:
                data = svs.LVQLoader(source, primary=self._primary, residual=self._residual)
            self._index = svs.Vamana.build(parameters, data, svs.DistanceType.MIP, num_threads=threads)
        self._index.num_threads = 1

    def settings(self, k: int) -> list[Setting]:
        return widths(k)

    def prepare(self, k: int, setting: Setting) -> Ask:
        index = self._index
        index.search_window_size = setting["ef"]
        return lambda query: index.search(query, k)[0][0]

    def measure_bytes(self, scratch: Path) -> Bytes:
        places = [scratch / f"svs-{part}" for part in ("config", "graph", "data")]
        for place in places:
            place.mkdir()
        self._index.save(*map(str, places))
        size = sum(map(folder_bytes, places))
        return Bytes(size, size, size)


def engines() -> list[Engine]:
    return [Svs(8, 0), Svs(4, 4), Svs(4, 8), Svs(8, 8, reduced=160)]
