"""Checkpoints with one adapter a language: the one that is asked for runs, and no other by mistake."""

import numpy as np
import pytest

from retrieval import Document, EncoderConfig, Engine
from retrieval.encode import check_fingerprint, load_encoder
from retrieval.errors import EncoderError, EncoderMismatchError
from tests import tiny_models
from tests.tiny_backbones import LANGUAGES
from tests.tiny_models import TEXTS


@pytest.fixture(scope="module")
def xmod(tmp_path_factory):
    return tiny_models.save_stanford(tmp_path_factory.mktemp("xmod") / "model", family="xmod")


@pytest.fixture(scope="module")
def homeless(tmp_path_factory):
    """A checkpoint that names no default language."""
    folder = tmp_path_factory.mktemp("xmod") / "homeless"
    return tiny_models.save_stanford(folder, family="xmod", default_language=None)


def test_the_checkpoints_default_is_taken(xmod):
    encoder = load_encoder(str(xmod))
    assert encoder.fingerprint()["language"] == LANGUAGES[0]
    named = load_encoder(EncoderConfig(name=str(xmod), language=LANGUAGES[0]))
    np.testing.assert_array_equal(named.encode_query(TEXTS).values, encoder.encode_query(TEXTS).values)
    assert named.fingerprint() == encoder.fingerprint()


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_runs_its_own_adapters(xmod, homeless, library, language):
    theirs = library(xmod, "late")
    theirs[0].model.set_default_language(language)
    for folder in (xmod, homeless):
        encoder = load_encoder(EncoderConfig(name=str(folder), language=language))
        for task in ("query", "document"):
            ours = list(getattr(encoder, f"encode_{task}")(TEXTS))
            expected = getattr(theirs, f"encode_{task}")(TEXTS, convert_to_numpy=True)
            for a, b in zip(ours, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_languages_differ_in_vectors_and_fingerprint(xmod):
    one, two = (load_encoder(EncoderConfig(name=str(xmod), language=name)) for name in LANGUAGES[:2])
    assert np.abs(one.encode_query(["a"]).values - two.encode_query(["a"]).values).max() > 0.01
    with pytest.raises(EncoderMismatchError, match="language: index 'en_XX', given 'de_DE'"):
        check_fingerprint(one.fingerprint(), two.fingerprint())


def test_no_language_at_all_is_refused_with_the_choice(homeless):
    with pytest.raises(EncoderError, match="each of 3 languages and names no default: give language, one of"):
        load_encoder(str(homeless))


def test_a_language_without_adapter_is_refused_with_the_choice(xmod):
    with pytest.raises(EncoderError, match="no adapter for language='xx': give one of en_XX, de_DE, fr_XX"):
        load_encoder(EncoderConfig(name=str(xmod), language="xx"))


def test_many_languages_are_not_all_told(tmp_path):
    languages = [f"l{i}" for i in range(20)]
    folder = tiny_models.save_stanford(
        tmp_path / "model", family="xmod", languages=languages, default_language=None
    )
    with pytest.raises(EncoderError, match=r"one of l0, .*, l11 and 8 more$"):
        load_encoder(str(folder))


@pytest.mark.parametrize("name", ["mean", "pylate"])
def test_a_language_for_a_model_without_adapters_is_refused(checkpoint, name):
    with pytest.raises(EncoderError, match="language='en_XX' is for checkpoints with an adapter"):
        load_encoder(EncoderConfig(name=str(checkpoint(name)), language="en_XX"))
    assert load_encoder(str(checkpoint(name))).fingerprint()["language"] is None


def test_a_dense_model_has_languages_too(tmp_path):
    folder = tiny_models.save_backbone(tmp_path / "model", family="xmod", default_language=None)
    with pytest.raises(EncoderError, match="names no default"):
        load_encoder(str(folder))
    one, two = (load_encoder(EncoderConfig(name=str(folder), language=name)) for name in LANGUAGES[:2])
    assert np.abs(one.encode_query(["a"]) - two.encode_query(["a"])).max() > 0.001


def test_an_index_remembers_its_language(homeless, tmp_path):
    config = EncoderConfig(name=str(homeless), language="de_DE")
    Engine.build(tmp_path / "index", [Document(id="a", text="the wing")], config)
    with Engine.open(tmp_path / "index") as engine:
        assert engine.search("wing", k=1)[0].id == "a"
        assert engine.encoder.fingerprint()["language"] == "de_DE"
