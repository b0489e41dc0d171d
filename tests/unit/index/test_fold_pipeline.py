"""Documents found by one vector made of many: folds and the index over them, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.index.base import Effort
from retrieval.index.fold_pipeline import FoldPipeline
from retrieval.index.pieces import in_memory
from retrieval.index.searchers import fit_searcher, searcher_from_state
from retrieval.index.token_pipeline import TokenPipeline
from retrieval.quantize import FloatCodec
from retrieval.types import FloatArray, Ragged
from tests.unit.index.late import DIM, DOCUMENTS, QUERIES, N, blocks, same

ALL = Effort(depth=10**6, nprobe=10**6)
STORED = FloatCodec("float32")
MUVERA = {"reps": 6, "ksim": 2, "proj_dim": 6}
RECIPES: dict[str, dict[str, Any]] = {
    "muvera flat": {"index": "flat", "codec": "float16", "reduce": "muvera:96", **MUVERA},
    "muvera ivf": {"index": "ivf", "codec": "float16", "residual": False, "reduce": "muvera:64", **MUVERA},
    "lemur flat": {"index": "flat", "codec": "float16", "reduce": "lemur:24"},
    "chain": {"index": "flat", "codec": "float16", "reduce": "pca:13+muvera:96+pca:30", **MUVERA},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lemur learns of fewer probes."""
    monkeypatch.setattr("retrieval.reduce.lemur.PROBES", 1000)
    monkeypatch.setattr("retrieval.reduce.lemur.ANCHORS", 300)


def fitted(name: str, metric: Any = "maxsim") -> FoldPipeline:
    searcher = fit_searcher(
        DOCUMENTS, N, len(DOCUMENTS.values), RecipeConfig.of(**RECIPES[name]), metric, QUERIES
    )
    assert isinstance(searcher, FoldPipeline)
    return searcher


def folded(pipeline: FoldPipeline) -> tuple[FloatArray, FloatArray]:
    """One vector of each document and query, by the parts of the pipeline alone."""
    documents, queries = DOCUMENTS, QUERIES
    if pipeline.reducer is not None:
        documents = Ragged(pipeline.reducer.transform_documents(documents.values), documents.offsets)
        queries = Ragged(pipeline.reducer.transform_queries(queries.values), queries.offsets)
    one, other = pipeline.fold.transform_documents(documents), pipeline.fold.transform_queries(queries)
    after = pipeline.vectors.reducer
    if after is not None:
        return after.transform_documents(one), after.transform_queries(other)
    return one, other


@pytest.mark.parametrize("name", RECIPES)
def test_estimates_are_inner_products_of_folds(name: str) -> None:
    pipeline = fitted(name)
    kept = in_memory(pipeline.arrange(blocks(DOCUMENTS), N))
    search = pipeline.attach(kept, DOCUMENTS.offsets, DOCUMENTS.values, STORED)
    documents, queries = folded(pipeline)
    accept = np.random.default_rng(4).random(N) < 0.3
    for mask in (None, accept, np.zeros(N, bool), np.arange(N) == 17):
        wanted = np.arange(N) if mask is None else np.flatnonzero(mask)
        found = search.search(pipeline.reduce_queries(QUERIES), ALL, mask)
        assert len(found) == len(QUERIES)
        for query, each in zip(queries, found, strict=True):
            exact = documents.astype(np.float64) @ query.astype(np.float64)
            sizes = np.abs(documents).astype(np.float64) @ np.abs(query).astype(np.float64)
            error = 2.0**-10 * (sizes + sizes.mean())  # float16, which takes their mean off first
            assert sorted(each.ordinals.tolist()) == wanted.tolist()
            assert (np.abs(each.estimates - exact[each.ordinals]) <= error[each.ordinals]).all()
            order = np.lexsort((each.ordinals, -each.estimates))
            np.testing.assert_array_equal(order, np.arange(len(order)))


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_segment_keeps_does_not_depend_on_blocks(name: str) -> None:
    pipeline = fitted(name)
    whole = in_memory(pipeline.arrange(blocks(DOCUMENTS), N))
    for cuts in ((1,), (0, 100, 100, 306), tuple(range(7, N, 7))):
        other = in_memory(pipeline.arrange(blocks(DOCUMENTS, *cuts), N))
        assert other.keys() == whole.keys()
        for key, array in whole.items():
            np.testing.assert_array_equal(other[key], array)


@pytest.mark.parametrize("name", RECIPES)
def test_a_pipeline_is_what_its_state_says(name: str) -> None:
    first = fitted(name, "meanmaxsim")
    config, arrays = first.state()
    second = searcher_from_state(config, {key: value.copy() for key, value in arrays.items()})
    assert isinstance(second, FoldPipeline)
    assert (second.metric, second.nlist) == ("meanmaxsim", first.nlist)
    found = []
    for pipeline in (first, second):
        kept = in_memory(pipeline.arrange(blocks(DOCUMENTS), N))
        search = pipeline.attach(kept, DOCUMENTS.offsets, DOCUMENTS.values, STORED)
        found.append(search.search(pipeline.reduce_queries(QUERIES), Effort(depth=40, nprobe=1)))
    for one, other in zip(*found, strict=True):
        same(one, other)
    for damaged, told in (({**config, "more": 1}, "more"), ({**config, "kind": "later"}, "later")):
        with pytest.raises(IndexFormatError, match=told):
            searcher_from_state(damaged, arrays)
    with pytest.raises(IndexFormatError, match="folly"):
        searcher_from_state({**config, "fold": {**config["fold"], "name": "folly"}}, arrays)
    for key in arrays:
        with pytest.raises(IndexDamagedError):
            searcher_from_state(config, {other: value for other, value in arrays.items() if other != key})


@pytest.mark.parametrize("name", ["muvera flat", "muvera ivf"])
def test_arrays_of_another_segment_are_refused(name: str) -> None:
    pipeline = fitted(name)
    kept = in_memory(pipeline.arrange(blocks(DOCUMENTS), N))
    with pytest.raises(IndexDamagedError):
        pipeline.attach(kept, DOCUMENTS.offsets[:-1], DOCUMENTS.values, STORED)
    for key in kept:
        with pytest.raises(IndexDamagedError):
            given = {other: value for other, value in kept.items() if other != key}
            pipeline.attach(given, DOCUMENTS.offsets, DOCUMENTS.values, STORED)


def test_a_recipe_decides_what_is_trained() -> None:
    n_tokens = len(DOCUMENTS.values)
    tokens = RecipeConfig.of(index="tokens", codec="none", ncentroids=9)
    assert isinstance(fit_searcher(DOCUMENTS, N, n_tokens, tokens, "maxsim"), TokenPipeline)
    with pytest.raises(ConfigError, match="one vector a document"):
        fit_searcher(DOCUMENTS, N, n_tokens, RecipeConfig.of(index="flat"), "maxsim")
    with pytest.raises(ConfigError, match=f"of {DIM}|{DIM + 1}"):
        recipe = tokens.replace(reduce=f"pca:{DIM + 1}")
        fit_searcher(DOCUMENTS, N, n_tokens, recipe, "maxsim")
