"""Which part of a text to show, and which words of it to mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from retrieval.types import TokenMatch

__all__ = ["Passage", "Span", "best_passage", "in_context", "marked", "matched_words", "snippet", "strongest"]

STRONG = "bold black on yellow"
WEAK = "bold yellow"


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``start:end`` of a text and what they added to the score."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a text, with its words' spans counted from the piece's start, and whether the
    text goes on before and after it."""

    text: str
    spans: tuple[Span, ...]
    before: bool = False
    after: bool = False


def snippet(text: str, width: int) -> str:
    """The beginning of a text on one line, cut between words."""
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    cut = line.rfind(" ", 0, width)
    return line[: cut if cut > width // 2 else width - 1].rstrip() + "…"


def matched_words(text: str, matches: Sequence[TokenMatch]) -> list[Span]:
    """The whole words around the matched document tokens, in the order of the text.

    A word that several query tokens matched appears once, with the sum of their contributions; tokens that
    share a vector share what it contributed.
    """
    weights: dict[tuple[int, int], float] = {}
    for match in matches:
        places = _places(match)
        for start, end in places:
            word = _word(text, start, end)
            weights[word] = weights.get(word, 0.0) + match.contribution / len(places)
    return [Span(start, end, weight) for (start, end), weight in sorted(weights.items())]


def best_passage(text: str, spans: Sequence[Span], width: int) -> Passage:
    """The window of about ``width`` characters in which the marked words weigh most."""
    starts = [0, *(_word_start(text, max(0, span.start - width // 6)) for span in spans)]
    start = max(starts, key=lambda start: sum(s.weight for s in _inside(spans, start, start + width)))
    end = len(text)
    if start + width < end:
        end = max(text.rfind(" ", start, start + width), start + width // 2)
    shifted = (Span(s.start - start, s.end - start, s.weight) for s in _inside(spans, start, end))
    return Passage(text[start:end], tuple(shifted), start > 0, end < len(text))


def strongest(spans: Sequence[Span], count: int) -> list[Span]:
    """The ``count`` words that weigh most, in the order given; words of one or two letters are left out."""
    words = [span for span in spans if span.end - span.start > 2]
    kept = set(sorted(words, key=lambda span: -span.weight)[:count])
    return [span for span in words if span in kept]


def marked(text: str, spans: Sequence[Span], *, terminal: bool) -> Text:
    """The text with its matched words in colour, or in «quotes» where there is no colour."""
    most = max((span.weight for span in spans), default=0.0)
    result, position = Text(), 0
    for span in spans:
        if span.start < position:
            continue
        word = text[span.start : span.end]
        result.append(text[position : span.start])
        style = STRONG if span.weight >= most / 2 else WEAK
        result.append(word if terminal else f"«{word}»", style=style if terminal else None)
        position = span.end
    result.append(text[position:])
    return result


def in_context(text: str, start: int, end: int, around: int = 24) -> Text:
    """The characters ``start:end`` in bold between what stands before and after them, on one line."""
    left = " ".join(text[max(0, start - around) : start].split())
    right = " ".join(text[end : end + around].split())
    gap_left = " " if text[max(0, start - 1) : start].isspace() else ""
    gap_right = " " if text[end : end + 1].isspace() else ""
    return Text.assemble((left + gap_left, "dim"), (text[start:end], "bold"), (gap_right + right, "dim"))


def _places(match: TokenMatch) -> list[tuple[int, int]]:
    """Where the matched tokens stand in the text; nowhere for a marker."""
    tokens = match.document_tokens or ((match.document_token,) if match.document_token else ())
    return [(t.start, t.end) for t in tokens if t.start is not None and t.end is not None and t.start < t.end]


def _inside(spans: Sequence[Span], start: int, end: int) -> list[Span]:
    return [span for span in spans if start <= span.start and span.end <= end]


def _word(text: str, start: int, end: int) -> tuple[int, int]:
    while start > 0 and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum() and text[end - 1].isalnum():
        end += 1
    return start, end


def _word_start(text: str, position: int) -> int:
    while position > 0 and not text[position - 1].isspace():
        position -= 1
    return position
