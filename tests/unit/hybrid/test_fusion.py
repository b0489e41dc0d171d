"""Fusion against numbers worked out by hand."""

from __future__ import annotations

import pytest

from retrieval.hybrid import Fusion, fuse

LEFT = {"a": 9.0, "b": 5.0, "c": 1.0}
RIGHT = {"d": 0.4, "b": 0.2}


def test_reciprocal_ranks_add_up() -> None:
    fused = fuse([LEFT, RIGHT], [1, 1], "rrf")
    assert fused == [
        ("b", pytest.approx(1 / 62 + 1 / 62)),
        ("a", pytest.approx(1 / 61)),
        ("d", pytest.approx(1 / 61)),
        ("c", pytest.approx(1 / 63)),
    ]
    assert [i for i, _ in fuse([LEFT, RIGHT], [1, 3], "rrf")] == ["b", "d", "a", "c"]


def test_minmax_carries_the_ends_to_0_and_1() -> None:
    fused = dict(fuse([LEFT, RIGHT], [2, 1], "minmax"))
    assert fused == {"a": 2.0, "b": pytest.approx(1.0), "d": 1.0, "c": 0.0}


def test_zscore_takes_what_is_missing_for_the_worst() -> None:
    fused = dict(fuse([LEFT, RIGHT], [1, 1], "zscore"))
    unit = (32 / 3) ** 0.5  # the standard deviation of 9, 5, 1
    assert fused == {
        "a": pytest.approx(4 / unit - 1),
        "b": pytest.approx(-1),
        "c": pytest.approx(-4 / unit - 1),
        "d": pytest.approx(1 - 4 / unit),
    }


@pytest.mark.parametrize(("how", "each"), [("minmax", 1.0), ("zscore", 0.0)])
def test_equal_scores_tell_nothing(how: Fusion, each: float) -> None:
    assert fuse([{"z": 3.0, "y": 3.0}, {}], [1, 1], how) == [("y", each), ("z", each)]


@pytest.mark.parametrize("how", ["rrf", "minmax", "zscore"])
def test_nothing_and_one(how: Fusion) -> None:
    assert fuse([{}, {}], [1, 1], how) == []
    assert [i for i, _ in fuse([{}, {"a": 0.5}], [1, 1], how)] == ["a"]


def test_a_weight_of_0_only_lets_documents_in() -> None:
    fused = fuse([LEFT, RIGHT], [0, 1], "rrf")
    assert fused == [("d", 1 / 61), ("b", 1 / 62), ("a", 0.0), ("c", 0.0)]
