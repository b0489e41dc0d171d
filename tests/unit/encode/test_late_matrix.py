"""Every family of late-interaction checkpoint, with and without query expansion, at every width."""

import itertools
import json
import random
import string

import numpy as np
import pytest

from retrieval import Document, EncoderConfig, Engine, IndexConfig, RuntimeConfig
from retrieval.encode import load_encoder
from retrieval.errors import EncoderError
from tests import tiny_models
from tests.tiny_backbones import POSITIONS
from tests.tiny_models import TEXTS

FAMILIES = {
    "stanford": (tiny_models.save_stanford, "bert"),
    "pylate": (tiny_models.save_pylate, "bert"),
    "modernbert": (tiny_models.save_pylate, "modernbert"),
    "xmod": (tiny_models.save_stanford, "xmod"),
    "pylate-xmod": (tiny_models.save_pylate, "xmod"),
}
EXPANSIONS = ("none", "unseen", "seen")
CASES = [
    (family, expansion, dim)
    for family, expansion, dim in itertools.product(FAMILIES, EXPANSIONS, (48, 96, 128))
    # Stanford's format has no way to say that queries are not expanded.
    if expansion != "none" or FAMILIES[family][0] is tiny_models.save_pylate
]
LENGTHS = {tiny_models.save_stanford: 20, tiny_models.save_pylate: 24}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a case, saved at its first use."""
    root, folders = tmp_path_factory.mktemp("matrix"), {}

    def save(family, expansion, dim):
        name = f"{family}-{expansion}-{dim}"
        if name not in folders:
            write, backbone = FAMILIES[family]
            options = {"expands": expansion != "none"} if write is tiny_models.save_pylate else {}
            folders[name] = write(
                root / name, dim=dim, attends=expansion == "seen", family=backbone, **options
            )
        return folders[name]

    return save


def close(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("family", "expansion", "dim"), CASES)
def test_vectors_equal_the_librarys_in_any_batch(saved, library, family, expansion, dim):
    folder = saved(family, expansion, dim)
    encoder, theirs = load_encoder(str(folder)), library(folder, "late")
    small = load_encoder(str(folder), RuntimeConfig(token_budget=64))
    shuffled = random.Random(dim).sample(range(len(TEXTS)), len(TEXTS))
    for task in ("query", "document"):
        expected = getattr(theirs, f"encode_{task}")(TEXTS, batch_size=1, convert_to_numpy=True)
        assert {array.shape[1] for array in expected} == {dim} == {encoder.dim}
        encode, encode_small = (getattr(e, f"encode_{task}") for e in (encoder, small))
        close(list(encode(TEXTS)), expected)
        close(list(encode_small([TEXTS[i] for i in shuffled])), [expected[i] for i in shuffled])
        norms = np.linalg.norm(encode(TEXTS).values, axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-6)


@pytest.mark.parametrize(("family", "expansion", "dim"), [case for case in CASES if case[2] == 48])
def test_expansion_sets_the_number_of_query_vectors(saved, family, expansion, dim):
    encoder = load_encoder(str(saved(family, expansion, dim)))
    length = LENGTHS[FAMILIES[family][0]]
    counts = encoder.encode_query(TEXTS).doclens
    if expansion == "none":
        assert counts.tolist() == [
            min(len(encoder._model.model.tokenizer(text)["input_ids"]) + 1, length) for text in TEXTS
        ]
        assert encoder.fingerprint()["query_expansion"] is None
    else:
        assert set(counts) == {length}
        assert encoder.fingerprint()["query_expansion"]["attend"] == (expansion == "seen")


@pytest.mark.parametrize("family", FAMILIES)
def test_seen_expansion_changes_queries_alone(saved, family):
    unseen, seen = (load_encoder(str(saved(family, kind, 48))) for kind in ("unseen", "seen"))
    assert np.abs(unseen.encode_query(["a"]).values - seen.encode_query(["a"]).values).max() > 0.01
    np.testing.assert_array_equal(unseen.encode_document(TEXTS).values, seen.encode_document(TEXTS).values)


@pytest.mark.parametrize(("family", "expansion", "dim"), [case for case in CASES if case[2] == 96])
def test_one_token_for_each_vector(saved, family, expansion, dim):
    encoder = load_encoder(str(saved(family, expansion, dim)))
    for text in [*TEXTS, "", "  padded ", "[MASK] <mask> [Q] "]:
        for task in ("query", "document"):
            tokens = getattr(encoder, f"{task}_tokens")(text)
            assert len(tokens) == getattr(encoder, f"encode_{task}")([text]).doclens[0]
            spans = [(t.start, t.end) for t in tokens if t.start is not None]
            assert spans == sorted(spans)
            assert all(text[t.start : t.end] == t.text for t in tokens if t.start is not None)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_named_by_the_text(saved, family):
    encoder = load_encoder(str(saved(family, "unseen", 96)))
    tokens = encoder.document_tokens("the query, the wing")
    told = "".join(token.text for token in tokens if token.start is not None)
    assert told.replace(" ", "") == "thequerythewing"  # the comma is on the skip list
    assert [token.start is None for token in tokens][:3] == [True, True, False]
    expanded = encoder.query_tokens("the wing")
    mask = encoder._model.model.tokenizer.mask_token
    assert expanded[-1].text == mask and expanded[-1].start is None


@pytest.mark.parametrize("family", FAMILIES)
def test_punctuation_gets_no_document_vector(saved, family):
    encoder = load_encoder(str(saved(family, "unseen", 96)))
    assert all(token.text not in string.punctuation for token in encoder.document_tokens("a,a.a!"))
    assert any(token.text in string.punctuation for token in encoder.query_tokens("a,a.a!"))


@pytest.mark.parametrize(("family", "expansion", "dim"), [case for case in CASES if case[2] == 128])
def test_an_index_scores_and_explains(saved, library, tmp_path, family, expansion, dim):
    folder = saved(family, expansion, dim)
    documents = [Document(id=f"d{i}", text=text) for i, text in enumerate(TEXTS)]
    Engine.build(tmp_path / "index", documents, str(folder), config=IndexConfig.of(precision="float32"))
    theirs = library(folder, "late")
    query = "the heat of the wing"
    expected = theirs.similarity(theirs.encode_query([query]), theirs.encode_document(TEXTS))[0].tolist()
    with Engine.open(tmp_path / "index") as engine:
        hits = engine.search(query, k=len(TEXTS))
        explained = {hit.id: engine.explain(query, hit.id) for hit in hits}
    n_vectors = len(theirs.encode_query([query])[0])
    assert len(hits) == len(TEXTS)
    for hit in hits:
        assert hit.score == pytest.approx(expected[int(hit.id[1:])], abs=1e-4)
        matches = explained[hit.id].matches
        assert len(matches) == n_vectors
        assert sum(match.contribution for match in matches) == pytest.approx(hit.score, abs=1e-4)


@pytest.mark.parametrize("backbone", ["bert", "modernbert", "xmod"])
def test_a_text_may_fill_every_position(tmp_path, backbone):
    folder = tiny_models.save_late(tmp_path / backbone, family=backbone)
    encoder = load_encoder(EncoderConfig(name=str(folder), document_length=POSITIONS))
    assert encoder.encode_document(["a " * 500]).doclens.tolist() == [POSITIONS]
    with pytest.raises(EncoderError, match=f"document_length={POSITIONS + 1} is more than the {POSITIONS}"):
        load_encoder(EncoderConfig(name=str(folder), document_length=POSITIONS + 1))


@pytest.mark.parametrize("length", [POSITIONS + 1, 10**30])
def test_a_tokenizer_that_promises_too_much_is_cut_to_the_positions(tmp_path, length):
    folder = tiny_models.save_late(tmp_path / "model", family="xmod")
    settings = folder / "tokenizer_config.json"
    values = json.loads(settings.read_text())
    tiny_models.write_json(settings, {**values, "model_max_length": length})
    encoder = load_encoder(str(folder))
    assert encoder.encode_document(["a " * 500]).doclens.tolist() == [POSITIONS]
    assert encoder.fingerprint()["document_length"] == POSITIONS
