"""What counts as a term."""

from __future__ import annotations

import sys

import pytest

from retrieval.errors import ConfigError, MissingExtraError
from retrieval.hybrid.analysis import Vocabulary, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  \n", []),
        ("a I x", []),
        ("The wing's LIFT, at 3.75 m/s; x_1 b2b", ["the", "wing", "lift", "at", "75", "x_1", "b2b"]),
        ("Cafe\u0301 CAFÉ", ["café", "café"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("东京大学 GPU显卡x", ["东京", "京大", "大学", "gpu", "显卡"]),
        ("好 a", ["好"]),
        ("ภาษา", ["ภา", "าษ", "ษา"]),
        ("한국어 말", ["한국어"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_numbers_are_shared_by_words_of_one_stem() -> None:
    pytest.importorskip("Stemmer")
    vocabulary = Vocabulary("english")
    assert vocabulary.learn("Flying wings, and the wing that flies") == [0, 1, 1, 0]
    assert vocabulary.learn("a tail wing") == [2, 1]
    assert len(vocabulary) == 3
    # Never met as written; its stem was.
    assert vocabulary.find("winged tails and engines") == [1, 2]
    assert len(vocabulary) == 3


def test_without_a_language_words_are_compared_as_written() -> None:
    vocabulary = Vocabulary("none")
    assert vocabulary.learn("the Wings the wing") == [0, 1, 0, 2]
    assert vocabulary.find("WINGS winged") == [1]


def test_an_unknown_language_lists_those_there_are() -> None:
    pytest.importorskip("Stemmer")
    with pytest.raises(ConfigError, match=r"language='klingon' is not known; there are: none, .*english"):
        Vocabulary("klingon")


def test_a_missing_stemmer_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Stemmer", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'retrieval-engine\[hybrid\]'"):
        Vocabulary("english")
    assert len(Vocabulary("none")) == 0
