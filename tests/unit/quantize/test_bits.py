"""Codes of a few bits: the estimate is unbiased, and as far off as it says."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.quantize import BitsCodec, bits_from_arrays, fit_codec

DESIGN = {1: 0.755, 2: 0.374, 4: 0.106, 8: 0.008}
"""Error times sqrt(d) of unit vectors."""


def unit(seed: int, n: int, dim: int, spectrum: np.ndarray | float = 1.0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((n, dim)) * spectrum
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("dim", [100, 384])
@pytest.mark.parametrize("bits", DESIGN)
@pytest.mark.parametrize("kind", ["gaussian", "decaying", "sparse"])
def test_the_error_is_what_it_says(bits: int, dim: int, kind: str) -> None:
    """About 95 % of estimates are within two of the standard deviations that the codes state."""
    spectrum = {"gaussian": 1.0, "decaying": 1 / np.sqrt(1 + np.arange(dim)), "sparse": np.arange(dim) < 4}[
        kind
    ]
    values, queries = unit(0, 500, dim, spectrum), unit(1, 40, dim, spectrum)
    codec = fit_codec("bits", values, {"bits": bits})
    assert isinstance(codec, BitsCodec)
    codes = codec.encode(values * 3)
    errors = codec.factors(codes).errors
    assert errors is not None
    off = codec.scores(queries, codes) - 3 * queries.astype(np.float64) @ values.T
    share = (np.abs(off) < 2 * errors).mean()
    assert 0.92 < share < 0.99
    assert off.std() * np.sqrt(dim) / 3 < 1.06 * DESIGN[bits]


def test_estimates_are_unbiased() -> None:
    """Over random rotations, of one query and one vector near each other."""
    x = unit(0, 1, 64)
    q = x + 0.5 * unit(1, 1, 64)
    estimates = []
    for seed in range(400):
        codec = fit_codec("bits", x, {"bits": 1}, seed=seed)
        estimates.append(float(codec.scores(q, codec.encode(x))[0, 0]))
    exact, spread = float((q @ x.T)[0, 0]), float(np.std(estimates)) / 20
    assert abs(np.mean(estimates) - exact) < 4 * spread
    assert spread < 0.01


def test_a_code_row_is_bits_scale_error() -> None:
    values = unit(0, 10, 33)
    codec = fit_codec("bits", values, {"bits": 2})
    assert isinstance(codec, BitsCodec)
    codes, factors = codec.encode(values), codec.factors(codec.encode(values))
    assert codes.shape == (10, 9 + 8)
    np.testing.assert_array_equal(codes[:, 9:13].copy().view("<f4")[:, 0], factors.scales)
    np.testing.assert_array_equal(codes[:, 13:].copy().view("<f4")[:, 0], factors.errors)


@pytest.mark.parametrize("bits", DESIGN)
def test_the_zero_vector(bits: int) -> None:
    values = unit(0, 3, 20)
    values[1] = 0
    codec = fit_codec("bits", values, {"bits": bits})
    assert isinstance(codec, BitsCodec)
    codes = codec.encode(values)
    assert (codec.decode(codes)[1] == 0).all()
    assert (codec.scores(values, codes)[:, 1] == 0).all()
    factors = codec.factors(codes)
    assert factors.scales is not None and factors.errors is not None
    assert factors.scales[1] == 0 and factors.errors[1] == 0


@pytest.mark.parametrize("bits", DESIGN)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_few_dimensions(bits: int, dim: int) -> None:
    values = np.random.default_rng(0).standard_normal((40, dim), dtype=np.float32)
    codec = fit_codec("bits", values, {"bits": bits})
    decoded = codec.decode(codec.encode(values))
    assert np.isfinite(decoded).all()
    if dim == 1:
        np.testing.assert_allclose(decoded, values, rtol=1e-4)


@pytest.mark.parametrize("bits", DESIGN)
def test_a_dense_rotation_serves_as_well(bits: int) -> None:
    values, queries = unit(0, 300, 96), unit(1, 20, 96)
    matrix = np.linalg.qr(np.random.default_rng(2).standard_normal((96, 96)))[0]
    codec = bits_from_arrays(matrix, bits)
    codes = codec.encode(values)
    off = codec.scores(queries, codes) - queries @ values.T
    assert off.std() * np.sqrt(96) < 1.06 * DESIGN[bits]
    one = bits_from_arrays(np.eye(96), bits)  # y = R x: turned before, the same codes
    turned = one.encode((values @ matrix.T).astype(np.float32))
    same = (
        np.abs(one.scores((queries @ matrix.T).astype(np.float32), turned) - codec.scores(queries, codes))
        < 1e-5
    )
    assert same.mean() > 0.98  # but where rounding turned the scales


def test_not_finite_vectors_are_refused() -> None:
    values = unit(0, 3, 20)
    codec = fit_codec("bits", values, {"bits": 1})
    values[2, 4] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        codec.encode(values)
