"""MaxSim on a device equals its reference."""

from __future__ import annotations

import numpy as np
import pytest
from numba import cuda

from retrieval.kernels.maxsim import cuda as device
from retrieval.kernels.maxsim import reference

LENGTHS = [3, 0, 33, 1]
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])


def vectors(n_q: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n_q)
    return rng.standard_normal((n_q, d), dtype=np.float32), rng.standard_normal(
        (OFFSETS[-1], d), dtype=np.float32
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("n_q", "d"), [(2, 5), (33, 35)])
def test_floats_equal_the_reference(dtype: str, n_q: int, d: int) -> None:
    query, values = vectors(n_q, d)
    values = values.astype(dtype)
    expected = reference.maxsim(query, values, OFFSETS)
    np.testing.assert_allclose(device.maxsim(query, values, OFFSETS), expected, rtol=1e-4, atol=1e-4)


def test_octets_equal_the_reference() -> None:
    rng = np.random.default_rng(0)
    query = rng.choice(np.array([-128, -1, 0, 127], np.int8), (3, 34))
    values = rng.choice(np.array([0, 1, 128, 255], np.uint8), (OFFSETS[-1], 34))
    ordinals = np.array([3, 1, 0, 3])
    expected = reference.maxsim_i8(query, values, OFFSETS, ordinals)
    np.testing.assert_array_equal(device.maxsim_i8(query, values, OFFSETS, ordinals), expected)


def test_values_may_lie_on_the_device() -> None:
    query, values = vectors(2, 5)
    expected = reference.maxsim(query, values, OFFSETS, np.array([2]))
    got = device.maxsim(query, cuda.to_device(values), OFFSETS, np.array([2]))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_nan_is_not_lost() -> None:
    query, values = vectors(2, 5)
    values[1, 2] = np.nan
    np.testing.assert_array_equal(
        np.isnan(device.maxsim(query, values, OFFSETS)), [True, False, False, False]
    )


def test_no_documents_and_no_tokens() -> None:
    query, values = vectors(2, 5)
    assert device.maxsim(query, values, np.array([0])).shape == (0,)
    assert device.maxsim(query, values[:0], np.array([0, 0])).tolist() == [0]
    with pytest.raises(ValueError, match="offsets"):
        device.maxsim(query, values, np.array([0, 1000]))
