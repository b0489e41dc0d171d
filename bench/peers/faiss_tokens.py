"""faiss over single tokens: the nearest tokens of each query token vote, the best documents are rescored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import grid, lists_for
from bench.peers.late_base import AskTokens, LateBytes, LateEngine, LateSetting, Tokens, best, rescored
from retrieval.types import FloatArray

__all__ = ["FaissTokens", "engines"]

FILE = "tokens.faiss"
SAMPLE = 262_144
SEED = 0


class FaissTokens:
    """An index by faiss's description; ``{nlist}`` and ``{quarter}`` of the dimension are filled in.
    ``np`` goes without a training for Hamming distances, which nothing here uses.

    A document's estimate is the sum of its best returned similarity to each query token; where it has
    none, of the lowest that was returned for that token (no more is possible).
    """

    shared = True

    def __init__(self, name: str, description: str, copies: float) -> None:
        self.name, self._description = f"faiss tokens {name}, exact rescoring", description
        self.copies = copies

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        n, dim = documents.count, documents.dim
        text = self._description.format(nlist=lists_for(n), quarter=dim // 4)
        self._index: Any = faiss.index_factory(dim, text, faiss.METRIC_INNER_PRODUCT)
        if not self._index.is_trained:
            chosen = np.sort(np.random.default_rng(SEED).permutation(n)[:SAMPLE])
            self._index.train(np.asarray(documents.values[chosen], dtype=np.float32))
        for _, _, values in documents.blocks():
            self._index.add(values)
        faiss.write_index(self._index, str(folder / FILE))
        self._use(documents, folder)

    def reopen(self, documents: Tokens, folder: Path) -> None:
        import faiss

        self._index = faiss.read_index(str(folder / FILE))
        self._use(documents, folder)

    def _use(self, documents: Tokens, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self._bytes = (folder / FILE).stat().st_size
        self._documents, self._nlist = documents, lists_for(documents.count)
        self._owners = np.repeat(np.arange(len(documents), dtype=np.int32), np.diff(documents.offsets))

    def settings(self, k: int) -> list[LateSetting]:
        if "IVF" not in self._description:
            return [{"tokens": k, "candidates": 4 * k}]  # it takes a second, whatever is asked of it
        probes = tuple(p for p in (4, 16, 64) if p < self._nlist) or (self._nlist,)
        return list(grid(nprobe=probes, tokens=(k, 4 * k), candidates=(k, 4 * k)))

    def prepare(self, k: int, setting: LateSetting) -> AskTokens:
        index, owners, documents = self._index, self._owners, self._documents
        if "nprobe" in setting:
            index.nprobe = int(setting["nprobe"])
        near, count = min(int(setting["tokens"]), documents.count), int(setting["candidates"])

        def ask(query: FloatArray) -> Any:
            similarities, rows = index.search(query, near)
            texts, estimates = _votes(similarities, owners[rows], rows >= 0)
            return rescored(documents, query, texts[best(estimates, count)], k)

        return ask

    def measure_bytes(self) -> LateBytes:
        total = self._bytes + self._owners.nbytes + self._documents.values.nbytes
        return LateBytes(total, total)

    def close(self) -> None:
        del self._index, self._owners


def _votes(similarities: FloatArray, owners: Any, found: Any) -> tuple[Any, FloatArray]:
    """Documents and their estimates, from what was found for each query token ``(n_tokens, near)``."""
    texts, columns = np.unique(owners[found], return_inverse=True)
    table = np.full((len(texts), len(similarities)), -np.inf, dtype=np.float32)
    np.maximum.at(table, (columns, np.nonzero(found)[0]), similarities[found])
    floor = np.where(found, similarities, np.inf).min(axis=1)
    floor[~np.isfinite(floor)] = 0  # nothing was found for this token
    estimates: FloatArray = np.maximum(table, floor).sum(axis=1)
    return texts, estimates


def engines() -> list[LateEngine]:
    """All that are compared."""
    return [
        FaissTokens("flat", "Flat", 1.5),
        FaissTokens("IVF PQ8", "IVF{nlist},PQ{quarter}x8np", 0.5),
    ]
