"""A chain does what its parts do one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retrieval.errors import ConfigError, IndexFormatError
from retrieval.reduce import (
    Chain,
    LeanVec,
    Matryoshka,
    Pca,
    fit_reducer,
    reducer_from_state,
)
from tests.unit.reduce.spaces import vectors

DOCUMENTS, QUERIES = vectors(300, 40, 1), vectors(200, 40, 2, axes=7)


def test_each_part_is_fitted_on_what_comes_before_it() -> None:
    first = LeanVec.fit(DOCUMENTS, 30, QUERIES)
    documents, queries = first.transform_documents(DOCUMENTS), first.transform_queries(QUERIES)
    second = LeanVec.fit(documents, 12, queries)
    chain = fit_reducer("leanvec:30+leanvec:12", DOCUMENTS, QUERIES)
    assert isinstance(chain, Chain)
    assert np.array_equal(chain.transform_documents(DOCUMENTS), second.transform_documents(documents))
    assert np.array_equal(chain.transform_queries(QUERIES), second.transform_queries(queries))


def test_two_random_parts_do_not_share_their_numbers() -> None:
    chain = fit_reducer("sparse:40+sparse:40", DOCUMENTS)
    assert chain is not None
    arrays = chain.state()[1]
    assert not np.array_equal(arrays["0/documents"], arrays["1/documents"])


def test_a_part_may_not_grow() -> None:
    with pytest.raises(ConfigError, match="pca:13 cannot make 13 dimensions out of 12"):
        fit_reducer("matryoshka:12+pca:13", DOCUMENTS)


def test_parts_must_fit() -> None:
    with pytest.raises(
        ConfigError, match="pca takes 40 dimensions and cannot follow matryoshka, which gives 20"
    ):
        Chain([Matryoshka(40, 20, normalise=False), Pca.fit(DOCUMENTS, 10)])
    with pytest.raises(ConfigError, match="at least one"):
        Chain([])


def test_many_parts_keep_their_own_arrays() -> None:
    """Of parts 1 and 11, each gets what is its own."""
    chain = fit_reducer("+".join(["sparse:40"] * 12), DOCUMENTS)
    assert chain is not None
    again = reducer_from_state("chain", *chain.state())
    assert np.array_equal(again.transform_documents(DOCUMENTS), chain.transform_documents(DOCUMENTS))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"reducers": None},
        {"reducers": []},
        {"reducers": ["pca"]},
        {"reducers": [{"name": "pca"}]},
        {"reducers": [{"name": "umap", "config": {}}]},
        {"reducers": [{"name": ["pca"], "config": {}}]},
        {"reducers": [{"name": "chain", "config": {"reducers": []}}]},
        {"reducers": [{"config": {}}]},
        {"reducers": [], "order": 1},
        {
            "reducers": [
                {"name": "matryoshka", "config": {"input_dim": 9, "output_dim": 5, "normalise": True}}
            ]
            * 2
        },
    ],
)
def test_a_stored_chain_of_another_version_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(IndexFormatError, match="upgrade"):
        reducer_from_state("chain", config, {})
