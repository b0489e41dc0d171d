"""A caller's own candidates, scored as an exact search scores them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval import Document, Engine, IndexConfig, RuntimeConfig
from retrieval.errors import IndexFolderError, QueryError
from tests.encoders import HashingDense, HashingLate

ENCODERS = [HashingDense(metric=metric) for metric in ("cosine", "dot", "l2")]
ENCODERS += [HashingLate(metric=metric) for metric in ("maxsim", "meanmaxsim")]  # type: ignore[list-item]
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]


def documents(n: int) -> list[Document]:
    rng = np.random.default_rng(3)
    return [Document(f"d{i:02d}", " ".join(rng.choice(WORDS, rng.integers(1, 6)))) for i in range(n)]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda one: one.metric)
def test_scores_are_those_of_an_exact_search(tmp_path: Path, encoder: HashingDense) -> None:
    Engine.build(tmp_path / "i", documents(60), encoder, config=IndexConfig(segment_documents=25))
    with Engine.open(tmp_path / "i", encoder, runtime=RuntimeConfig(maintenance="manual")) as engine:
        engine.add([Document("new", "alpha zeta")])
        engine.delete(["d03"])
        exact = [(hit.id, hit.score) for hit in engine.search("alpha delta zeta", 1000)]
        asked = ["d59", "new", "d00", "d03", "d31", "nowhere", "d00", "d30", "d29"]
        found = engine.rerank("alpha delta zeta", asked)
        assert [(hit.id, hit.score) for hit in found] == [one for one in exact if one[0] in asked]
        assert len(found) == 6
        assert [hit.text for hit in found] == [engine.get(hit.id).text for hit in found]
        assert engine.rerank("alpha delta zeta", asked, 2).hits == found.hits[:2]
        assert engine.rerank("alpha delta zeta", (hit.id for hit in found), fields=())[0].text is None
        every = [doc.id for doc in documents(60)] + ["new"]
        assert [(hit.id, hit.score) for hit in engine.rerank("alpha delta zeta", every)] == exact
        vectors = np.atleast_2d(encoder.encode_query(["alpha delta zeta"])[0])
        assert engine.rerank(vectors, asked).hits == found.hits
        assert engine.rerank("alpha", []).hits == engine.rerank("alpha", ["nowhere"]).hits == ()
        assert found.generation == engine.search("alpha").generation


def test_many_ids_at_once(tmp_path: Path) -> None:
    docs = [Document(f"é'{i}", WORDS[i % 6]) for i in range(1203)]
    Engine.build(tmp_path / "i", docs, HashingDense())
    with Engine.open(tmp_path / "i", HashingDense()) as engine:
        found = engine.rerank("beta", [doc.id for doc in docs], fields=())
        assert [hit.id for hit in found] == [hit.id for hit in engine.search("beta", 2000, fields=())]
        assert len(found) == 1203


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(3), HashingDense())
    with Engine.open(tmp_path / "i", HashingDense()) as engine:
        with pytest.raises(QueryError, match=r"such as \['d01'\]"):
            engine.rerank("alpha", "d01")
        with pytest.raises(QueryError, match="a document id is a string"):
            engine.rerank("alpha", ["d01", 7])  # type: ignore[list-item]
        with pytest.raises(QueryError, match="k must be"):
            engine.rerank("alpha", ["d01"], 0)
        with pytest.raises(QueryError, match="the query is empty"):
            engine.rerank("", ["d01"])
        with pytest.raises(QueryError, match="unknown field"):
            engine.rerank("alpha", ["d01"], fields=["x"])
    with pytest.raises(IndexFolderError, match="closed"):
        engine.rerank(np.zeros(32, np.float32), ["d01"])
