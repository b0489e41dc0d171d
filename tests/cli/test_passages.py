"""Which words are marked and which part of a text is shown."""

from __future__ import annotations

from index_tools.passages import (
    Passage,
    Span,
    best_passage,
    in_context,
    marked,
    matched_words,
    snippet,
    strongest,
)
from retrieval.types import Token, TokenMatch


def match(start: int | None, end: int | None, contribution: float) -> TokenMatch:
    return TokenMatch(Token("q"), Token("t", start, end), 0, contribution, contribution)


def test_snippet_cuts_between_words() -> None:
    assert snippet("one  two\nthree", 80) == "one two three"
    assert snippet("alpha beta gamma", 12) == "alpha beta…"
    assert len(snippet("x" * 50, 10)) == 10


def test_word_pieces_become_words_and_add_up() -> None:
    text = "compressing bytes, quickly"
    spans = matched_words(
        text, [match(0, 8, 0.5), match(8, 11, 0.25), match(17, 18, 0.1), match(None, None, 9.0)]
    )
    assert spans == [Span(0, 11, 0.75), Span(17, 18, 0.1)]


def test_tokens_that_share_a_vector_share_what_it_added() -> None:
    text = "cells divide, a cell divides"
    shared = (Token("cells", 0, 5), Token("[D]"), Token("cell", 16, 20))
    pooled = TokenMatch(Token("q"), Token("cells … [D] … cell"), 0, 1.0, 1.0, shared)
    assert matched_words(text, [pooled, match(16, 20, 0.25)]) == [Span(0, 5, 0.5), Span(16, 20, 0.75)]


def test_marks_without_a_terminal() -> None:
    text = "wait for a thread"
    assert marked(text, [Span(0, 4, 1.0), Span(11, 17, 0.1)], terminal=False).plain == "«wait» for a «thread»"


def test_colours_on_a_terminal() -> None:
    text = marked("wait for a thread", [Span(0, 4, 1.0), Span(11, 17, 0.1)], terminal=True)
    assert text.plain == "wait for a thread"
    assert [(span.start, span.end) for span in text.spans] == [(0, 4), (11, 17)]
    assert text.spans[0].style != text.spans[1].style


def test_strongest_words_in_the_text_s_order() -> None:
    spans = [Span(0, 5, 0.2), Span(6, 8, 0.9), Span(9, 14, 0.1), Span(15, 20, 0.8)]
    assert strongest(spans, 2) == [Span(0, 5, 0.2), Span(15, 20, 0.8)]


def test_best_passage_is_where_the_weight_is() -> None:
    text = "filler " * 50 + "the needle is here " + "filler " * 50
    start = text.index("needle")
    passage = best_passage(text, [Span(0, 6, 0.1), Span(start, start + 6, 1.0)], 60)
    assert len(passage.text) <= 60
    assert (passage.before, passage.after) == (True, True)
    [span] = passage.spans
    assert passage.text[span.start : span.end] == "needle"


def test_best_passage_without_matches_is_the_beginning() -> None:
    assert best_passage("one two three four", (), 11).text == "one two"
    assert best_passage("short", (), 40) == Passage("short", ())


def test_context_is_one_line() -> None:
    shown = in_context("first line\nsecond word here", 18, 22)
    assert shown.plain == "first line second word here"
