"""Samples of an index, and what is held out of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval import Document, Engine, RuntimeConfig
from retrieval.storage import Catalog, SnapshotKeeper
from retrieval.training import held_out_split, pseudo_queries, sample_documents
from retrieval.training.queries import shifted_documents
from tests.encoders import HashingDense

MANUAL = RuntimeConfig.of(maintenance="manual")


@pytest.fixture
def keeper(tmp_path: Path) -> SnapshotKeeper:
    """Three segments with a deleted document in each, and pending documents."""
    encoder = HashingDense()
    with Engine.create(tmp_path / "i", encoder, runtime=MANUAL) as engine:
        for part in range(4):
            engine.add([Document(f"d{part}-{i}", f"word{part}x{i} other{i}") for i in range(10)])
            if part < 3:
                engine.flush()
            engine.delete([f"d{part}-3"])
    catalog = Catalog.open(tmp_path / "i")
    return SnapshotKeeper(tmp_path / "i", catalog)


def test_a_sample_is_of_the_living_without_repetition(keeper: SnapshotKeeper) -> None:
    snapshot = keeper.latest()
    everything = sample_documents(snapshot, 1000, seed=0).values
    assert everything.shape == (36, 32)
    assert len(np.unique(everything, axis=0)) == 36
    some = sample_documents(snapshot, 20, seed=1).values
    assert len(np.unique(some, axis=0)) == 20
    assert {row.tobytes() for row in some} <= {row.tobytes() for row in everything}
    assert (some == sample_documents(snapshot, 20, seed=1).values).all()
    assert not (some == sample_documents(snapshot, 20, seed=2).values).all()
    assert sample_documents(snapshot, 0, seed=0).values.shape == (0, 32)


def test_pseudo_queries_are_unit_vectors_of_spans_or_of_shifted_documents(keeper: SnapshotKeeper) -> None:
    snapshot = keeper.latest()
    for encoder in (HashingDense(), None):
        queries = pseudo_queries(snapshot, encoder, 15, seed=4).values
        assert queries.shape == (15, 32)
        np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, rtol=1e-5)
        assert (queries == pseudo_queries(snapshot, encoder, 15, seed=4).values).all()
    assert len(pseudo_queries(snapshot, None, 100, seed=0)) == 36


def test_shifted_documents_lie_near_a_document_and_are_none(keeper: SnapshotKeeper) -> None:
    snapshot = keeper.latest()
    documents = sample_documents(snapshot, 1000, seed=0).values
    best = (shifted_documents(snapshot, 36, seed=4).values @ documents.T).max(axis=1)
    assert 0.7 < np.median(best) < 0.98, "away from all documents, and not anywhere"


@pytest.mark.parametrize("n", [0, 1, 4095])
def test_a_small_sample_is_trained_on_whole(n: int) -> None:
    sample = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    train, held = held_out_split(sample, is_needed=True)
    assert train is sample
    assert len(held) == min(n, 2048)
    train += 1
    assert (held == np.arange(held.size).reshape(held.shape)).all(), "training writes into its own"


@pytest.mark.parametrize("n", [4096, 5000, 131072])
def test_a_large_one_is_split(n: int) -> None:
    sample = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    train, held = held_out_split(sample, is_needed=True)
    assert 256 <= len(held) <= 2080
    assert sorted([*train[:, 0].tolist(), *held[:, 0].tolist()]) == sample[:, 0].tolist()
    assert len(held_out_split(sample, is_needed=False)[1]) == 0
