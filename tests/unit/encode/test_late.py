import random

import numpy as np
import pytest

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode import as_ragged, load_encoder
from retrieval.errors import EncoderError
from tests import tiny_models
from tests.tiny_models import TEXTS
from tests.unit.encode.conftest import LATE


def close(ours, theirs):
    """Every text has the same vectors, one a token."""
    assert len(ours) == len(theirs)
    for a, b in zip([ours[i] for i in range(len(ours))], theirs, strict=True):
        np.testing.assert_allclose(a, np.asarray(b), atol=1e-5)


@pytest.mark.parametrize("name", LATE)
def test_vectors_equal_the_librarys(checkpoint, library, name):
    ours, theirs = load_encoder(str(checkpoint(name))), library(checkpoint(name), "late")

    close(ours.encode_query(TEXTS), theirs.encode_query(TEXTS))
    close(ours.encode_document(TEXTS), theirs.encode_document(TEXTS))
    for i in (0, 5):  # of one text every bit
        assert (ours.encode_query([TEXTS[i]])[0] == np.asarray(theirs.encode_query([TEXTS[i]])[0])).all()
        theirs_of_document = np.asarray(theirs.encode_document([TEXTS[i]])[0])
        assert (ours.encode_document([TEXTS[i]])[0] == theirs_of_document).all()
    assert ours.kind == "late"
    assert as_ragged(ours.encode_query(TEXTS), ours, len(TEXTS)).dim == 16


def test_metric_is_the_checkpoints_similarity(checkpoint):
    assert load_encoder(str(checkpoint("native"))).metric == "maxsim"
    assert load_encoder(str(checkpoint("min"))).metric == "meanmaxsim"


def test_any_order_and_any_budget_give_the_same_vectors(checkpoint):
    folder = str(checkpoint("pylate"))
    expected = load_encoder(folder).encode_document(TEXTS)
    shuffled = random.Random(3).sample(range(len(TEXTS)), len(TEXTS))
    for budget in (16, 150, 1_000_000):
        encoder = load_encoder(folder, RuntimeConfig(token_budget=budget))
        close(encoder.encode_document(TEXTS), [expected[i] for i in range(len(TEXTS))])
        close(encoder.encode_document([TEXTS[i] for i in shuffled]), [expected[i] for i in shuffled])


def test_fixed_expansion_takes_the_query_length(checkpoint, library):
    folder = checkpoint("pylate")
    encoder = load_encoder(EncoderConfig(name=str(folder), query_length=9))
    theirs = library(folder, "late")
    theirs[0].query_expansion = {**theirs[0].query_expansion, "length": 9}

    vectors = encoder.encode_query(TEXTS)
    assert vectors.doclens.tolist() == [9] * len(TEXTS)
    close(vectors, theirs.encode_query(TEXTS))


def test_expansion_of_the_checkpoint_pads_queries(checkpoint):
    encoder = load_encoder(str(checkpoint("stanford")))
    assert encoder.encode_query(["a", TEXTS[5]]).doclens.tolist() == [20, 20]


@pytest.mark.parametrize(("length", "short", "long"), [(25, 10, 25), (6, 6, 6)])
def test_minimum_expansion_takes_the_query_length_as_ceiling(checkpoint, length, short, long):
    encoder = load_encoder(EncoderConfig(name=str(checkpoint("min")), query_length=length))
    assert encoder.encode_query(["a", TEXTS[5]]).doclens.tolist() == [short, long]


def test_lengths_without_expansion_are_token_limits(checkpoint, library):
    folder = checkpoint("native")
    encoder = load_encoder(EncoderConfig(name=str(folder), query_length=8, document_length=11))
    theirs = library(folder, "late")
    theirs[0].query_length, theirs[0].document_length = 8, 11
    close(encoder.encode_query(TEXTS), theirs.encode_query(TEXTS))
    close(encoder.encode_document(TEXTS), theirs.encode_document(TEXTS))
    assert encoder.encode_query([TEXTS[5]]).doclens.tolist() == [8]
    assert encoder.encode_document([TEXTS[5]]).doclens.tolist() == [11]


