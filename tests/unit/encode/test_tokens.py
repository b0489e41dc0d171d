import pytest

from retrieval.config import EncoderConfig
from retrieval.encode import TokenizingEncoder, load_encoder
from retrieval.types import Token
from tests.tiny_models import TEXTS
from tests.unit.encode.conftest import LATE


@pytest.mark.parametrize("lengths", [{}, {"query_length": 13, "document_length": 9}])
@pytest.mark.parametrize("name", LATE)
def test_one_token_for_each_vector_with_spans_of_the_text(checkpoint, name, lengths):
    encoder = load_encoder(EncoderConfig(name=str(checkpoint(name)), **lengths))
    assert isinstance(encoder, TokenizingEncoder)
    for text in [*TEXTS, "", "  padded [MASK] text  "]:
        for task in ("query", "document"):
            tokens = getattr(encoder, f"{task}_tokens")(text)
            vectors = getattr(encoder, f"encode_{task}")([text])
            assert len(tokens) == vectors.doclens[0]
            spans = [(t.start, t.end) for t in tokens if t.start is not None]
            assert [text[start:end] for start, end in spans] == [
                t.text for t in tokens if t.start is not None
            ]
            assert all(start < end for start, end in spans)
            assert spans == sorted(spans)


def test_tokens_outside_the_text_have_no_span(checkpoint):
    encoder = load_encoder(EncoderConfig(name=str(checkpoint("stanford")), query_length=7))
    assert encoder.query_tokens("Wings of") == [
        Token("[CLS]"),
        Token("[unused0]"),
        Token("Wing", 0, 4),
        Token("s", 4, 5),
        Token("of", 6, 8),
        Token("[SEP]"),
        Token("[MASK]"),
    ]


def test_the_prompt_is_not_part_of_the_text(checkpoint):
    encoder = load_encoder(str(checkpoint("native")))
    tokens = encoder.query_tokens("query the wing")
    assert tokens[:3] == [Token("[CLS]"), Token("query"), Token(":")]
    assert tokens[3:-1] == [Token("query", 0, 5), Token("the", 6, 9), Token("wing", 10, 14)]


def test_a_token_half_in_the_prompt_shows_its_half(checkpoint):
    encoder = load_encoder(EncoderConfig(name=str(checkpoint("native")), query_prompt="wi"))
    assert encoder.query_tokens("ng flow")[1:-1] == [Token("ng", 0, 2), Token("flow", 3, 7)]


def test_skipped_tokens_are_left_out(checkpoint):
    encoder = load_encoder(str(checkpoint("skips")))
    assert [t.text for t in encoder.document_tokens("the wing, the heat!")] == [
        "[CLS]",
        "wing",
        "heat",
        "[SEP]",
    ]


def test_minimum_expansion_widens_a_short_query(checkpoint):
    tokens = load_encoder(str(checkpoint("min"))).query_tokens("a")
    assert tokens == [Token("[CLS]"), Token("a", 0, 1), Token("[SEP]"), *[Token("[MASK]")] * 7]
