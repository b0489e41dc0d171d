"""This engine: a recipe trained and arranged over one segment, estimates rescored from the stored vectors.

From a query to candidates with scores, as `retrieval.search` does it for one segment; without texts,
filters and the catalog.
"""

from __future__ import annotations

from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import Ask, Bytes, Engine, Setting, grid
from retrieval.types import FloatArray, Ragged

__all__ = ["Recipe", "engines"]

BLOCK = 8192
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
WIDTHS = (5, 6, 8, 10, 12, 16, 24, 32, 48, 64, 100, 150, 200, 300, 500)


class Recipe:
    """A recipe (`RecipeConfig`'s settings) over vectors stored as float32, float16 or int8."""

    shared = True

    def __init__(self, name: str, stored: str, **recipe: Any) -> None:
        self.name, self._stored, self._recipe = f"ours {name}, {stored} refine", stored, recipe

    def build(self, vectors: FloatArray, threads: int) -> None:
        from retrieval.config import RecipeConfig
        from retrieval.index import Arranged, Pipeline, in_memory
        from retrieval.quantize import FloatCodec, Int8Codec

        recipe = RecipeConfig.of(**self._recipe)
        n = len(vectors)
        chosen = np.sort(np.random.default_rng(recipe.seed).permutation(n)[: recipe.sample])
        sample = vectors[chosen]
        codec: Any = Int8Codec.fit(sample, {}) if self._stored == "int8" else FloatCodec(self._stored)  # type: ignore[arg-type]
        # As a mapped file lies: at the beginning of a page.
        mapped = mmap(-1, vectors.size * codec.dtype.itemsize)
        self._rows = np.frombuffer(mapped, codec.dtype).reshape(vectors.shape)
        for start in range(0, n, BLOCK):
            self._rows[start : start + BLOCK] = codec.encode(vectors[start : start + BLOCK])
        self._pipeline = Pipeline.fit(sample, n, recipe, "dot", threads=threads, stored=codec)
        decoded = (codec.decode(self._rows[start : start + BLOCK]) for start in range(0, n, BLOCK))
        self._arrays = in_memory(self._pipeline.arrange(map(Ragged.from_matrix, decoded), n))
        search = self._pipeline.attach(self._arrays, np.arange(n + 1), self._rows, codec)
        norm = float(np.linalg.norm(vectors, axis=1).max())
        bounded = self._pipeline.reducer is None
        self._segment = Arranged(search, self._rows, codec, "dot", norm, 0, is_bounded=bounded)

    def settings(self, k: int) -> list[Setting]:
        depths = (12, 15, 20, 30, 40, 60, 80, 160, 320) if k <= 10 else (120, 150, 200, 300, 500, 800, 1600)
        if self._recipe["index"] == "ivf":
            nlist = len(self._pipeline.index.centroids)  # type: ignore[attr-defined]
            return grid(nprobe=tuple(p for p in PROBES if p < nlist) or (nlist,), depth=depths)
        if self._recipe["index"] == "vamana":
            from retrieval.index.vamana_search import kept_by

            tried = grid(ef_search=WIDTHS, depth=(k, *depths))
            return [one for one in tried if one["depth"] <= kept_by(one["ef_search"])]
        if self._recipe["index"] == "hnsw":
            widths = (10, 16, 24, 32, 48, 64, 100, 150, 200, 300, 500, 800)
            tried = grid(ef_search=tuple(ef for ef in widths if ef >= k), depth=(k, *depths))
            return [one for one in tried if one["depth"] <= one["ef_search"]]
        return grid(depth=depths)

    def prepare(self, k: int, setting: Setting) -> Ask:
        from retrieval.index import Effort, Work

        effort, work, accept = Effort(**setting), Work(), None
        reduce, candidates = self._pipeline.reduce_queries, self._segment.candidates

        def ask(query: FloatArray) -> Any:
            one = Ragged.from_matrix(query[None])
            # The best come first, and then what lies within rounding of the k-th.
            return candidates(one, reduce(one), k, effort, accept, work)[0].ordinals[:k]

        return ask

    def measure_bytes(self, scratch: Path) -> Bytes:  # noqa: ARG002
        trained = sum(array.nbytes for array in self._pipeline.state()[1].values())
        codes = trained + sum(array.nbytes for array in self._arrays.values())
        return Bytes(codes, codes + self._rows.nbytes, codes + self._rows.nbytes)


def engines() -> list[Engine]:
    """The recipes that are compared."""
    one = {"codec": "bits", "bits": 1}
    return [
        Recipe("ivf 1 bit", "int8", index="ivf", **one),
        Recipe("ivf 1 bit", "float16", index="ivf", **one),
        Recipe("ivf 1 bit", "float32", index="ivf", **one),
        Recipe("ivf 2 bits", "int8", index="ivf", codec="bits", bits=2),
        Recipe("ivf 4 bits", "int8", index="ivf", codec="bits", bits=4),
        Recipe("ivf 4 bits after 1", "float16", index="ivf", codec="bits", bits=4, scan_bits=1),
        Recipe("ivf pq4", "int8", index="ivf", codec="pq", nbits=4),
        Recipe("ivf leanvec:192 1 bit", "int8", index="ivf", reduce="leanvec:192", **one),
        Recipe("flat 1 bit", "int8", index="flat", **one),
        Recipe("flat leanvec:256 1 bit", "int8", index="flat", reduce="leanvec:256", **one),
        Recipe("flat leanvec:192 1 bit", "int8", index="flat", reduce="leanvec:192", **one),
        Recipe("flat 1 bit", "float32", index="flat", **one),
        Recipe("hnsw int8", "int8", index="hnsw", codec="int8"),
        Recipe("vamana", "int8", index="vamana"),
        Recipe("vamana", "float16", index="vamana"),
    ]