@pytest.mark.parametrize("option", ["query_length", "document_length"])
def test_a_length_beyond_the_positions_is_refused(checkpoint, option):
    with pytest.raises(EncoderError, match=f"{option}=500 is more than the 128"):
        load_encoder(EncoderConfig(name=str(checkpoint("native")), **{option: 500}))


def test_skip_list_drops_document_tokens_only(checkpoint):
    encoder = load_encoder(str(checkpoint("skips")))
    assert encoder.encode_document(["the wing, the heat!"]).doclens.tolist() == [4]
    assert encoder.encode_query(["the wing, the heat!"]).doclens.tolist() == [8]


def test_prefix_markers_are_single_tokens(checkpoint):
    for name in ("pylate", "stanford"):
        encoder = load_encoder(str(checkpoint(name)))
        # [CLS], marker, wing, [SEP]
        assert encoder.encode_document(["wing"]).doclens.tolist() == [4]


def test_configured_prompts_replace_the_models(checkpoint, library):
    config = EncoderConfig(name=str(checkpoint("native")), query_prompt="", document_prompt="in the ")
    encoder, theirs = load_encoder(config), library(checkpoint("native"), "late")
    close(encoder.encode_query(TEXTS), theirs.encode_query(TEXTS, prompt=""))
    close(encoder.encode_document(TEXTS), theirs.encode_document(TEXTS, prompt="in the "))


def test_a_dense_head_is_a_trained_projection(checkpoint, library):
    encoder = load_encoder(EncoderConfig(name=str(checkpoint("head")), kind="late"))
    assert encoder.dim == 12
    close(encoder.encode_document(TEXTS), library(checkpoint("head"), "late").encode_document(TEXTS))


@pytest.mark.parametrize("name", ["mean", "bare", "head", "prompts"])
def test_no_projection_gives_the_backbones_own_token_vectors(checkpoint, library, name):
    config = EncoderConfig(name=str(checkpoint(name)), kind="late", projection="none")
    encoder = load_encoder(config)
    theirs = library(checkpoint(name), "dense")
    for task in ("query", "document"):
        ours = getattr(encoder, f"encode_{task}")(TEXTS)
        tokens = getattr(theirs, f"encode_{task}")(TEXTS, output_value="token_embeddings")
        close(ours, [t / t.norm(dim=-1, keepdim=True) for t in tokens])
    again = load_encoder(encoder.config).encode_query(TEXTS)
    np.testing.assert_array_equal(encoder.encode_query(TEXTS).values, again.values)


def test_no_projection_of_a_trained_checkpoint_is_refused(checkpoint):
    with pytest.raises(EncoderError, match="use it as it is"):
        load_encoder(EncoderConfig(name=str(checkpoint("native")), projection="none"))


def test_truncate_dim_is_refused(checkpoint):
    with pytest.raises(EncoderError, match="truncate_dim=8"):
        load_encoder(EncoderConfig(name=str(checkpoint("native")), truncate_dim=8))


def test_token_pooling_of_the_checkpoint_is_kept(tmp_path, library):
    folder = tiny_models.save_late(tmp_path / "pooled", pool_factor=2)
    encoder = load_encoder(str(folder))
    close(encoder.encode_document(TEXTS), library(folder, "late").encode_document(TEXTS))
    assert encoder.fingerprint()["pooling"] is not None
    assert len(encoder.query_tokens("the wing")) == 4
    with pytest.raises(EncoderError, match="pools the token vectors of a document"):
        encoder.document_tokens("the wing")


def test_no_texts_give_no_rows(checkpoint):
    empty = load_encoder(str(checkpoint("native"))).encode_document([])
    assert len(empty) == 0
    assert empty.values.shape == (0, 16)


def test_progress_counts_every_text(checkpoint):
    done = []
    encoder = load_encoder(str(checkpoint("native")), RuntimeConfig(token_budget=128))
    encoder.encode_query(TEXTS, progress=done.append)
    assert sum(done) == len(TEXTS)
    assert len(done) > 1
