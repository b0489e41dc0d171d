"""MUVERA encodings (FDEs) of other packages: every document's FDE scored, the best rescored by MaxSim.

What is compared is the encoding, so each is searched alike, without codes or a graph over it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import grid
from bench.peers.late_base import AskTokens, LateBytes, LateEngine, LateSetting, Tokens, best, rescored
from retrieval.types import FloatArray

__all__ = ["Fde", "engines"]

REPETITIONS, PLANES, PROJECTED = 20, 5, 16
"""20 x 2^5 x 16 = 10,240 dimensions, the largest of the paper's (Dhulipala et al. 2024, section 3)."""
BATCH = 256

Encode = Callable[[list[FloatArray]], FloatArray]


class Fde:
    """``make`` gives the two encoders, of documents and of queries, for a dimension."""

    shared, copies = True, 1.0

    def __init__(self, name: str, make: Callable[[int], tuple[Encode, Encode]]) -> None:
        self.name, self._make = f"{name} FDE {REPETITIONS * 2**PLANES * PROJECTED}, exact rescoring", make

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:  # noqa: ARG002
        encode, self._encode_query = self._make(documents.dim)
        self._documents = documents
        parts = [
            encode([documents[i] for i in range(start, min(start + BATCH, len(documents)))])
            for start in range(0, len(documents), BATCH)
        ]
        self._encodings = np.concatenate(parts).astype(np.float32, copy=False)

    def settings(self, k: int) -> list[LateSetting]:
        return list(grid(candidates=(k, 2 * k, 4 * k, 10 * k)))

    def prepare(self, k: int, setting: LateSetting) -> AskTokens:
        encode, encodings, documents = self._encode_query, self._encodings, self._documents
        count = int(setting["candidates"])

        def ask(query: FloatArray) -> Any:
            found = best(encodings @ encode([query])[0].astype(np.float32, copy=False), count)
            return rescored(documents, query, found, k)

        return ask

    def measure_bytes(self) -> LateBytes:
        vectors = self._documents.values.nbytes
        return LateBytes(self._encodings.nbytes + vectors, self._encodings.nbytes + vectors)

    def close(self) -> None:
        self._encodings = np.empty((0, 0), dtype=np.float32)


def _muvera_python(dim: int) -> tuple[Encode, Encode]:
    from muvera import Muvera

    encoder = Muvera(REPETITIONS, PLANES, dim, "ams_sketch", PROJECTED)
    return encoder.encode_documents, encoder.encode_queries


def _fastembed(dim: int) -> tuple[Encode, Encode]:
    from fastembed.postprocess import Muvera

    encoder = Muvera(dim, PLANES, PROJECTED, REPETITIONS)

    def all_of(encode: Callable[[FloatArray], Any]) -> Encode:
        return lambda texts: np.stack([np.asarray(encode(text), dtype=np.float32) for text in texts])

    return all_of(encoder.process_document), all_of(encoder.process_query)


def engines() -> list[LateEngine]:
    """All that are compared."""
    return [Fde("muvera-python", _muvera_python), Fde("fastembed", _fastembed)]
