"""The table of codecs: bytes, losses, and what refining gives back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.ann.data import synthetic
from bench.codecs import RECIPES, Collection, evaluate, score
from retrieval.evaluate.beir import BeirDataset

pytest.importorskip("pytrec_eval")


@pytest.fixture(scope="module")
def collection() -> Collection:
    """Each query's relevant documents are its ten nearest, so that exact scores are perfect."""
    data = synthetic(1500, 12, dim=64, seed=5)
    ids = [f"d{i}" for i in range(1500)]
    queries = {f"q{i}": "text" for i in range(12)}
    nearest = np.argsort(-(data.queries @ data.vectors.T), axis=1)[:, :10]
    qrels = {query: {ids[j]: 1 for j in nearest[i]} for i, query in enumerate(queries)}
    dataset = BeirDataset(Path(), "test", queries, qrels, ignore_same_id=False, unjudged_queries=0)
    return Collection("made", data.vectors, ids, data.queries, dataset)


def test_exact_scores_lose_nothing_and_noise_does(collection: Collection) -> None:
    exact = collection.queries @ collection.documents.T
    assert evaluate(collection, exact, exact)["nDCG@10"] == {"codes": 1.0, "refined": 1.0}
    noise = np.random.default_rng(0).standard_normal(exact.shape).astype(np.float32)
    found = evaluate(collection, noise, exact)
    assert found["nDCG@10"]["codes"] < 0.1 < found["R@100"]["refined"]
    # A hundred candidates: those of the relevant that are among them come first.
    assert found["nDCG@10"]["refined"] > found["nDCG@10"]["codes"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_estimates_inner_products(collection: Collection, name: str) -> None:
    pytest.importorskip("faiss")
    exact = collection.queries @ collection.documents.T
    coded = score(RECIPES[name], collection.documents, collection.queries)
    assert coded.scores.shape == exact.shape
    assert 0 < coded.bytes <= 4 * 64
    correlation = np.corrcoef(coded.scores.ravel(), exact.ravel())[0, 1]
    # The data is rotated: half the dimensions hold half of it, unlike a Matryoshka model's.
    coarse = name == "sign" or any(part in name for part in ("d/4 + ", "d/2 + bits 1", "matryoshka"))
    assert correlation > (0.7 if coarse else 0.85)
    found = evaluate(collection, coded.scores, exact)
    assert found["nDCG@10"]["refined"] > (0.8 if coarse else 0.9)


def test_more_bits_are_nearer(collection: Collection) -> None:
    exact = collection.queries @ collection.documents.T
    errors = []
    for bits in (1, 2, 4, 8):
        coded = score(RECIPES[f"bits {bits}"], collection.documents, collection.queries)
        errors.append(float(np.abs(coded.scores - exact).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 20 * errors[-1]
