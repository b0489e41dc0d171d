"""Texts scored without an index, as an index of them would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval import Document, Engine, IndexConfig, score_texts
from retrieval import scoring as scoring_module
from retrieval.errors import DataError, EncoderError, QueryError
from tests.encoders import HashingDense, HashingLate

ENCODERS = [HashingDense(metric=metric) for metric in ("cosine", "dot", "l2")]
ENCODERS += [HashingLate(metric=metric) for metric in ("maxsim", "meanmaxsim")]  # type: ignore[list-item]
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda one: one.metric)
def test_scores_are_those_of_an_exact_search(
    tmp_path: Path, encoder: HashingDense, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_module, "ENCODE_CHUNK", 7)
    rng = np.random.default_rng(4)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(40)] + ["...", " alpha "]
    found = score_texts(encoder, "alpha delta zeta", texts)
    docs = [Document(str(i), text) for i, text in enumerate(texts)]
    Engine.build(tmp_path / "i", docs, encoder, config=IndexConfig(precision="float32"))
    with Engine.open(tmp_path / "i", encoder) as engine:
        exact = {hit.id: hit.score for hit in engine.search("alpha delta zeta", 100, params={"exact": True})}
    assert {str(i): score for i, score in enumerate(found)} == exact
    assert all(type(score) is float for score in found)
    assert score_texts(encoder, "alpha", []) == []


def test_what_cannot_be_scored() -> None:
    with pytest.raises(DataError, match=r"^text 1: the text is blank") as error:
        score_texts(HashingDense(), "alpha", ["beta", " \n", ""])
    assert error.value.where == "text 1"
    with pytest.raises(DataError, match=r"^text 0: a text is a string, not int"):
        score_texts(HashingDense(), "alpha", [7])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"a list of strings, such as \['beta'\]"):
        score_texts(HashingDense(), "alpha", "beta")
    with pytest.raises(QueryError, match="the query is empty"):
        score_texts(HashingDense(), " ", ["beta"])


def test_vectors_that_are_no_numbers_are_refused() -> None:
    class Broken(HashingDense):
        def encode_document(self, texts):  # type: ignore[no-untyped-def]
            return np.full((len(texts), self.dim), np.nan, dtype=np.float32)

    with pytest.raises(EncoderError, match="NaN"):
        score_texts(Broken(), "alpha", ["beta"])
