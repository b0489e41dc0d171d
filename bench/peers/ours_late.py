"""This engine, as a user builds and asks it: `Engine.build` with a recipe, `Engine.search` with vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.peers.base import folder_bytes, grid
from bench.peers.late_base import AskTokens, LateBytes, LateEngine, LateSetting, Tokens
from retrieval.types import EncoderKind, FloatArray, Metric

__all__ = ["RECIPES", "LateRecipe", "OursLate", "engines"]

INDEX = "index"
SPANS, SPAN = 256, 24
"""Pseudo-queries that a recipe is fitted and measured with: that many spans of so many tokens."""


class LateRecipe(NamedTuple):
    """``precision`` of the stored vectors, the recipe's settings, and what of `SearchConfig` is swept."""

    precision: str
    recipe: Mapping[str, Any]
    sweep: Mapping[str, Iterable[Any]]


TARGETS = {"recall_target": (0.9, 0.93, 0.95, 0.96, 0.97, 0.99)}
RECIPES: dict[str, LateRecipe] = {
    "exact float32": LateRecipe("float32", {"index": "exact"}, {}),
    "exact float16": LateRecipe("float16", {"index": "exact"}, {}),
    "exact int8": LateRecipe("int8", {"index": "exact"}, {}),
    "tokens": LateRecipe("int8", {"index": "tokens", "codec": "none"}, TARGETS),
    "tokens pq 32x4": LateRecipe("int8", {"index": "tokens", "codec": "pq", "m": 32}, TARGETS),
    "tokens pq 32x4 alone": LateRecipe("residual", {"index": "tokens", "codec": "pq", "m": 32}, TARGETS),
    "tokens 2 bits alone": LateRecipe("residual", {"index": "tokens", "codec": "bits", "bits": 2}, TARGETS),
    "lemur 512": LateRecipe("int8", {"index": "ivf", "reduce": "lemur:512", "bits": 4}, TARGETS),
    "muvera 10240": LateRecipe("int8", {"index": "ivf", "reduce": "muvera:10240", "bits": 4}, TARGETS),
}
"""What is compared, by the name that tables show."""


class GivenTokens:
    """An encoder whose texts are numbers of documents; it knows no others."""

    kind: EncoderKind = "late"
    metric: Metric = "maxsim"

    def __init__(self, documents: Tokens) -> None:
        self._documents, self.dim = documents, documents.dim

    def fingerprint(self) -> dict[str, Any]:
        """It fits every index of this dimension."""
        return {"name": "given tokens", "dim": self.dim}

    def encode_document(self, texts: Sequence[str]) -> list[FloatArray]:
        """Vectors of the documents of these numbers."""
        return [self._documents[int(text)] for text in texts]

    encode_query = encode_document


class OursLate:
    """One line of `RECIPES`, asked by each number of ``query_threads`` that share a query."""

    shared, copies = True, 0.25
    query_threads: tuple[int, ...] = (1,)

    def __init__(self, name: str, recipe: LateRecipe) -> None:
        self.name, self._recipe = f"ours {name}", recipe
        self._learns = recipe.recipe["index"] != "exact"

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:
        from retrieval import Document, Engine, IndexConfig, RecipeConfig, RuntimeConfig

        recipe = RecipeConfig.of(**self._recipe.recipe)
        config = IndexConfig.of(precision=self._recipe.precision, recipe=recipe)
        runtime = RuntimeConfig.of(maintenance="manual", threads=threads)
        encoder = GivenTokens(documents)
        texts = (Document(str(i), str(i)) for i in range(len(documents)))
        queries = _spans(documents, recipe.seed) if self._learns else None
        Engine.build(folder / INDEX, texts, encoder, config=config, runtime=runtime, queries=queries)
        self.reopen(documents, folder)

    def reopen(self, documents: Tokens, folder: Path) -> None:
        from retrieval import Engine, RuntimeConfig

        self._folder, encoder = folder / INDEX, GivenTokens(documents)
        self._engines = {
            threads: Engine.open(
                self._folder, encoder, runtime=RuntimeConfig.of(maintenance="manual", query_threads=threads)
            )
            for threads in self.query_threads
        }

    def settings(self, k: int) -> list[LateSetting]:  # noqa: ARG002
        shared = {} if self.query_threads == (1,) else {"query_threads": self.query_threads}
        return list(grid(**self._recipe.sweep, **shared))

    def prepare(self, k: int, setting: LateSetting) -> AskTokens:
        from retrieval import SearchConfig

        wanted = dict(setting)
        engine = self._engines[int(wanted.pop("query_threads", self.query_threads[0]))]
        search, params = engine.search, SearchConfig.of(**wanted)

        def ask(query: FloatArray) -> Any:
            hits = search(query, k, fields=(), params=params)
            return np.array([int(hit.id) for hit in hits], dtype=np.int64)

        return ask

    def measure_bytes(self) -> LateBytes:
        """A recipe's arrays stay in memory, stored vectors are mapped; without one they are scanned, and
        codes that are all there is are copied."""
        kept = ["arranged-*"] if self._learns else []
        if not self._learns or self._recipe.precision == "residual":
            kept.append("codes.bin")
        resident = sum(p.stat().st_size for name in kept for p in self._folder.glob(f"segments/*/{name}"))
        return LateBytes(resident + folder_bytes(self._folder / "codecs"), folder_bytes(self._folder))

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()


def _spans(documents: Tokens, seed: int) -> list[FloatArray]:
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(documents))[:SPANS])
    spans = []
    for i in chosen:
        vectors = documents[int(i)]
        start = int(rng.integers(max(len(vectors) - SPAN, 0) + 1))
        spans.append(vectors[start : start + SPAN])
    return spans


def engines() -> list[LateEngine]:
    """The recipes that are compared."""
    return [OursLate(name, recipe) for name, recipe in RECIPES.items()]
