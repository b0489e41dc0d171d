"""The choice of links against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels.links import cpu, reference

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("alpha", [1.0, 1.25, 2.0])
def test_links_are_those_of_the_definition(alpha: float) -> None:
    values = RNG.integers(-3, 4, (50, 7)).astype(np.float32)  # sums are exact, and many distances equal
    ordinals, candidates = RNG.integers(0, 50, 300), RNG.integers(-1, 50, (300, 25)).astype(np.int32)
    want = reference.choose_links(values, ordinals, candidates, alpha, 6)
    for threads in (1, 2):
        assert np.array_equal(cpu.choose_links(values, ordinals, candidates, alpha, 6, threads), want)


def test_of_equal_vectors_one_is_chosen() -> None:
    values = np.zeros((6, 3), np.float32)
    values[4:] = [[1, 0, 0], [0, 1, 0]]
    everyone = np.arange(6, dtype=np.int32)[None]
    assert cpu.choose_links(values, np.array([0]), everyone, 1.2, 4).tolist() == [[1, 4, 5, -1]]
    assert cpu.choose_links(values, np.array([4]), everyone, 1.2, 4).tolist() == [[0, -1, -1, -1]]


def test_what_is_refused() -> None:
    values, one = np.zeros((3, 2), np.float32), np.zeros((1, 1), np.int32)
    for given, told in (
        ((values.astype(np.float64), np.array([0]), one, 1.0, 1), "values are"),
        ((values, np.array([0], np.int32), one, 1.0, 1), "ordinals are"),
        ((values, np.array([0, 1]), one, 1.0, 1), "candidates are"),
        ((values, np.array([0]), one, 1.0, 0), "most is 0"),
        ((values, np.array([3]), one, 1.0, 1), "of no vector"),
        ((values, np.array([0]), one + np.int32(3), 1.0, 1), "of no vector"),
    ):
        with pytest.raises(ValueError, match=told):
            cpu.choose_links(*given)  # type: ignore[arg-type]
