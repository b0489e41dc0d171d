"""Which tokens share a vector: clusters are scipy's, words are the text's, long vectors stay."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

from retrieval.reduce import pooling_kinds
from retrieval.reduce.pooling import pool
from retrieval.reduce.pooling_kinds import FixedPooling, NormPooling, WardPooling, WordPooling
from retrieval.types import FloatArray, Ragged, Token
from tests.unit.reduce.spaces import vectors


def partition(labels: Any) -> set[frozenset[int]]:
    labels = np.asarray(labels)
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def by_scipy(values: FloatArray, n_groups: int) -> set[frozenset[int]]:
    """Each distance for itself, without the grid."""
    unit = values.astype(np.float64) / np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    pairs = [1 - math.fsum(a * b) for a, b in itertools.combinations(unit, 2)]
    return partition(fcluster(linkage(np.array(pairs), "ward"), n_groups, "maxclust"))


def by_hand(values: FloatArray, n_groups: int) -> set[frozenset[int]]:
    """Ward from its definition: merge the two nearest clusters until so many are left.

    The squared distance of A and B is 2 |A| |B| / (|A| + |B|) times that of their centres, which is the mean
    squared distance across, less half the mean inside A and half the mean inside B.
    """
    unit = values.astype(np.float64) / np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    squared = (1 - unit @ unit.T) ** 2
    np.fill_diagonal(squared, 0)
    clusters = [[i] for i in range(len(values))]

    def distance(one: list[int], other: list[int]) -> float:
        across = squared[np.ix_(one, other)].mean()
        inside = (squared[np.ix_(one, one)].mean() + squared[np.ix_(other, other)].mean()) / 2
        return float(2 * len(one) * len(other) / (len(one) + len(other)) * (across - inside))

    while len(clusters) > n_groups:
        one, other = min(itertools.combinations(clusters, 2), key=lambda pair: distance(*pair))
        clusters = [c for c in clusters if c is not one and c is not other] + [one + other]
    return {frozenset(cluster) for cluster in clusters}


@settings(max_examples=60, derandomize=True)  # nearly equal distances are a coin's toss
@given(st.integers(2, 67), st.integers(2, 24), st.integers(0, 10**6), st.sampled_from([1.5, 2, 2.2, 3, 8]))
def test_ward_is_scipys(n: int, dim: int, seed: int, factor: float) -> None:
    values = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    groups = WardPooling(factor).groups(values)
    wanted = max(1, math.ceil(n / factor))
    assert len(set(groups.tolist())) == wanted
    if dim > 2:  # on a circle many distances are as good as equal
        assert partition(groups) == by_scipy(values, wanted)


@pytest.mark.parametrize("n", [2, 3, 13, 31])
def test_ward_is_the_definition(n: int) -> None:
    values = vectors(n, 12, seed=n, unit=True)
    for n_groups in {1, 2, n // 3 + 1, n - 1}:
        assert partition(FixedPooling(n_groups).groups(values)) == by_hand(values, n_groups)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 64, 238])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_ward_is_the_librarys(n: int, factor: int) -> None:
    """It rounds the number of clusters down where we round it up."""
    values = vectors(n, 32, seed=n, unit=True)
    library = HierarchicalTokenPooling(factor, num_protected_tokens=0)
    theirs = library.pool_one(torch.from_numpy(values)).numpy()
    ours = pool(Ragged.from_list([values], 32), FixedPooling(max(1, n // factor)), None, True).values
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)], atol=2e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 31, 32, 33])
@pytest.mark.parametrize("limit", [1, 2, 32, 65536])
def test_fixed_never_gives_more_than_its_limit(n: int, limit: int) -> None:
    groups = FixedPooling(limit).groups(vectors(n, 8, seed=1) if n else np.empty((0, 8), np.float32))
    assert len(set(groups.tolist())) == min(n, limit)
    if n <= limit:
        np.testing.assert_array_equal(groups, np.arange(n))


def test_lengths_of_vectors_do_not_matter_to_clusters() -> None:
    values = vectors(50, 16, seed=5, unit=True)
    longer = values * np.random.default_rng(1).choice([0.25, 1, 64], 50).astype(np.float32)[:, None]
    np.testing.assert_array_equal(WardPooling(2).groups(values), WardPooling(2).groups(longer))


@pytest.mark.parametrize("n", [2, 3, 32, 33])
def test_equal_tokens_become_one(n: int) -> None:
    values = np.repeat(vectors(1, 96, seed=3, unit=True), n, axis=0)
    np.testing.assert_array_equal(WardPooling(2).groups(values), np.zeros(n))


def test_repeated_vectors_are_merged_before_anything_else() -> None:
    some = vectors(40, 96, seed=9, unit=True)
    order = np.random.default_rng(2).permutation(np.tile(np.arange(40), 3))
    groups = WardPooling(3).groups(some[order])
    assert partition(groups) == partition(order)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_zero_vectors_are_clustered_without_a_warning(n: int) -> None:
    groups = WardPooling(2).groups(np.zeros((n, 4), np.float32))
    assert groups.shape == (n,)
    assert groups[0] == 0


def test_values_that_are_not_finite_are_refused() -> None:
    values = vectors(10, 4, seed=1)
    values[3, 2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        WardPooling(2).groups(values)


def test_long_documents_are_clustered_in_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling_kinds, "LONGEST", 20)
    values = vectors(59, 8, seed=11, unit=True)  # spans of 19, 20 and 20
    groups = FixedPooling(31).groups(values)
    shares = [10, 10, 11]
    expected = set()
    for first, last, share in zip((0, 19, 39), (19, 39, 59), shares, strict=True):
        expected |= {frozenset(i + first for i in one) for one in by_scipy(values[first:last], share)}
    assert partition(groups) == expected
    firsts = [int(np.flatnonzero(groups == group)[0]) for group in range(31)]
    assert firsts == sorted(firsts)
    for limit in (1, 2, 3):
        assert len(set(FixedPooling(limit).groups(values).tolist())) == limit


def words(*tokens: Token) -> list[int]:
    found: list[int] = WordPooling().groups(np.zeros((len(tokens), 2), np.float32), tokens).tolist()
    return found


def test_tokens_that_touch_are_a_word() -> None:
    # "embeddings are fun", with a marker before and one inside
    assert words(
        Token("[D]"),
        Token("em", 0, 2),
        Token("bed", 2, 5),
        Token("dings", 5, 10),
        Token("are", 11, 14),
        Token("[X]"),
        Token("fun", 15, 18),
        Token("[SEP]"),
    ) == [0, 1, 1, 1, 2, 3, 4, 5]


def test_tokens_without_spans_stay_alone_and_nothing_touches_over_them() -> None:
    assert words(Token("a"), Token("b"), Token("c", 0, 1), Token("d"), Token("e", 1, 2)) == [0, 1, 2, 3, 4]
    assert words() == []
    assert words(Token("a", 0, 1)) == [0]


def test_tokens_that_overlap_or_lie_apart_are_words_of_their_own() -> None:
    assert words(Token("ab", 0, 2), Token("bc", 1, 3), Token("d", 4, 5)) == [0, 1, 2]


def test_ideographs_are_words_of_their_own_and_letters_with_marks_are_not() -> None:
    assert words(Token("検", 0, 1), Token("索", 1, 2), Token("の", 2, 3), Token("GPU", 3, 6)) == [0, 1, 2, 3]
    assert words(Token("हि", 0, 2), Token("न्दी", 2, 6)) == [0, 0]


@pytest.mark.parametrize("tokens", [None, [], [Token("a", 0, 1)]])
def test_words_need_a_token_for_each_vector(tokens: list[Token] | None) -> None:
    with pytest.raises(ValueError, match="for 2 vectors"):
        WordPooling().groups(np.zeros((2, 3), np.float32), tokens)


def test_the_longest_vectors_stay() -> None:
    lengths = np.array([3, 1, 5, 2, 4], np.float32)
    values = lengths[:, None] * np.array([[0.6, -0.8]], np.float32)
    assert NormPooling(0.5).groups(values).tolist() == [0, -1, 1, -1, 2]  # 3 of 5
    assert NormPooling(0.4).groups(values).tolist() == [-1, -1, 0, -1, 1]
    assert NormPooling(0.001).groups(values).tolist() == [-1, -1, 0, -1, -1]
    assert NormPooling(0.5).groups(values[:1]).tolist() == [0]
    assert NormPooling(0.5).groups(values[:0]).tolist() == []


def test_equally_long_vectors_stay_together() -> None:
    values = np.array([[2], [1], [0.995], [0.98], [1], [0.5]], np.float32)
    assert NormPooling(0.3).groups(values).tolist() == [0, 1, 2, -1, 3, -1]
    rounded = vectors(33, 384, seed=4, unit=True)
    assert NormPooling(0.5).groups(rounded).tolist() == list(range(33))
    assert NormPooling(0.5).groups(np.zeros((3, 2), np.float32)).tolist() == [0, 1, 2]
