"""Codes of a few bits: the estimate is unbiased, and as far off as it says."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError, IndexFormatError
from retrieval.quantize import BitsCodec, TableCodec, bits_from_arrays, codec_from_state, fit_codec
from retrieval.quantize.bits import NestedBitsCodec

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


NESTED = [(2, 1), (4, 1), (4, 2), (8, 1), (8, 2), (8, 4)]


def nested(values: np.ndarray, bits: int, scan_bits: int) -> NestedBitsCodec:
    codec = fit_codec("bits", values, {"bits": bits, "scan_bits": scan_bits})
    assert isinstance(codec, NestedBitsCodec) and isinstance(codec, TableCodec)
    return codec


@pytest.mark.parametrize(("bits", "scan_bits"), NESTED)
@pytest.mark.parametrize("dim", [1, 3, 33, 100])
def test_a_nested_code_as_a_whole_is_the_plain_one(bits: int, scan_bits: int, dim: int) -> None:
    values, queries = unit(0, 70, dim) * 3, unit(1, 5, dim)
    values[7] = 0
    codec, plain = nested(values, bits, scan_bits), fit_codec("bits", values, {"bits": bits})
    codes, expected = codec.encode(values), plain.encode(values)
    np.testing.assert_array_equal(codes[:, :-4], expected)
    np.testing.assert_array_equal(codec.decode(codes), plain.decode(expected))
    np.testing.assert_array_equal(codec.scores(queries, codes), plain.scores(queries, expected))
    for have, want in zip(codec.topk(queries, codes, 9), plain.topk(queries, expected, 9), strict=True):
        np.testing.assert_array_equal(have, want)
    again = codec_from_state("bits", *codec.state())
    assert isinstance(again, NestedBitsCodec) and again.scan_bits == scan_bits
    np.testing.assert_array_equal(again.encode(values), codes)


@pytest.mark.parametrize(("bits", "scan_bits"), NESTED)
@pytest.mark.parametrize("dim", [33, 100])
def test_look_ups_are_of_the_scanned_bits(bits: int, scan_bits: int, dim: int) -> None:
    values, queries = unit(0, 400, dim), unit(1, 30, dim)
    codec = nested(values, bits, scan_bits)
    codes, tables = codec.encode(values), codec.tables(queries)
    nibbles, (scales, errors) = codec.nibbles(codes), codec.factors(codes)
    assert nibbles.shape == (400, tables.shape[1]) == (400, -(-dim * scan_bits // 4))
    assert scales is not None and errors is None
    sums = tables[:, np.arange(nibbles.shape[1])[:, None], nibbles.T].sum(axis=1)
    off = sums * scales - queries @ values.T
    coarse = fit_codec("bits", values, {"bits": scan_bits})
    own = coarse.scores(queries, coarse.encode(values)) - queries @ values.T
    if scan_bits == 1:  # one bit is the sign, whatever follows
        np.testing.assert_allclose(off, own, atol=1e-5)
    # A grid made for more bits is not the best one of fewer: see `test_scales_of_the_highest_bits`.
    assert off.std() < 1.35 * own.std()
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(off.size)


def test_scan_bits_that_cannot_be_are_refused() -> None:
    values = unit(0, 3, 20)
    for bits, scan_bits in ((4, 4), (2, 4), (1, 1), (8, 3), (4, True), (4, 0), (8, 8)):
        with pytest.raises(ConfigError, match="scan_bits="):
            fit_codec("bits", values, {"bits": bits, "scan_bits": scan_bits})
    config, arrays = nested(values, 4, 1).state()
    with pytest.raises(IndexFormatError, match="scan_bits=3"):
        codec_from_state("bits", {**config, "scan_bits": 3}, arrays)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"index": "ivf", "bits": 4, "scan_bits": 4}, "scan_bits=4: it must be less than bits=4"),
        ({"index": "flat", "scan_bits": 1}, "scan_bits=1: it must be less than bits=1"),
        ({"index": "flat", "bits": 8, "scan_bits": 8}, "scan_bits=8"),
        ({"index": "hnsw", "bits": 4, "scan_bits": 1}, "scan_bits=1: it needs the codec bits and the index"),
        ({"index": "ivf", "codec": "pq", "scan_bits": 1}, "scan_bits=1: it needs the codec bits"),
        ({"index": "nowhere", "bits": 4, "scan_bits": 1}, "index='nowhere'"),
    ],
)
def test_recipes_that_cannot_scan_fewer_bits_are_refused(recipe: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        RecipeConfig.of(**recipe)
    assert RecipeConfig.of(index="ivf", bits=4, scan_bits=1).replace(bits=2).scan_bits == 1
