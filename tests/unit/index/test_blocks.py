"""Blocks of one size out of blocks of any."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from retrieval.index.base import Block
from retrieval.index.blocks import in_blocks


@pytest.mark.parametrize("has_biases", [False, True])
@pytest.mark.parametrize("sizes", [[], [0], [1], [10], [3, 0, 4, 3], [1] * 10, [9, 1], [2, 33, 5]], ids=str)
@pytest.mark.parametrize("size", [1, 4, 10, 64])
def test_the_same_documents_in_order(sizes: list[int], size: int, has_biases: bool) -> None:
    n = sum(sizes)
    values = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    ends = np.cumsum([0, *sizes])
    pieces = [Block(values[a:b], values[a:b, 0] if has_biases else None) for a, b in itertools.pairwise(ends)]
    cut = list(in_blocks(iter(pieces), size, n, 2))
    assert [first for first, _ in cut] == list(range(0, n, size))
    assert [len(block.values) for _, block in cut[:-1]] == [size] * (len(cut) - 1)
    for first, block in cut:
        assert np.array_equal(block.values, values[first : first + size])
        assert (block.biases is not None) == has_biases
        if block.biases is not None:
            assert np.array_equal(block.biases, values[first : first + size, 0])


def test_biases_are_of_all_or_of_none() -> None:
    values = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="some have none"):
        list(in_blocks(iter([Block(values, None), Block(values, values[:, 0])]), 4, 6, 2))
