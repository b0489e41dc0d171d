"""Random rotations: the inverse of their inverse, orthonormal, and Gaussian whatever comes in."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from retrieval.kernels import host
from retrieval.kernels.rotate import cpu, portable, reference

DIMS = [
    1,
    2,
    3,
    5,
    15,
    16,
    17,
    31,
    32,
    33,
    47,
    63,
    64,
    65,
    127,
    255,
    256,
    257,
    384,
    511,
    512,
    768,
    1000,
    1023,
]


def modules() -> list[ModuleType]:
    if not host.picks_bytes() and host.simd_level() != "avx512":
        return [portable]
    from retrieval.kernels.rotate import vectors

    return [portable, vectors]


@pytest.fixture(params=modules(), ids=lambda module: module.__name__.rpartition(".")[2])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(cpu, "_kernels", lambda: request.param)
    return request.param


def make(seed: int, n: int, dim: int, rounds: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    signs = (2 * rng.integers(0, 2, (rounds, dim)) - 1).astype(np.int8)
    return rng.standard_normal((n, dim), dtype=np.float32), signs


@pytest.mark.parametrize("dim", DIMS)
def test_equals_reference_and_turns_back(path: ModuleType, dim: int) -> None:
    for rounds in (0, 1, 2, 3, 4, 5):
        for n in (0, 1, 3):
            values, signs = make(dim + rounds, n, dim, rounds)
            turned = cpu.rotate(values, signs)
            assert turned.dtype == np.float32 and turned.shape == values.shape
            np.testing.assert_allclose(turned, reference.rotate(values, signs), atol=1e-5)
            np.testing.assert_allclose(cpu.unrotate(turned, signs), values, atol=1e-5)
            np.testing.assert_allclose(reference.unrotate(turned, signs), values, atol=1e-5)


@pytest.mark.parametrize("dim", DIMS)
def test_is_linear_and_orthonormal(path: ModuleType, dim: int) -> None:
    _, signs = make(dim, 0, dim)
    matrix = cpu.rotate(np.eye(dim, dtype=np.float32), signs).astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(dim), atol=1e-5)
    values, _ = make(1, 2, dim)
    np.testing.assert_allclose(cpu.rotate(values, signs), values @ matrix, atol=1e-4)


@pytest.mark.parametrize("dim", [256, 384, 511, 768, 960, 1000, 1023])
def test_coordinates_of_any_vector_look_gaussian(dim: int) -> None:
    """Unit vectors, a few equal coordinates at either end, constant and alternating ones: the mean fourth
    power is a Gaussian's, 3, of unit vectors together and nearly so of each."""
    few = np.zeros((2, dim), np.float32)
    few[0, :8] = few[1, -8:] = 1
    alternating = np.arange(dim, dtype=np.float32) % 2 - 0.5
    values = np.vstack([np.eye(dim, dtype=np.float32), few, np.ones(dim, np.float32), alternating])
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    fourths = []
    for seed in range(5):
        _, signs = make(seed, 0, dim)
        fourths.append((cpu.rotate(values, signs).astype(np.float64) ** 4).mean(axis=1) * dim**2)
    mean = np.mean(fourths, axis=0)
    assert 2.6 < mean[:dim].mean() < 3.25
    assert mean.max() < 4.6


def one_bit_error(turned: np.ndarray, queries: np.ndarray, exact: np.ndarray) -> float:
    scales = (turned**2).sum(axis=1) / np.abs(turned).sum(axis=1)
    estimates = queries @ (np.sign(turned) * scales[:, None]).T
    return float(np.sqrt(np.mean((estimates - exact) ** 2) * turned.shape[1]))


@pytest.mark.parametrize("dim", [100, 384, 511, 1000])
def test_serves_one_bit_estimates_as_a_dense_rotation_does(dim: int) -> None:
    """On a decaying spectrum, the error times sqrt(d) is a dense rotation's, .75 (the design's .755)."""
    fast, dense = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        both = rng.standard_normal((450, dim)) / np.sqrt(1 + np.arange(dim))
        both = (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32)
        exact = both[:50] @ both[50:].T
        _, signs = make(seed, 0, dim)
        turned = cpu.rotate(both, signs)
        fast.append(one_bit_error(turned[50:], turned[:50], exact))
        turned = both @ np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        dense.append(one_bit_error(turned[50:], turned[:50], exact))
    assert abs(np.mean(fast) - np.mean(dense)) < 0.04
    assert 0.70 < np.mean(fast) < 0.79


def test_a_vector_is_turned_the_same_in_any_company(path: ModuleType) -> None:
    values, signs = make(0, 33, 384)
    turned = cpu.rotate(values, signs)
    for i in (0, 7, 32):
        np.testing.assert_array_equal(cpu.rotate(values[i : i + 1], signs), turned[i : i + 1])
    np.testing.assert_array_equal(cpu.rotate(values[::2], signs), turned[::2])  # not contiguous


def test_neither_argument_is_changed(path: ModuleType) -> None:
    values, signs = make(0, 3, 48)
    before = values.copy(), signs.copy()
    cpu.rotate(values, signs)
    cpu.unrotate(values, signs)
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(signs, before[1])


@pytest.mark.parametrize(
    ("values", "signs", "told"),
    [
        (np.zeros((2, 4)), np.ones((4, 4), np.int8), "not float32"),
        (np.zeros(4, np.float32), np.ones((4, 4), np.int8), "not float32"),
        (np.zeros((2, 0), np.float32), np.ones((4, 0), np.int8), "not float32"),
        (np.zeros((2, 4), np.float32), np.ones((4, 5), np.int8), "not int8"),
        (np.zeros((2, 4), np.float32), np.ones((4, 4), np.float32), "not int8"),
        (np.zeros((2, 4), np.float32), np.ones(4, np.int8), "not int8"),
    ],
)
def test_what_does_not_fit_is_refused(values: np.ndarray, signs: np.ndarray, told: str) -> None:
    for function in (cpu.rotate, cpu.unrotate):
        with pytest.raises(ValueError, match=told):
            function(values, signs)
