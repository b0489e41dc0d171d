"""Which centroids a document has and which documents a centroid has: both against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.kernels.postings import cpu, reference

TYPES = [np.uint16, np.uint32]


def problem(seed: int, n: int, n_centroids: int, longest: int, dtype: Any = np.uint16) -> tuple[Any, Any]:
    """Centroids of the tokens of ``n`` documents, some without tokens."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, longest + 1, n))]).astype(np.int64)
    return rng.integers(0, n_centroids, int(offsets[-1])).astype(dtype), offsets


@settings(max_examples=150)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0, 1, 2, 31, 32, 33, 127, 400]),
    st.sampled_from([1, 2, 7, 256, 65_536]),
    st.sampled_from([0, 1, 31, 32, 33, 97]),
    st.sampled_from(TYPES),
)
def test_equal_the_reference(seed: int, n: int, n_centroids: int, longest: int, dtype: Any) -> None:
    centroids, offsets = problem(seed, n, n_centroids, longest, dtype)
    before = centroids.copy()
    named, counts = cpu.distinct(centroids, offsets, n_centroids)
    expected_named, expected_counts = reference.distinct(centroids, offsets, n_centroids)
    np.testing.assert_array_equal(named, expected_named)
    np.testing.assert_array_equal(counts, expected_counts)
    assert (named.dtype, counts.dtype) == (np.dtype(dtype), np.dtype(np.int64))
    np.testing.assert_array_equal(centroids, before)  # sorting happens in the copy
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    for got, expected in zip(
        cpu.invert(named, starts, n_centroids), reference.invert(named, starts, n_centroids), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


@pytest.mark.parametrize("module", [cpu, reference])
def test_both_ways_tell_the_same_pairs(module: Any) -> None:
    """First principles: the set of (document, centroid), from the tokens and from either array."""
    n, n_centroids = 211, 37
    centroids, offsets = problem(5, n, n_centroids, 23)
    pairs = {(i, int(c)) for i in range(n) for c in centroids[offsets[i] : offsets[i + 1]]}
    named, counts = module.distinct(centroids, offsets, n_centroids)
    starts = np.concatenate([[0], np.cumsum(counts)])
    assert [(i, int(c)) for i in range(n) for c in named[starts[i] : starts[i + 1]]] == sorted(pairs)
    ends, postings = module.invert(named, starts, n_centroids)
    inverted = [(int(i), c) for c in range(n_centroids) for i in postings[ends[c] : ends[c + 1]]]
    assert inverted == sorted(pairs, key=lambda pair: (pair[1], pair[0]))


def test_one_token_many_times_is_named_once() -> None:
    centroids, offsets = np.full(1000, 3, np.uint16), np.array([0, 0, 999, 1000, 1000])
    named, counts = cpu.distinct(centroids, offsets, 4)
    np.testing.assert_array_equal(named, [3, 3])
    np.testing.assert_array_equal(counts, [0, 1, 1, 0])
    starts, postings = cpu.invert(named, np.array([0, 0, 1, 2, 2]), 4)
    np.testing.assert_array_equal(starts, [0, 0, 0, 0, 2])
    np.testing.assert_array_equal(postings, [1, 2])


def test_no_documents_and_no_tokens() -> None:
    none = np.empty(0, np.uint32)
    for offsets in ([0], [0, 0, 0]):
        named, counts = cpu.distinct(none, np.array(offsets), 5)
        assert (len(named), counts.tolist()) == (0, [0] * (len(offsets) - 1))
        starts, postings = cpu.invert(named, np.array(offsets), 5)
        assert (starts.tolist(), len(postings)) == ([0] * 6, 0)


def test_memory_that_was_given_is_not_kept_and_slices_are_taken() -> None:
    centroids, offsets = problem(2, 50, 9, 11)
    wide = np.repeat(centroids, 2)[::2]
    assert not wide.flags.c_contiguous
    got = cpu.distinct(wide, offsets, 9)
    for one, other in zip(got, reference.distinct(centroids, offsets, 9), strict=True):
        np.testing.assert_array_equal(one, other)
    assert got[0].base is None  # what was made for the longest case is given back


@pytest.mark.parametrize(
    ("centroids", "offsets", "told"),
    [
        (np.array([0, 5], np.uint16), [0, 1, 2], "document 1"),
        (np.array([0, 1], np.uint16), [0, 1, 3], "document 1"),
        (np.array([0, 1], np.uint16), [0, 2, 1], "document 1"),
        (np.array([0, 1], np.uint16), [-1, 1, 2], "document 0"),
        (np.array([0, 1], np.int64), [0, 1, 2], "uint16 or uint32"),
        (np.array([[0, 1]], np.uint16), [0, 1], "uint16 or uint32"),
        (np.array([0, 1], np.uint16), [], "offsets"),
    ],
)
def test_distinct_refuses(centroids: Any, offsets: list[int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        cpu.distinct(centroids, np.array(offsets, np.int64), 5)


@pytest.mark.parametrize(
    ("named", "starts", "told"),
    [
        (np.array([0, 5], np.uint16), [0, 1, 2], "centroid 5: there are 5"),
        (np.array([0, 1], np.uint16), [0, 1, 3], "starts do not cut 2"),
        (np.array([0, 1], np.uint16), [0, 1], "starts do not cut 2"),
        (np.array([0, 1], np.uint16), [1, 1, 2], "starts do not cut 2"),
        (np.array([0, 1], np.uint16), [0, 2, 1, 2], "starts do not cut 2"),
        (np.array([0.0, 1.0]), [0, 1, 2], "uint16 or uint32"),
        (np.array([0, 1], np.uint16), [0.0, 1.0, 2.0], "offsets"),
    ],
)
def test_invert_refuses(named: Any, starts: list[Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        cpu.invert(named, np.array(starts), 5)


def test_the_reference_refuses_centroids_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="centroid 5: there are 5"):
        reference.distinct(np.array([5], np.uint16), np.array([0, 1]), 5)
    with pytest.raises(ValueError, match="centroid 5: there are 5"):
        reference.invert(np.array([5], np.uint16), np.array([0, 1]), 5)
