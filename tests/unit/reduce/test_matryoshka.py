"""Matryoshka cuts, and sets lengths where lengths were 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retrieval.reduce import LayerNormMatryoshka, Matryoshka
from tests.unit.reduce.spaces import vectors

UNIT, LONG = vectors(100, 48, 1, unit=True), vectors(100, 48, 1)


def test_normalised_vectors_are_normalised_again() -> None:
    reducer = Matryoshka.fit(UNIT, 20)
    assert reducer.state() == ({"input_dim": 48, "output_dim": 20, "normalise": True}, {})
    expected = UNIT[:, :20] / np.linalg.norm(UNIT[:, :20].astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(reducer.transform_documents(UNIT), expected, rtol=1e-6)
    np.testing.assert_allclose(reducer.transform_queries(UNIT * 5), expected, rtol=1e-6)


def test_lengths_that_mean_something_stay() -> None:
    reducer = Matryoshka.fit(LONG, 20)
    assert not reducer.normalise
    assert np.array_equal(reducer.transform_documents(LONG), LONG[:, :20])


def test_a_zero_vector_is_neither_a_reason_nor_a_trouble() -> None:
    sample = np.concatenate([UNIT, np.zeros((1, 48), np.float32)])
    reducer = Matryoshka.fit(sample, 20)
    assert reducer.normalise
    assert not reducer.transform_documents(sample)[-1].any()
    assert not Matryoshka.fit(np.zeros((3, 48), np.float32), 20).normalise
    ends = np.zeros((1, 48), np.float32)
    ends[0, -1] = 1  # of length 1, but nothing of it is left
    assert not reducer.transform_documents(ends).any()


@pytest.mark.parametrize(
    ("factor", "normalise"), [(1.005, True), (0.995, True), (1.02, False), (0.98, False)]
)
def test_one_vector_decides(factor: float, normalise: bool) -> None:
    sample = UNIT.copy()
    sample[17] *= factor
    assert Matryoshka.fit(sample, 20).normalise is normalise


def test_vectors_that_were_stored_as_bytes_are_still_normalised() -> None:
    sample = vectors(20_000, 48, 1, unit=True)
    step = (sample.max(axis=0) - sample.min(axis=0)) / 255
    stored = (np.round(sample / step) * step).astype(np.float32)
    assert Matryoshka.fit(stored, 20).normalise


@pytest.mark.parametrize("sample", [UNIT, LONG, 3 * UNIT + 1])
def test_layer_norm_is_that_of_the_models(sample: np.ndarray) -> None:
    reducer = LayerNormMatryoshka.fit(sample, 20)
    full = torch.from_numpy(sample)
    short = torch.nn.functional.layer_norm(full, normalized_shape=(48,))[:, :20]
    expected = torch.nn.functional.normalize(short, p=2, dim=1).numpy()
    np.testing.assert_allclose(reducer.transform_documents(sample), expected, atol=2e-6)
    np.testing.assert_allclose(reducer.transform_queries(sample), expected, atol=2e-6)
    assert not np.allclose(
        Matryoshka(48, 20, normalise=True).transform_documents(sample), expected, atol=1e-3
    )


def test_a_constant_vector_has_nothing_left_after_layer_norm() -> None:
    reducer = LayerNormMatryoshka.fit(UNIT, 20)
    assert not reducer.transform_documents(np.full((2, 48), 0.25, np.float32)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_not_finite_is_refused(bad: float) -> None:
    sample = LONG.copy()
    sample[3, 3] = bad
    with pytest.raises(ValueError, match="not finite"):
        Matryoshka.fit(sample, 20)


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e3]))
def test_results_have_length_one(dim: int, n: int, seed: int, scale: float) -> None:
    values = (np.random.default_rng(seed).standard_normal((n, dim)) * scale).astype(np.float32)
    for short in {1, (dim + 1) // 2, dim}:
        lengths = np.linalg.norm(Matryoshka(dim, short, normalise=True).transform_documents(values), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)
