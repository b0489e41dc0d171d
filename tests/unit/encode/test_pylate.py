"""Scores beside PyLate's own rank function, where PyLate is installed; it is no dependency."""

import warnings

import pytest

from retrieval import Document, EncoderConfig, Engine, IndexConfig
from retrieval.encode import load_encoder
from tests.tiny_backbones import WORDS
from tests.tiny_models import TEXTS

QUERIES = ["the heat of the wing", "a", "late dense engine"]
LONG = [" ".join([*WORDS[i:], *WORDS[:i]]) for i in range(0, len(WORDS), 3)]
FAMILIES = ["pylate", "stanford", "modernbert", "xmod"]


@pytest.fixture(scope="module")
def rerank():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports by names that are on their way out
        return pytest.importorskip("pylate.rank", exc_type=ImportError).rerank


def searched(folder, encoder, texts):
    """The score of every text for each query, by its number, best first."""
    documents = [Document(str(i), text) for i, text in enumerate(texts)]
    Engine.build(folder, documents, encoder, config=IndexConfig.of(precision="float32"))
    with Engine.open(folder) as engine:
        hits = [engine.search(query, k=len(texts)) for query in QUERIES]
    return [{int(hit.id): hit.score for hit in found} for found in hits]


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_equal_pylates(checkpoint, rerank, tmp_path, name):
    config = EncoderConfig(name=str(checkpoint(name)))
    encoder = load_encoder(config)
    queries, documents = encoder.encode_query(QUERIES), encoder.encode_document(TEXTS)
    for i, scores in enumerate(searched(tmp_path / "index", config, TEXTS)):
        assert len(scores) == len(TEXTS)
        for j, score in scores.items():
            # One document a call: several are padded with zeros, and a zero beats a negative best.
            [[theirs]] = rerank([[j]], [queries[i]], [[documents[j]]])
            assert score == pytest.approx(theirs["score"], abs=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_ranking_equals_pylates_where_it_needs_no_padding(checkpoint, rerank, tmp_path, name):
    config = EncoderConfig(name=str(checkpoint(name)), document_length=12)
    encoder = load_encoder(config)
    queries, documents = encoder.encode_query(QUERIES), encoder.encode_document(LONG)
    assert set(documents.doclens) == {12}
    ids, arrays = list(range(len(LONG))), list(documents)
    ours = searched(tmp_path / "index", config, LONG)
    theirs = rerank([ids] * len(QUERIES), list(queries), [arrays] * len(QUERIES))
    for scores, ranked in zip(ours, theirs, strict=True):
        assert list(scores) == [result["id"] for result in ranked]
        assert list(scores.values()) == pytest.approx([result["score"] for result in ranked], abs=1e-4)
