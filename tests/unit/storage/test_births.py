"""Births as sorted keys."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval.storage.births import all_born_here, birth_keys, find_births

pairs = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**32 - 1))
few = st.tuples(st.integers(0, 3), st.integers(0, 5))


def as_array(births: list[tuple[int, int]]) -> np.ndarray:
    return np.array(births, dtype=np.int64).reshape(-1, 2)


@given(st.lists(pairs))
def test_keys_keep_order_and_can_be_taken_apart(births: list[tuple[int, int]]) -> None:
    keys = birth_keys(as_array(sorted(births)))
    assert (np.diff(keys) >= 0).all()
    assert [(int(key) >> 32, int(key) & 0xFFFFFFFF) for key in keys] == sorted(births)


def test_the_births_of_a_segment_of_its_own() -> None:
    assert all_born_here(3, 0).tolist() == []
    expected = birth_keys(as_array([(3, 0), (3, 1), (3, 2)]))
    np.testing.assert_array_equal(all_born_here(3, 3), expected)
    assert all_born_here(2**31 - 1, 2).dtype == np.int64


@given(st.sets(few), st.sets(few))
def test_births_are_found_where_they_are_and_nowhere_else(
    held: set[tuple[int, int]], wanted: set[tuple[int, int]]
) -> None:
    in_order = sorted(held)
    found = find_births(birth_keys(as_array(in_order)), birth_keys(as_array(sorted(wanted))))
    assert [in_order[ordinal] for ordinal in found] == sorted(held & wanted)
