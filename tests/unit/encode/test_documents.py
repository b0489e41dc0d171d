"""Documents as they are stored: encoded, pooled, each by itself; and the tokens behind what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from retrieval.encode.documents import DocumentEncoder, VectorTokens, check_pooling
from retrieval.errors import ConfigError, EncoderError
from retrieval.types import FloatArray, Token
from tests.encoders import HashingDense, HashingLate, PiecesLate, word_vector

TEXTS = ["reading of letters", "x", "aabb aa bb, aabb", "one two three four five six seven eight"]
POOLINGS = ("ward:2", "ward:1.5", "fixed:3", "words", "norm:0.5")


class Given:
    """Late vectors by text; what is not written down here cannot be encoded."""

    kind, metric = "late", "maxsim"

    def __init__(self, dim: int, **values: list[list[float]]) -> None:
        self.dim, self.values = dim, values

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "given"}

    def encode_document(self, texts: Sequence[str]) -> list[FloatArray]:
        return [np.array(self.values[text], np.float32).reshape(-1, self.dim) for text in texts]

    encode_query = encode_document


class Telling(Given):
    """One that tells its tokens: the letters of the text, those of ``markers`` without a place."""

    markers = ""

    def document_tokens(self, text: str) -> list[Token]:
        return [Token(c) if c in self.markers else Token(c, i, i + 1) for i, c in enumerate(text)]

    query_tokens = document_tokens


class Placeless(HashingLate):
    """A tokenizer without offsets."""

    def document_tokens(self, text: str) -> list[Token]:
        return [Token(word) for word in text.split()]


class Pooling(HashingLate):
    """An encoder that pools by itself, so that no vector belongs to one token."""

    def document_tokens(self, text: str) -> list[Token]:
        raise EncoderError("pooled")


@pytest.mark.parametrize(
    ("spec", "encoder", "told"),
    [
        ("ward:2", HashingDense(), "this encoder is dense"),
        ("words", HashingDense(), "this encoder is dense"),
        ("ward", HashingLate(), "token pooling is 'ward'; write none, ward:2"),
        ("ward:2", HashingLate(), None),
        ("words", HashingLate(), None),
        ("none", HashingDense(), None),
        ("words", Given(2), "places of tokens .* use ward:2"),
        ("words", Placeless(), "places of tokens"),
        ("words", Pooling(), "places of tokens"),
        ("fixed:3", Pooling(), None),
        ("norm:0.5", Given(2), None),
    ],
)
def test_what_cannot_be_pooled_is_refused_without_encoding(spec: str, encoder: Any, told: str | None) -> None:
    def refuse(_: Sequence[str]) -> Any:
        raise AssertionError("encoded")

    encoder.encode_document = refuse
    if told is None:
        check_pooling(spec, encoder)
        return
    for check in (check_pooling, lambda spec, encoder: DocumentEncoder(encoder, spec)):
        with pytest.raises(ConfigError, match=told):
            check(spec, encoder)


def test_no_pooling_changes_nothing() -> None:
    done: list[int] = []
    found = DocumentEncoder(PiecesLate(), "none").encode(TEXTS, done.append)
    for vectors, expected in zip(found, PiecesLate().encode_document(TEXTS), strict=True):
        np.testing.assert_array_equal(vectors, expected)
    assert sum(done) == len(TEXTS)


def test_words_are_means_of_their_pieces_of_length_one() -> None:
    ((marker, reading, of, letters),) = DocumentEncoder(PiecesLate(), "words").encode(TEXTS[:1])
    for found, pieces in ((marker, ["[D]"]), (reading, ["re", "ad", "in", "g"]), (of, ["of"])):
        mean = np.mean([word_vector(piece, 16).astype(np.float64) for piece in pieces], axis=0)
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=2e-6)
    assert np.linalg.norm(letters) == pytest.approx(1)


def test_means_keep_their_length_where_lengths_mean_something() -> None:
    """Each document is asked for itself: others in the batch have no say."""
    encoder = Given(
        2,
        units=[[1, 0], [0.8, 0.6], [0, 1], [0, -1]],
        nearly=[[1.0009, 0], [0.8, 0.6], [0, 1], [0, -1]],
        longer=[[1.002, 0], [0.8, 0.6], [0, 1], [0, -1]],
        zero=[[0, 0], [0.8, 0.6], [0, 1], [0, -1]],
        empty=[],
    )
    found = DocumentEncoder(encoder, "fixed:1").encode(["longer", "units", "empty", "zero", "nearly"])
    assert found.doclens.tolist() == [1, 1, 0, 1, 1]
    lengths = np.linalg.norm(found.values, axis=1)
    assert lengths[1] == pytest.approx(1) and lengths[3] == pytest.approx(1)
    np.testing.assert_allclose(found[0][0], np.mean(encoder.values["longer"], axis=0), rtol=1e-6)
    np.testing.assert_allclose(found[3][0], np.mean(encoder.values["zero"], axis=0), rtol=1e-6)


@pytest.mark.parametrize("spec", POOLINGS)
@pytest.mark.parametrize("length", [1.0, None])
def test_a_document_is_pooled_alike_wherever_it_comes(spec: str, length: float | None) -> None:
    encoder = DocumentEncoder(PiecesLate(length=length), spec)
    together = encoder.encode(TEXTS)
    turned = encoder.encode(TEXTS[::-1])
    for i, text in enumerate(TEXTS):
        np.testing.assert_array_equal(encoder.encode([text]).values, together[i])
        np.testing.assert_array_equal(turned[len(TEXTS) - 1 - i], together[i])
    assert len(encoder.encode([])) == 0
    if (spec, length) != ("norm:0.5", 1.0):  # equal lengths: nothing to choose by
        assert len(together.values) < sum(map(len, PiecesLate().encode_document(TEXTS)))


LEFT, RIGHT, UP = [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]


def named(text: str, values: list[list[float]], spec: str, markers: str = "") -> list[VectorTokens]:
    encoder = Telling(2, **{text: values})
    encoder.markers = markers
    documents = DocumentEncoder(encoder, spec)
    return documents.name_vectors([text], [documents.encode([text]).values])[0]


def test_neighbours_are_named_by_their_stretch_of_the_text() -> None:
    first, second = named("abcd", [LEFT, LEFT, RIGHT, RIGHT], "fixed:2")
    assert first == VectorTokens(Token("ab", 0, 2), (Token("a", 0, 1), Token("b", 1, 2)))
    assert second.token == Token("cd", 2, 4)


def test_others_are_named_by_their_stretches_and_have_no_place() -> None:
    first, second = named("abcd", [LEFT, LEFT, RIGHT, LEFT], "fixed:2")
    assert first.token == Token("ab … d")
    assert [token.start for token in first.behind] == [0, 1, 3]
    assert second == VectorTokens(Token("c", 2, 3), (Token("c", 2, 3),))


def test_repetitions_are_named_once() -> None:
    first, second = named("abaca", [LEFT, RIGHT, LEFT, RIGHT, LEFT], "fixed:2")
    assert first == VectorTokens(Token("a"), (Token("a", 0, 1), Token("a", 2, 3), Token("a", 4, 5)))
    assert second.token == Token("b … c")


def test_markers_have_no_stretch() -> None:
    (only,) = named("ab[c", [LEFT, LEFT, LEFT, LEFT], "fixed:1", markers="[")
    assert only.token == Token("ab … [ … c")
    (only,) = named("[", [LEFT], "fixed:1", markers="[")
    assert only == VectorTokens(Token("["), (Token("["),))


def test_dropped_tokens_are_behind_nothing() -> None:
    found = named("abc", [[3.0, 0.0], [1.0, 0.0], [0.0, 3.0]], "norm:0.5")
    assert [one.token.text for one in found] == ["a", "c"]


def test_without_pooling_each_vector_has_its_token() -> None:
    found = DocumentEncoder(PiecesLate(), "none").name_vectors(["reading"], [np.empty((5, 16), np.float32)])[
        0
    ]
    assert [one.token.text for one in found] == ["[D]", "re", "ad", "in", "g"]
    assert [one.behind for one in found] == [(one.token,) for one in found]


def test_what_cannot_be_made_again_gets_numbers() -> None:
    values = [LEFT, UP, RIGHT]
    documents = DocumentEncoder(Telling(2, abc=values), "fixed:3")
    stored = np.array(values, np.float32)
    numbers = [VectorTokens(Token(f"#{i}"), ()) for i in range(4)]
    assert [one.token.text for one in documents.name_vectors(["abc"], [stored])[0]] == ["a", "b", "c"]
    assert documents.name_vectors(["abc"], [np.vstack([stored, stored[:1]])])[0] == numbers
    assert documents.name_vectors(["abc"], [stored[:2]])[0] == numbers[:2]
    # The same number, and yet other groups: only what is where it was keeps its name.
    swapped = documents.name_vectors(["abc"], [stored[[1, 0, 2]]])[0]
    assert [one.token.text for one in swapped] == ["#0", "#1", "c"]
    # What codes lose of a vector does not cost it its name.
    rough = stored + np.array([[0.1, 0.3], [-0.3, 0.1], [0.2, -0.4]], np.float32)
    assert [one.token.text for one in documents.name_vectors(["abc"], [rough])[0]] == ["a", "b", "c"]


def test_an_encoder_that_names_no_tokens_gives_numbers() -> None:
    documents = DocumentEncoder(Given(2, ab=[LEFT, LEFT]), "fixed:1")
    assert documents.name_vectors(["ab"], [np.array([LEFT], np.float32)])[0] == [
        VectorTokens(Token("#0"), ())
    ]
    assert documents.name_vectors([""], [np.empty((0, 2), np.float32)])[0] == []
