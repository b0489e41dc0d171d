"""The markers of Stanford checkpoints against what its own code does: ids inserted after the first."""

import json

import numpy as np
import pytest

from retrieval.config import EncoderConfig
from retrieval.encode import load_encoder
from retrieval.errors import EncoderError
from tests import tiny_models
from tests.tiny_models import TEXTS

MARKERS = {"query": "[unused0]", "document": "[unused1]"}
CASES = [("bert", True), ("modernbert", True), ("xmod", True), ("xmod", False)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A Stanford checkpoint by backbone, and whether its vocabulary holds the markers."""
    root = tmp_path_factory.mktemp("markers")
    return {
        case: tiny_models.save_stanford(root / f"{case[0]}-{case[1]}", family=case[0], adds_markers=case[1])
        for case in CASES
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("task", MARKERS)
def test_the_marker_is_one_id_after_the_first(saved, case, task):
    encoder = load_encoder(str(saved[case]))
    model = encoder._model.model
    # An unknown marker is the unknown token, because that is what its id is looked up as.
    marker = model.tokenizer.convert_tokens_to_ids(MARKERS[task])
    assert (marker == model.tokenizer.unk_token_id) == (not case[1])
    limit = encoder.fingerprint()[f"{task}_length"]
    for text in [*TEXTS, " led by a blank", "!", "[MASK]"]:
        alone = model.tokenizer(text, truncation=True, max_length=limit - 1)["input_ids"]
        expected = [alone[0], marker, *alone[1:]]
        features = model.preprocess([encoder.fingerprint()[f"{task}_prompt"] + text], task=task)
        row = features["input_ids"][0].tolist()
        assert row[: len(expected)] == expected
        assert set(row[len(expected) :]) <= {model.tokenizer.mask_token_id}


@pytest.mark.parametrize("case", CASES)
def test_vectors_equal_the_librarys_with_that_prompt(saved, library, case):
    encoder = load_encoder(str(saved[case]))
    prompts = {task: encoder.fingerprint()[f"{task}_prompt"] for task in MARKERS}
    theirs = library(saved[case], "late", prompts=prompts)
    for task in MARKERS:
        ours = list(getattr(encoder, f"encode_{task}")(TEXTS))
        expected = getattr(theirs, f"encode_{task}")(TEXTS, convert_to_numpy=True)
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_marker_names_no_part_of_the_text(saved, case):
    tokens = load_encoder(str(saved[case])).document_tokens("the wing")
    assert [token.start is None for token in tokens[:3]] == [True, True, False]
    assert (tokens[1].text == "[unused1]") == case[1]
    assert tokens[2].text.strip() == "the"


def test_configured_prompts_are_taken_as_they_are(saved):
    config = EncoderConfig(name=str(saved["xmod", False]), query_prompt="query: ", document_prompt="")
    told = load_encoder(config).fingerprint()
    assert (told["query_prompt"], told["document_prompt"]) == ("query: ", "")


def test_a_marker_that_cannot_be_written_says_what_to_give(tmp_path):
    folder = tiny_models.save_stanford(tmp_path / "model", family="modernbert")
    for file, change in (
        ("artifact.metadata", {"doc_token_id": "[D]"}),
        ("tokenizer_config.json", {"unk_token": None}),
    ):
        values = json.loads((folder / file).read_text())
        tiny_models.write_json(folder / file, {**values, **change})
    with pytest.raises(EncoderError, match=r"document marker .\[D\]. as one .* give document_prompt"):
        load_encoder(str(folder))
    assert load_encoder(EncoderConfig(name=str(folder), document_prompt="")).dim == 16
