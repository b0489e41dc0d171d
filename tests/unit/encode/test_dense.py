import random

import numpy as np
import pytest

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode import load_encoder
from retrieval.errors import EncoderError
from tests import tiny_models
from tests.tiny_models import TEXTS
from tests.unit.encode.conftest import DENSE


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", DENSE)
def test_vectors_equal_the_librarys(checkpoint, library, name):
    ours, theirs = load_encoder(str(checkpoint(name))), library(checkpoint(name), "dense")

    close(ours.encode_query(TEXTS), theirs.encode_query(TEXTS))
    close(ours.encode_document(TEXTS), theirs.encode_document(TEXTS))
    for i in (0, 5):  # of one text every bit
        assert (ours.encode_query([TEXTS[i]]) == theirs.encode_query([TEXTS[i]])).all()
        assert (ours.encode_document([TEXTS[i]]) == theirs.encode_document([TEXTS[i]])).all()
    assert ours.encode_query(TEXTS).dtype == np.float32
    assert ours.encode_query(TEXTS).shape == (len(TEXTS), ours.dim)


def test_prompts_make_a_difference(checkpoint):
    encoder = load_encoder(str(checkpoint("prompts")))
    assert not np.allclose(encoder.encode_query(TEXTS), encoder.encode_document(TEXTS), atol=1e-3)


def test_configured_prompts_replace_the_models(checkpoint, library):
    config = EncoderConfig(name=str(checkpoint("prompts")), query_prompt="search ", document_prompt="")
    encoder, theirs = load_encoder(config), library(checkpoint("prompts"), "dense")
    close(encoder.encode_query(TEXTS), theirs.encode(TEXTS, prompt="search "))
    close(encoder.encode_document(TEXTS), theirs.encode(TEXTS, prompt=""))


@pytest.mark.parametrize(("name", "metric"), [("mean", "cosine"), ("cls", "dot"), ("euclidean", "l2")])
def test_metric_is_the_checkpoints_similarity(checkpoint, name, metric):
    assert load_encoder(str(checkpoint(name))).metric == metric


def test_manhattan_is_refused(tmp_path):
    folder = tiny_models.save_dense(tmp_path / "m", similarity="manhattan")
    with pytest.raises(EncoderError, match="'manhattan'"):
        load_encoder(str(folder))


def test_truncate_dim(checkpoint, library):
    config = EncoderConfig(name=str(checkpoint("mean")), truncate_dim=7)
    encoder = load_encoder(config)
    assert encoder.dim == 7 == encoder.encode_query(TEXTS[:1]).shape[1]
    close(encoder.encode_document(TEXTS), library(checkpoint("mean"), "dense", truncate_dim=7).encode(TEXTS))


def test_truncate_dim_beyond_the_model_is_refused(checkpoint):
    with pytest.raises(EncoderError, match="truncate_dim=33 is more than the 32"):
        load_encoder(EncoderConfig(name=str(checkpoint("mean")), truncate_dim=33))


def test_document_length_limits_tokens(checkpoint, library):
    encoder = load_encoder(EncoderConfig(name=str(checkpoint("mean")), document_length=6))
    theirs = library(checkpoint("mean"), "dense")
    theirs.max_seq_length = 6
    close(encoder.encode_document(TEXTS), theirs.encode(TEXTS))
    close(encoder.encode_document(["the wing of a heat flow"]), encoder.encode_document(["the wing of a"]))


def test_document_length_beyond_the_positions_is_refused(checkpoint):
    with pytest.raises(EncoderError, match="document_length=129 is more than the 128 positions"):
        load_encoder(EncoderConfig(name=str(checkpoint("mean")), document_length=129))


@pytest.mark.parametrize("option", [{"query_length": 8}, {"projection": "none"}])
def test_options_of_late_interaction_are_refused(checkpoint, option):
    with pytest.raises(EncoderError, match=next(iter(option))):
        load_encoder(EncoderConfig(name=str(checkpoint("mean")), kind="dense", **option))


def test_any_order_and_any_budget_give_the_same_vectors(checkpoint):
    folder = str(checkpoint("prompts"))
    texts = TEXTS * 3
    expected = load_encoder(folder).encode_document(texts)
    shuffled = random.Random(3).sample(range(len(texts)), len(texts))
    for budget in (16, 100, 1_000_000):
        encoder = load_encoder(folder, RuntimeConfig(token_budget=budget))
        close(encoder.encode_document(texts), expected)
        close(encoder.encode_document([texts[i] for i in shuffled]), expected[shuffled])


def test_batches_keep_to_the_budget(checkpoint, monkeypatch):
    encoder = load_encoder(str(checkpoint("mean")), RuntimeConfig(token_budget=80))
    model, sizes = encoder._model.model, []
    forward = type(model).forward

    def watched(self, features, **options):
        sizes.append(tuple(features["input_ids"].shape))
        return forward(self, features, **options)

    monkeypatch.setattr(type(model), "forward", watched)
    encoder.encode_document(TEXTS * 3)
    assert sum(rows for rows, _ in sizes) == len(TEXTS) * 3
    assert all(rows * width <= 80 or rows == 1 for rows, width in sizes)
    assert max(rows for rows, _ in sizes) > 1


def test_progress_counts_every_text(checkpoint):
    done = []
    encoder = load_encoder(str(checkpoint("mean")), RuntimeConfig(token_budget=64))
    encoder.encode_document(TEXTS, progress=done.append)
    assert sum(done) == len(TEXTS)
    assert len(done) > 1


def test_no_texts_give_no_rows(checkpoint):
    encoder = load_encoder(str(checkpoint("head")))
    assert encoder.encode_document([]).shape == (0, 12)
    assert encoder.encode_query([]).dtype == np.float32
