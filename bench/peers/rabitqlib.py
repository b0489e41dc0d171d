"""The RaBitQ authors' library: inverted lists of B-bit codes, and SymphonyQG."""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import Ask, Bytes, Engine, Setting, grid, lists_for
from bench.peers.graphs import widths
from retrieval.types import FloatArray

__all__ = ["RabitqIvf", "SymphonyQg", "engines"]


class RabitqIvf:
    shared = True

    def __init__(self, bits: int) -> None:
        self.name, self._bits = f"rabitqlib IVF {bits} bits", bits

    def build(self, vectors: FloatArray, threads: int) -> None:
        import rabitqlib

        n, dim = vectors.shape
        self._nlist = lists_for(n)
        clusters = rabitqlib.RaBitQKMeans(dim, self._nlist, num_threads=threads)
        clusters.train(vectors)
        self._index = rabitqlib.IvfIndex(dim, n, self._nlist, self._bits, metric="ip")
        self._index.build(vectors, clusters.centroids, clusters.assignments, threads)

    def settings(self, k: int) -> list[Setting]:  # noqa: ARG002
        probes = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
        return grid(nprobe=tuple(p for p in probes if p < self._nlist) or (self._nlist,))

    def prepare(self, k: int, setting: Setting) -> Ask:
        search, nprobe = self._index.search, setting["nprobe"]
        return lambda query: search(query[None], k, nprobe)[0][0]

    def measure_bytes(self, scratch: Path) -> Bytes:
        return _saved(self._index, scratch)


class SymphonyQg:
    shared = True

    def __init__(self, degree: int = 32) -> None:
        self.name, self._degree = f"rabitqlib SymphonyQG {degree}", degree

    def build(self, vectors: FloatArray, threads: int) -> None:
        import rabitqlib

        self._index = rabitqlib.SymqgIndex(vectors.shape[1], self._degree, metric="ip")
        self._index.build(vectors, 200, threads)

    def settings(self, k: int) -> list[Setting]:
        return widths(k)

    def prepare(self, k: int, setting: Setting) -> Ask:
        search, ef = self._index.search, setting["ef"]
        return lambda query: search(query[None], k, ef)[0][0]

    def measure_bytes(self, scratch: Path) -> Bytes:
        return _saved(self._index, scratch)


def engines() -> list[Engine]:
    return [RabitqIvf(1), RabitqIvf(4), RabitqIvf(7), SymphonyQg()]


def _saved(index: object, scratch: Path) -> Bytes:
    path = scratch / "rabitq"
    index.save(str(path))  # type: ignore[attr-defined]
    size = path.stat().st_size
    path.unlink()
    return Bytes(size, size, size)
