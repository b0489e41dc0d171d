"""turbovec: flat scans of 2- and 4-bit codes, and the same rescored from floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import Ask, Bytes, Engine, Setting, grid, rescored
from retrieval.types import FloatArray

__all__ = ["Turbovec", "engines"]

SAMPLE = 4096


class Turbovec:
    """``floats``: the best are rescored from the vectors, which are then held too."""

    shared = True

    def __init__(self, bits: int, *, floats: bool) -> None:
        self.name = f"turbovec flat {bits} bits" + (", float rescoring" if floats else "")
        self._bits, self._floats = bits, floats

    def build(self, vectors: FloatArray, threads: int) -> None:  # noqa: ARG002
        from turbovec import TurboQuantIndex

        self._vectors = vectors
        self._index = TurboQuantIndex(vectors.shape[1], self._bits)
        rng = np.random.default_rng(0)
        self._index.calibrate(vectors[np.sort(rng.permutation(len(vectors))[:SAMPLE])])
        self._index.add(vectors)
        self._index.prepare()

    def settings(self, k: int) -> list[Setting]:
        return grid(candidates=(2 * k, 4 * k, 10 * k)) if self._floats else [{}]

    def prepare(self, k: int, setting: Setting) -> Ask:
        index, vectors = self._index, self._vectors
        if not self._floats:
            return lambda query: index.search(query[None], k)[1][0]
        count = min(setting["candidates"], len(vectors))

        def ask(query: FloatArray) -> Any:
            return rescored(vectors, query, index.search(query[None], count)[1][0], k)

        return ask

    def measure_bytes(self, scratch: Path) -> Bytes:
        path = scratch / "turbovec"
        self._index.write(str(path), durable=False)
        codes = path.stat().st_size
        path.unlink()
        held = codes + self._vectors.nbytes if self._floats else codes
        return Bytes(codes, held, held)


def engines() -> list[Engine]:
    """All that are compared."""
    return [Turbovec(bits, floats=floats) for bits in (2, 4) for floats in (False, True)]
