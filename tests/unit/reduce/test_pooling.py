"""Token pooling: means of groups, the same for a document wherever it comes, and texts that ask for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from retrieval.errors import ConfigError
from retrieval.reduce.pooling import TokenPooling, drop_widespread, pool, pooling_of
from retrieval.reduce.pooling_kinds import DropPooling, FixedPooling, NormPooling, WardPooling, WordPooling
from retrieval.types import FloatArray, IntArray, Ragged, Token
from tests.unit.reduce.spaces import vectors

SPECS = (
    *("ward:2", "ward:3", "ward:1.5", "ward:8", "fixed:1", "fixed:7", "words", "norm:0.5", "norm:0.01"),
    'drop:["AB","other"]',
)


def some_tokens(n: int) -> list[Token]:
    """Words of one, two and three tokens, after a token that is not in the text."""
    tokens, at = [Token("[CLS]")], 0
    for i in range(n):
        at += i % 6 in (1, 3)
        tokens.append(Token("ab", at, at + 2))
        at += 2
    return tokens[:n]


def some_documents(lengths: Sequence[int], dim: int, seed: int, unit: bool = True) -> Ragged:
    arrays = [
        vectors(n, dim, seed + i, unit=unit) if n else np.empty((0, dim)) for i, n in enumerate(lengths)
    ]
    return Ragged.from_list([np.asarray(array, np.float32) for array in arrays], dim)


def asked(spec: str) -> TokenPooling:
    pooling = pooling_of(spec)
    assert pooling is not None
    return pooling


class Given:
    """A pooling with these groups."""

    name = "given"
    needs_tokens = False

    def __init__(self, groups: list[int]) -> None:
        self.fixed = np.array(groups, np.int64)

    def groups(self, values: FloatArray, tokens: Sequence[Token] | None = None) -> IntArray:
        return self.fixed[: len(values)]


def test_texts_ask_for_poolings() -> None:
    assert pooling_of("none") is None
    assert pooling_of("ward:2") == WardPooling(2.0)
    assert pooling_of("ward:2.5") == WardPooling(2.5)
    assert pooling_of("ward:8") == WardPooling(8.0)
    assert pooling_of("fixed:32") == FixedPooling(32)
    assert pooling_of("words") == WordPooling()
    assert pooling_of("norm:0.5") == NormPooling(0.5)
    assert pooling_of('drop:["the",",","Of"]') == DropPooling(frozenset({"the", ",", "of"}))


@pytest.mark.parametrize(
    "spec",
    [
        *("", "ward", "ward:", "ward:1", "ward:8.5", "ward:0", "ward:-2", "ward:nan", "ward:1e1", "ward:2:3"),
        *(
            "ward: 2",
            "ward:2 ",
            "ward:٣",
            "ward:2\n",
            "WARD:2",
            "fixed",
            "fixed:0",
            "fixed:1.5",
            "fixed:65537",
        ),
        *("words:2", "none:1", "norm", "norm:0", "norm:1", "norm:1.5", "mean", "ward:2+words"),
        *("drop", "drop:", "drop:the", "drop:[]", "drop:[1]", 'drop:"the"', 'drop:[""]', 'drop:["the"'),
    ],
)
def test_other_texts_are_refused_with_what_to_write(spec: str) -> None:
    with pytest.raises(ConfigError) as error:
        pooling_of(spec)
    assert repr(spec) in str(error.value)
    for word in ("none", "ward:2", "fixed:32", "words", "norm:0.5", 'drop:["the","of"]'):
        assert word in str(error.value)


@settings(max_examples=60)
@given(
    st.sampled_from(SPECS),
    st.lists(st.sampled_from([0, 1, 2, 3, 5, 31, 32, 33, 67]), max_size=5),
    st.integers(1, 9),
    st.integers(0, 1000),
    st.booleans(),
)
def test_a_pooled_document_is_made_of_means_of_its_groups(
    spec: str, lengths: list[int], dim: int, seed: int, normalise: bool
) -> None:
    documents, pooling = some_documents(lengths, dim, seed, unit=seed % 2 == 0), asked(spec)
    pooled = pool(documents, pooling, lambda i: some_tokens(lengths[i]), normalise)
    assert len(pooled) == len(documents)
    assert pooled.values.dtype == np.float32
    assert pooled.offsets.dtype == np.int64
    for i in range(len(documents)):
        values = documents[i].astype(np.float64)
        groups = pooling.groups(documents[i], some_tokens(lengths[i]))
        assert groups.shape == (len(values),)
        assert groups.dtype == np.int64
        kept = groups[groups >= 0]
        assert set(groups.tolist()) <= {-1, *range(len(pooled[i]))}
        assert list(dict.fromkeys(kept.tolist())) == list(range(len(pooled[i])))  # by first appearance
        assert len(pooled[i]) >= min(1, len(values))
        for group, got in enumerate(pooled[i]):
            expected = sum(values[groups == group]) / np.count_nonzero(groups == group)
            if normalise and np.linalg.norm(expected) > 1e-3:
                expected /= np.linalg.norm(expected)
            elif normalise:
                continue  # of what nearly cancels rounding decides the direction
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("spec", SPECS)
def test_neither_batches_nor_threads_nor_memory_matter(spec: str) -> None:
    lengths = [1, 33, 0, 131, 2, 131, 64]
    documents, pooling = some_documents(lengths, 48, 7), asked(spec)
    # Equal vectors make equal distances, where the smallest difference in rounding would show.
    documents.values[documents.offsets[3] + 50 : documents.offsets[3] + 100] = documents.values[
        documents.offsets[3] : documents.offsets[3] + 50
    ]
    with threadpool_limits(1):
        whole = pool(documents, pooling, lambda i: some_tokens(lengths[i]), True)
    for i, n in enumerate(lengths):
        shifted = np.full(documents[i].size + 3, np.nan, np.float32)
        shifted[3:] = documents[i].reshape(-1)
        alone = Ragged(shifted[3:].reshape(documents[i].shape), np.array([0, n]))
        with threadpool_limits(2):
            np.testing.assert_array_equal(
                pool(alone, pooling, lambda _: some_tokens(n), True)[0],  # noqa: B023
                whole[i],
            )


def test_groups_come_in_the_order_of_their_first_tokens_and_dropped_tokens_do_not_count() -> None:
    values = np.array([[4, 0], [0, 2], [9, 9], [0, 4], [2, 0]], np.float32)
    documents = Ragged(values, np.array([0, 5]))
    given = Given([0, 1, -1, 1, 0])
    np.testing.assert_array_equal(pool(documents, given, None, False).values, [[3, 0], [0, 3]])
    np.testing.assert_array_equal(pool(documents, given, None, True).values, [[1, 0], [0, 1]])


def test_means_are_made_in_double_precision() -> None:
    values = np.array([[1e8], [1], [-1e8], [1]], np.float32)
    pooled = pool(Ragged(values, np.array([0, 4])), Given([0, 0, 0, 0]), None, False)
    np.testing.assert_array_equal(pooled.values, [[0.5]])


def test_what_cancels_becomes_zero_not_nan() -> None:
    values = np.array([[1, 0], [-1, 0]], np.float32)
    pooled = pool(Ragged(values, np.array([0, 2])), Given([0, 0]), None, True)
    np.testing.assert_array_equal(pooled.values, [[0, 0]])


def test_no_documents() -> None:
    pooled = pool(Ragged(np.empty((0, 5), np.float32), np.zeros(1, np.int64)), WardPooling(2), None, True)
    assert pooled.values.shape == (0, 5)
    assert len(pooled) == 0


def test_words_need_tokens_and_the_others_do_not_ask_for_them() -> None:
    documents = some_documents([4, 3], 8, 1)
    with pytest.raises(ConfigError, match="ward:2"):
        pool(documents, WordPooling(), None, True)

    def never(i: int) -> list[Token]:
        raise AssertionError(i)

    for spec in ("ward:2", "fixed:2", "norm:0.5"):
        assert not asked(spec).needs_tokens
        pool(documents, asked(spec), never, True)


def test_the_documents_are_left_as_they_were() -> None:
    documents = some_documents([40], 8, 3, unit=False)
    before = documents.values.copy()
    for spec in SPECS:
        pool(documents, asked(spec), lambda _: some_tokens(40), True)
    np.testing.assert_array_equal(documents.values, before)


def sentence(text: str) -> list[Token]:
    return [Token("[CLS]"), *(Token(word, i, i + 1) for i, word in enumerate(text.split()))]


def test_tokens_of_the_lowest_idf_are_dropped_by_a_text_that_is_kept() -> None:
    sample = [
        sentence(text) for text in ("The lift of a wing", "the drag , the", "A wing of the jet", "x , y")
    ]
    # 17 tokens; in 3 documents: the (4 times); in 2: "," (2), a (2), of (2), wing (2).
    assert drop_widespread(sample, 0.25) == 'drop:["the"]'
    spec = drop_widespread(sample, 0.5)
    assert spec == drop_widespread(sample[::-1], 0.5) == 'drop:["the",",","a"]'
    pooling = asked(spec)
    assert pooling.groups(np.ones((6, 2)), sample[0]).tolist() == [0, -1, 1, 2, -1, 3]
    assert pooling.groups(np.ones((2, 2)), sentence("the a")[1:]).tolist() == [0, 1]
    with pytest.raises(ValueError, match="2 tokens are named for 1 vectors"):
        pooling.groups(np.ones((1, 2)), sentence("the"))
    for share, told in ((0.0, "between 0 and 1"), (1.0, "between 0 and 1"), (0.01, "larger share")):
        with pytest.raises(ConfigError, match=told):
            drop_widespread(sample, share)
