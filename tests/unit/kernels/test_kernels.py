"""Every kernel against its reference, on awkward shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.kernels.maxsim import cpu as maxsim_cpu
from retrieval.kernels.maxsim import reference as maxsim_reference
from retrieval.kernels.topk import cpu as topk_cpu
from retrieval.kernels.topk import reference as topk_reference


def ragged(
    rng: np.random.Generator, lengths: list[int], dim: int, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return rng.standard_normal((int(offsets[-1]), dim)).astype(dtype), offsets


lengths = st.lists(st.integers(0, 7), max_size=12)


@given(
    st.integers(0, 2**32 - 1), lengths, lengths, st.integers(1, 33), st.sampled_from(["float32", "float64"])
)
@settings(max_examples=200)
def test_maxsim_equals_reference(
    seed: int, query_lengths: list[int], doclens: list[int], dim: int, dtype: str
) -> None:
    rng = np.random.default_rng(seed)
    queries, query_offsets = ragged(rng, query_lengths, dim, dtype)
    values, offsets = ragged(rng, doclens, dim, dtype)
    expected = maxsim_reference.maxsim_batch(queries, query_offsets, values, offsets)
    got = maxsim_cpu.maxsim_batch(queries, query_offsets, values, offsets)
    assert got.shape == expected.shape == (len(query_lengths), len(doclens))
    assert got.dtype == expected.dtype == np.dtype(dtype)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 if dtype == "float32" else 1e-10)


def test_maxsim_by_hand() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 1.0]])
    values = np.array([[3.0, 1.0], [2.0, 5.0], [-1.0, -2.0]])
    scores = maxsim_cpu.maxsim_batch(queries, np.array([0, 2]), values, np.array([0, 2, 2, 3]))
    assert scores.tolist() == [[3 + 5, 0, -1 - 2]]


@given(
    st.lists(st.sampled_from([-1.5, -1.0, 0.0, 0.25, 0.5, 2.0]), max_size=40),
    st.integers(1, 45),
    st.sampled_from([0.0, 0.3, 10.0]),
)
@settings(max_examples=300)
def test_select_equals_reference(scores: list[float], k: int, slack: float) -> None:
    array = np.array(scores, dtype=np.float32)
    assert topk_cpu.select(array, k, slack).tolist() == topk_reference.select(array, k, slack).tolist()


@pytest.mark.parametrize("select", [topk_cpu.select, topk_reference.select])
def test_select_keeps_every_tie_with_the_kth(select) -> None:  # type: ignore[no-untyped-def]
    scores = np.array([1, 3, 2, 2, 2, 0], dtype=np.float32)
    assert select(scores, 2, 0.0).tolist() == [1, 2, 3, 4]
    assert select(scores, 4, 0.0).tolist() == [1, 2, 3, 4]
    assert select(scores, 4, 1.0).tolist() == [0, 1, 2, 3, 4]
