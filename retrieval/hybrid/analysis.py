"""From a text to the terms that BM25 counts.

Words are runs of at least two letters, digits or underscores, in lower case; scripts that put no blanks
between words (Chinese, Japanese, Thai) give their overlapping pairs of characters instead. A language adds
stemming by Snowball, and English leaves out 33 stop words, as Lucene's analyser does.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, MissingExtraError

__all__ = ["PLAIN", "Vocabulary", "words_of"]

ANALYSIS = 1
"""Raised when the same text gets other terms: counts that were kept are then made again."""
PLAIN = "none"
"""The language of which nothing is known: no stemming, no stop words."""
ENGLISH_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there "
    "these they this to was will with"
)
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
"""Thai, Lao, Burmese, Khmer; Han and Kana."""
MARKS_END = 0x1F000
"""Beyond the last script that has vowel signs."""
STOPPED = -1
"""The number of a word that is not counted."""


class Vocabulary:
    """The number of each term met so far, ``0 .. len - 1``. Safe to share between threads.

    ``language`` is a name that Snowball knows (``english``), or ``none``.

    Raises:
        ConfigError: Snowball does not know it; the message lists those it does.
        MissingExtraError: it is not ``none``, and the extra ``hybrid`` is not installed.
    """

    def __init__(self, language: str) -> None:
        self._stem, self.language = _stemmer(language), language
        self._terms: dict[str, int] = {}
        # Of words as written: nearly every one has been stemmed before.
        self._words: dict[str, int] = dict.fromkeys(_stop_words(language), STOPPED)
        self._growing = threading.Lock()

    def __len__(self) -> int:
        return len(self._terms)

    @property
    def version(self) -> str:
        """All that decides which terms a text has, with the tables of others that this goes by."""
        stemmer = "" if self.language == PLAIN else version("PyStemmer")
        return f"{ANALYSIS} {self.language} {stemmer} {unicodedata.unidata_version}"

    def learn(self, text: str) -> list[int]:
        """Numbers of a text's terms in their order; terms that are new get the next ones."""
        with self._growing:
            numbers = [self._number(word) for word in words_of(text)]
        return [number for number in numbers if number != STOPPED]

    def learn_terms(self, terms: Sequence[str]) -> NDArray[np.int32]:
        """Numbers of terms (`terms` of a vocabulary like this one); those that are new get the next ones."""
        with self._growing:
            numbers = [self._terms.setdefault(term, len(self._terms)) for term in terms]
        return np.array(numbers, dtype=np.int32)

    def terms(self) -> list[str]:
        """All terms, by their numbers."""
        with self._growing:
            return list(self._terms)

    def find(self, text: str) -> list[int]:
        """Numbers of a text's terms in their order, without those never met."""
        with self._growing:  # a stemmer serves one thread
            numbers = [self._known(word) for word in words_of(text)]
        return [number for number in numbers if number != STOPPED]

    def _number(self, word: str) -> int:
        number = self._words.get(word)
        if number is None:
            number = self._words[word] = self._terms.setdefault(self._stem(word), len(self._terms))
        return number

    def _known(self, word: str) -> int:
        number = self._words.get(word)
        return self._terms.get(self._stem(word), STOPPED) if number is None else number


def words_of(text: str) -> list[str]:
    """The words of a text in their order, before stop words are left out and stems taken."""
    found: list[str] = []
    for run in _pattern().findall(unicodedata.normalize("NFC", text).lower()):
        if run.isascii() or not UNSPACED.search(run):
            found.append(run)
        else:
            found += _pairs(run)
    return found


def _pairs(run: str) -> list[str]:
    """A run with letters of an unspaced script: those by overlapping pairs, others as words."""
    found, end = [], 0
    for match in UNSPACED.finditer(run):
        found += [run[end : match.start()]]
        part, end = match.group(), match.end()
        found += [part[i : i + 2] for i in range(max(1, len(part) - 1))]
    return [word for word in [*found, run[end:]] if len(word) > 1 or UNSPACED.match(word)]


@cache
def _pattern() -> re.Pattern[str]:
    """Two letters or more. A vowel sign (Hindi, Thai) is no letter to `re`, and must not end a word."""
    marks = (chr(i) for i in range(0x300, MARKS_END) if unicodedata.category(chr(i)) in ("Mn", "Mc"))
    unspaced = UNSPACED.pattern.removesuffix("+")
    return re.compile(rf"[\w{''.join(marks)}]{{2,}}|{unspaced}")


def _stop_words(language: str) -> frozenset[str]:
    return frozenset(ENGLISH_STOP_WORDS.split()) if language in ("english", "porter") else frozenset()


def _stemmer(language: str) -> Callable[[str], str]:
    if language == PLAIN:
        return str
    try:
        import Stemmer
    except ImportError:
        raise MissingExtraError(f"BM25 with language={language!r} (stemming)", "hybrid") from None
    if language not in Stemmer.algorithms():
        known = ", ".join([PLAIN, *Stemmer.algorithms()])
        raise ConfigError(f"language={language!r} is not known; there are: {known}")
    stem: Callable[[str], str] = Stemmer.Stemmer(language).stemWord
    return stem
