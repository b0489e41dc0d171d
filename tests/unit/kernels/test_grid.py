"""Grid points of vectors: against the reference, and against the best there are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from retrieval.kernels.asymmetric.reference import unpack
from retrieval.kernels.grid import cpu, reference

BITS = reference.BITS


def cosines(values: np.ndarray, codes: np.ndarray, bits: int) -> np.ndarray:
    centred = unpack(codes, bits, values.shape[1]) - (2**bits - 1) / 2
    wide = values.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(centred, axis=1)
    return (wide * centred).sum(axis=1) / lengths


def best_cosine(x: np.ndarray, bits: int) -> float:
    """Through every factor at which a coordinate goes one step up, in their order."""
    sizes, half = np.abs(x.astype(np.float64)), 2 ** (bits - 1)
    dots, squares = [0.5 * sizes.sum()], [0.25 * len(x)]
    steps = [(step / size, step, size) for size in sizes if size > 0 for step in range(1, half)]
    for _, step, size in sorted(steps):
        dots.append(dots[-1] + size)
        squares.append(squares[-1] + 2 * step)
    return float((np.array(dots) / np.sqrt(squares)).max() / np.linalg.norm(sizes))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [3, 7, 8, 31, 32, 33, 127, 384])
def test_equals_reference(bits: int, dim: int) -> None:
    values = np.random.default_rng(dim).standard_normal((33, dim), dtype=np.float32)
    values[5] = 0
    values[6, 1:] = 0
    values[7] = -3.5
    values[8] *= 1e-30
    values[9] *= 1e15
    codes, scales, errors = cpu.grid_codes(values, bits)
    expected, _, _ = reference.grid_codes(values, bits)
    assert codes.dtype == np.uint8 and codes.shape == (33, -(-dim * bits // 8))
    different = (codes != expected).any(axis=1)
    assert different.mean() < 0.1  # of two factors as good, rounding may choose the other
    left = cosines(values[different], codes[different], bits)
    np.testing.assert_allclose(left, cosines(values[different], expected[different], bits), atol=2e-6)
    centred = unpack(codes, bits, dim) - (2**bits - 1) / 2
    wide = values.astype(np.float64)
    squares, along = (wide**2).sum(axis=1), (wide * centred).sum(axis=1)
    there = np.arange(33) != 5
    np.testing.assert_allclose(scales[there], (squares[there] / along[there]), rtol=2e-6)
    spread = 1 / cosines(values[there], codes[there], bits) ** 2 - 1
    wanted = np.sqrt(squares[there] * np.maximum(spread, 0) / (dim - 1))
    np.testing.assert_allclose(errors[there], wanted, rtol=1e-3, atol=1e-6 * np.sqrt(squares[there]).max())
    assert scales[5] == 0 and errors[5] == 0
    assert (unpack(codes[5:6], bits, dim) == 2 ** (bits - 1)).all()


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("bits", BITS)
def test_in_few_dimensions(bits: int, dim: int) -> None:
    values = np.random.default_rng(0).standard_normal((50, dim), dtype=np.float32)
    codes, scales, errors = cpu.grid_codes(values, bits)
    assert np.isfinite(scales).all() and (scales > 0).all() and np.isfinite(errors).all()
    if dim == 1:
        centred = unpack(codes, bits, 1) - (2**bits - 1) / 2
        np.testing.assert_allclose(scales[:, None] * centred, values, rtol=1e-5)
        np.testing.assert_allclose(errors, 0, atol=1e-6)


def test_one_bit_is_the_sign() -> None:
    values = np.random.default_rng(0).standard_normal((20, 77), dtype=np.float32)
    values[0, :3] = 0.0, -0.0, 1e-40
    codes, scales, _ = cpu.grid_codes(values, 1)
    np.testing.assert_array_equal(codes, np.packbits(values >= 0, axis=1, bitorder="little"))
    np.testing.assert_allclose(scales, 2 * (values**2).sum(axis=1) / np.abs(values).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(("bits", "room"), [(2, 1.001), (4, 1.003), (8, 1.03)])
def test_nearly_the_least_angle(bits: int, room: float) -> None:
    """The error is within this factor of that of the best of all grid points."""
    values = np.random.default_rng(1).standard_normal((20, 384), dtype=np.float32)
    found = cosines(values, cpu.grid_codes(values, bits)[0], bits)
    best = np.array([best_cosine(x, bits) for x in values])
    assert (found <= best + 1e-9).all()
    assert np.sqrt(1 / found**2 - 1).mean() <= room * np.sqrt(1 / best**2 - 1).mean()


def test_the_search_for_the_best_is_right() -> None:
    """What the test above compares with, against all points of a small grid."""
    rng = np.random.default_rng(2)
    points = np.array(list(itertools.product(np.arange(4) - 1.5, repeat=4)))
    for _ in range(20):
        x = rng.standard_normal(4).astype(np.float32)
        every = points @ x / np.linalg.norm(points, axis=1) / np.linalg.norm(x)
        assert best_cosine(x, 2) == pytest.approx(every.max(), abs=1e-7)


@pytest.mark.parametrize(("bits", "error"), [(1, 0.755), (2, 0.374), (4, 0.106), (8, 0.008)])
def test_errors_are_those_of_the_design(bits: int, error: float) -> None:
    values = np.random.default_rng(3).standard_normal((300, 384), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    errors = cpu.grid_codes(values, bits)[2]
    assert 0.8 * error < errors.mean() * np.sqrt(384) < 1.02 * error


@pytest.mark.parametrize("bits", BITS)
def test_rows_are_coded_by_themselves(bits: int) -> None:
    values = np.random.default_rng(4).standard_normal((34, 50), dtype=np.float32)
    whole = cpu.grid_codes(values, bits)
    for part in (slice(0, 0), slice(3, 4), slice(0, 34, 2)):
        for have, want in zip(cpu.grid_codes(values[part], bits), whole, strict=True):
            np.testing.assert_array_equal(have, want[part])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    values = np.ones((3, 40), np.float32)
    values[1, 17] = bad
    if np.isfinite(bad):
        values[1] = bad  # each number is, the length is not
    with pytest.raises(ValueError, match="vector 1 "):
        cpu.grid_codes(values, 4)


@pytest.mark.parametrize(("bits", "kept"), [(2, 1), (4, 1), (4, 2), (8, 1), (8, 2), (8, 4)])
@pytest.mark.parametrize("dim", [1, 3, 7, 8, 31, 32, 33, 384])
def test_scales_of_the_highest_bits(bits: int, kept: int, dim: int) -> None:
    values = np.random.default_rng(dim).standard_normal((33, dim), dtype=np.float32)
    values[5] = 0
    values[6] = 1e-38  # zero, as `grid_codes` has it
    values[7] *= 1e-30
    values[8] *= 1e15
    values[9, 1:] = 0
    codes = cpu.grid_codes(values, bits)[0]
    scales = cpu.grid_scales(values, codes, bits, kept)
    coarse = (unpack(codes, bits, dim) >> (bits - kept)) - (2**kept - 1) / 2
    wide = values.astype(np.float64)
    there = ~np.isin(np.arange(33), [5, 6])
    wanted = (wide**2).sum(axis=1)[there] / (wide * coarse).sum(axis=1)[there]
    np.testing.assert_allclose(scales[there], wanted, rtol=2e-6)
    np.testing.assert_allclose(scales, reference.grid_scales(values, codes, bits, kept), rtol=2e-6)
    assert (scales[~there] == 0).all()
    for part in (slice(0, 0), slice(3, 4), slice(0, 33, 2)):
        np.testing.assert_array_equal(cpu.grid_scales(values[part], codes[part], bits, kept), scales[part])


def test_scales_of_one_bit_are_those_of_signs() -> None:
    values = np.random.default_rng(0).standard_normal((20, 77), dtype=np.float32)
    for bits in (2, 4, 8):
        scales = cpu.grid_scales(values, cpu.grid_codes(values, bits)[0], bits, 1)
        np.testing.assert_allclose(scales, cpu.grid_codes(values, 1)[1], rtol=2e-6)


def test_scales_of_what_does_not_fit_are_refused() -> None:
    values, codes = np.ones((3, 8), np.float32), np.full((3, 4), 0x88, np.uint8)
    for bits, kept in ((4, 4), (4, 8), (4, 3), (1, 1), (3, 1)):
        with pytest.raises(ValueError, match=f"bits={bits}, kept={kept}"):
            cpu.grid_scales(values, codes, bits, kept)
    with pytest.raises(ValueError, match="not float32"):
        cpu.grid_scales(values.astype(float), codes, 4, 1)
    for wrong in (codes[:2], codes[:, :3], codes.astype(np.int8)):
        with pytest.raises(ValueError, match="codes: "):
            cpu.grid_scales(values, wrong, 4, 1)
    for bad in (np.nan, np.inf):
        values[1, 5] = bad
        with pytest.raises(ValueError, match="vector 1 has no scale"):
            cpu.grid_scales(values, codes, 4, 1)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="bits=3"):
        cpu.grid_codes(np.zeros((1, 8), np.float32), 3)
    for values in (np.zeros((1, 8)), np.zeros(8, np.float32), np.zeros((1, 0), np.float32)):
        with pytest.raises(ValueError, match="not float32"):
            cpu.grid_codes(values, 1)
