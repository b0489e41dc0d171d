"""What every search codec promises, asked of all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.kernels.asymmetric.reference import error_bound
from retrieval.quantize import (
    CODECS,
    SEARCH_CODECS,
    BitsCodec,
    PQCodec,
    SearchCodec,
    SignCodec,
    TableCodec,
    codec_from_state,
    fit_codec,
)

DIM = 50
RECIPES: list[tuple[str, dict[str, Any], float]] = [
    ("bits", {"bits": 1}, 0.80),
    ("bits", {"bits": 2}, 0.40),
    ("bits", {"bits": 4}, 0.115),
    ("bits", {"bits": 8}, 0.008),
    ("int8", {}, 0.02),
    ("float16", {}, 0.0005),
    ("sign", {}, 0.95),
    ("pq", {"nbits": 4}, 0.65),
    ("pq", {"m": 7, "nbits": 8}, 0.65),
    ("pq", {"m": 50, "nbits": 4}, 0.15),
    ("opq", {"m": 10, "nbits": 4}, 0.65),
    ("opq", {"m": 9, "nbits": 8}, 0.5),
]
"""Codec, options, and a bound on the length of what decoding loses, relative to a vector's."""
each = pytest.mark.parametrize(
    ("name", "options", "bound"),
    RECIPES,
    ids=[f"{n} {'-'.join(map(str, o.values()))}" for n, o, _ in RECIPES],
)


@cache
def vectors(n: int = 1500, seed: int = 0) -> np.ndarray:
    """A decaying spectrum in a random basis, one coordinate constant."""
    basis = np.linalg.qr(np.random.default_rng(9).standard_normal((DIM, DIM)))[0]
    spectrum = 1 / np.sqrt(1 + np.arange(DIM))
    values = (np.random.default_rng(seed).standard_normal((n, DIM)) * spectrum) @ basis
    values[:, 13] = 0.25
    return values.astype(np.float32)


_fitted: dict[str, SearchCodec] = {}


def fitted(name: str, options: dict[str, Any]) -> SearchCodec:
    key = f"{name} {options}"
    if key not in _fitted:
        _fitted[key] = fit_codec(name, vectors(), options, seed=3)
    return _fitted[key]


def room(codec: SearchCodec, queries: np.ndarray, codes: np.ndarray) -> np.ndarray | float:
    """How far scores of `topk` may be from `scores`: what rounding queries or tables loses."""
    if isinstance(codec, BitsCodec):
        scales = codec.factors(codes).scales
        assert scales is not None
        turned = codec._rotation.apply(queries)
        return error_bound(turned, scales, codec.bits) + 1e-5
    if isinstance(codec, PQCodec):
        tables = codec.tables(queries)
        return (codec.m / 2 * np.ptp(tables, axis=2).max(axis=1) / 255)[:, None] + 1e-5
    return 1e-5


@each
def test_shapes_and_types(name: str, options: dict[str, Any], bound: float) -> None:
    codec = fitted(name, options)
    assert codec.name == name and isinstance(codec, SearchCodec)
    queries = vectors(3, 1)
    for n in (0, 1, 31, 33):
        codes = codec.encode(vectors()[:n])
        assert codes.dtype == codec.dtype and codes.shape == (n, codec.width(DIM))
        decoded = codec.decode(codes)
        assert decoded.dtype == np.float32 and decoded.shape == (n, DIM)
        scores = codec.scores(queries, codes)
        assert scores.dtype == np.float32 and scores.shape == (3, n)
        assert codec.scores(queries[:0], codes).shape == (0, n)
        best, ordinals = codec.topk(queries, codes, 5)
        assert best.shape == ordinals.shape == (3, min(5, n))
        assert best.dtype == np.float32 and ordinals.dtype == np.int64
        assert codec.topk(queries[:0], codes, 5)[0].shape[0] == 0


@each
def test_decoding_loses_no_more_than_the_rate_allows(
    name: str, options: dict[str, Any], bound: float
) -> None:
    codec, values = fitted(name, options), vectors(400, 2)
    lost = np.linalg.norm(codec.decode(codec.encode(values)) - values) / np.linalg.norm(values)
    assert lost < bound
    if bound > 0.01:
        assert lost > bound / 4  # a bound that nothing comes near would hold anything


@each
def test_a_code_is_complete_in_itself(name: str, options: dict[str, Any], bound: float) -> None:
    codec, values = fitted(name, options), vectors(300, 2)
    codes = codec.encode(values)
    np.testing.assert_array_equal(
        np.concatenate([codec.encode(values[i : i + 7]) for i in range(0, 300, 7)]), codes
    )
    np.testing.assert_array_equal(codec.encode(values[::-1])[::-1], codes)
    np.testing.assert_array_equal(codec.decode(codes[:0]), np.empty((0, DIM)))


@each
def test_state_is_all_there_is(name: str, options: dict[str, Any], bound: float) -> None:
    codec, values, queries = fitted(name, options), vectors(200, 2), vectors(3, 1)
    config, arrays = codec.state()
    mapped = {}
    for key, array in arrays.items():  # as a file gives it: read-only and not aligned
        raw = np.frombuffer(b"x" + array.tobytes() + b"x", np.uint8)
        mapped[key] = raw[1:-1].view(array.dtype).reshape(array.shape)
    again = codec_from_state(name, config, mapped)
    assert type(again) is type(codec) and isinstance(again, SearchCodec)
    codes = codec.encode(values)
    np.testing.assert_array_equal(again.encode(values), codes)
    np.testing.assert_array_equal(again.decode(codes), codec.decode(codes))
    np.testing.assert_array_equal(again.scores(queries, codes), codec.scores(queries, codes))
    assert again.state()[0] == config


@each
def test_fitting_is_deterministic(name: str, options: dict[str, Any], bound: float) -> None:
    one, two = (fit_codec(name, vectors(), options, seed=3, threads=threads) for threads in (1, 2))
    for key, array in one.state()[1].items():
        np.testing.assert_array_equal(two.state()[1][key], array)
    if name == "bits":
        other = fit_codec(name, vectors(), options, seed=4).state()[1]["signs"]
        assert (other != one.state()[1]["signs"]).any()


@each
def test_scores_are_products_with_what_is_decoded(name: str, options: dict[str, Any], bound: float) -> None:
    codec, queries = fitted(name, options), vectors(5, 1)
    codes = codec.encode(vectors(333, 2))
    asked = queries
    if isinstance(codec, SignCodec):  # the query becomes signs, too, of its length
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        asked = np.where(queries > 0, 1, -1) * lengths / np.sqrt(DIM)
    expected = asked.astype(np.float64) @ codec.decode(codes).astype(np.float64).T
    np.testing.assert_allclose(codec.scores(queries, codes), expected, atol=3e-6)


@each
@pytest.mark.parametrize("share", [None, 0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("k", [0, 1, 10, 2000])
def test_topk_is_the_best_of_the_scores(
    name: str, options: dict[str, Any], bound: float, share: float | None, k: int
) -> None:
    codec, queries = fitted(name, options), vectors(3, 1)
    codes = codec.encode(vectors(997, 2))
    accept = None if share is None else np.random.default_rng(5).random(997) < share
    accepted = np.arange(997) if accept is None else np.flatnonzero(accept)
    scores, allowed = codec.scores(queries, codes), room(codec, queries, codes)
    best, ordinals = codec.topk(queries, codes, k, accept)
    size = min(k, len(accepted))
    assert ordinals.shape == (3, size)
    allowed = np.broadcast_to(allowed, scores.shape)
    for i in range(3):
        assert len(set(ordinals[i])) == size and set(ordinals[i]) <= set(accepted)
        own = scores[i, ordinals[i]]
        assert (np.abs(best[i] - own) <= allowed[i, ordinals[i]]).all()
        assert (np.diff(best[i]) <= 0).all()
        left = np.setdiff1d(accepted, ordinals[i])
        if size and len(left):  # nothing left out is better than what was taken, but by what rounding loses
            assert (scores[i, left] - allowed[i, left] <= best[i, -1] + 1e-5).all()


@each
def test_ties_are_broken_by_ordinal(name: str, options: dict[str, Any], bound: float) -> None:
    codec, queries = fitted(name, options), vectors(2, 1)
    codes = np.tile(codec.encode(vectors(5, 2)), (40, 1))  # each code forty times, five apart
    best, ordinals = codec.topk(queries, codes, 100)
    for row, own in zip(best, ordinals, strict=True):
        np.testing.assert_array_equal(own, own[np.lexsort((own, -row))])
        assert {int(x) for x in own[:40] % 5} == {int(own[0]) % 5} or row[0] == row[40]
    if name not in {"sign"}:
        np.testing.assert_array_equal(ordinals[0, :40], np.arange(40) * 5 + ordinals[0, 0])


@each
def test_values_far_from_the_sample(name: str, options: dict[str, Any], bound: float) -> None:
    """They are clipped, or coded with a scale of their own; their signs never turn round."""
    codec = fitted(name, options)
    far = np.stack([vectors()[0] * 50, -vectors()[0] * 50, np.zeros(DIM, np.float32)])
    decoded = codec.decode(codec.encode(far))
    assert np.isfinite(decoded).all()
    assert decoded[0] @ far[0] > 0 and decoded[1] @ far[1] > 0


@each
def test_other_dimensions_are_refused(name: str, options: dict[str, Any], bound: float) -> None:
    codec = fitted(name, options)
    calls: list[Callable[[], object]] = [
        lambda: codec.scores(np.zeros((1, DIM + 1), np.float32), codec.encode(vectors()[:3])),
    ]
    if name != "float16":  # a cast, of whatever comes
        calls.append(lambda: codec.encode(np.zeros((2, DIM - 1), np.float32)))
        calls.append(lambda: codec.decode(np.zeros((2, codec.width(DIM) + 1), codec.dtype)))
    for call in calls:
        with pytest.raises(ValueError, match=r"the codec takes|codes of|queries of"):
            call()


@each
def test_damaged_arrays_are_found(name: str, options: dict[str, Any], bound: float) -> None:
    config, arrays = fitted(name, options).state()
    for key, array in arrays.items():
        broken = [
            array[:-1].copy(),
            array[None],
            array.astype(np.float64),
            np.zeros((0, *array.shape[1:]), array.dtype),
        ]
        if array.dtype.kind == "f":
            for bad in (np.nan, np.inf):
                broken.append(array.copy())
                broken[-1].flat[3] = bad
        else:
            broken.append(np.zeros_like(array))
        for each_broken in broken:
            if (
                key in {"centroids", "low", "signs"}
                and each_broken.shape == array[:-1].shape
                and name != "opq"
            ):
                continue  # another codec, as good
            with pytest.raises((IndexDamagedError, IndexFormatError)):
                codec_from_state(name, config, {**arrays, key: each_broken})
        with pytest.raises(IndexDamagedError, match="missing"):
            codec_from_state(name, config, {k: v for k, v in arrays.items() if k != key})


@pytest.mark.parametrize(
    ("name", "options", "bound"), [recipe for recipe in RECIPES if recipe[0] in {"bits", "pq", "opq"}]
)
def test_tables_score_as_the_codec_does(name: str, options: dict[str, Any], bound: float) -> None:
    codec, queries = fitted(name, options), vectors(4, 1)
    assert isinstance(codec, TableCodec) == (options.get("bits", 1) < 8 and options.get("nbits", 4) < 8)
    if not isinstance(codec, TableCodec):
        return
    for n in (0, 1, 100):
        codes = codec.encode(vectors(100, 2)[:n])
        nibbles, tables, factors = codec.nibbles(codes), codec.tables(queries), codec.factors(codes)
        assert nibbles.dtype == np.uint8 and nibbles.flags.c_contiguous and nibbles.max(initial=0) <= 15
        assert tables.dtype == np.float32 and tables.shape == (4, nibbles.shape[1], 16)
        sums = tables[:, np.arange(nibbles.shape[1]), nibbles].sum(axis=2)
        if factors.scales is not None:
            assert factors.scales.shape == (n,) and factors.scales.dtype == np.float32
            sums = sums * factors.scales
        np.testing.assert_allclose(sums, codec.scores(queries, codes), atol=3e-6)


def test_every_codec_is_asked() -> None:
    assert {name for name, _, _ in RECIPES} == set(SEARCH_CODECS)
    assert set(CODECS) == {*SEARCH_CODECS, "float", "residual"}  # of tokens: see test_residual
    assert all(codec.name == name for name, codec in CODECS.items())


def test_unknown_codecs_are_refused() -> None:
    with pytest.raises(ConfigError, match="codec='rabitq': there are bits, float16, int8, opq, pq, sign"):
        fit_codec("rabitq", vectors(), {})
    with pytest.raises(ConfigError, match="codec='float'"):
        fit_codec("float", vectors(), {})
    with pytest.raises(IndexFormatError, match="'rabitq', unknown to this version"):
        codec_from_state("rabitq", {}, {})


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("bits", {"bits": 3}, "bits=3: there are 1, 2, 4, 8"),
        ("bits", {"bits": True}, "bits=True"),
        ("pq", {"nbits": 6}, "nbits=6: there are 4 and 8"),
        ("pq", {"m": 51}, "m=51: choose from 1 to 50"),
        ("opq", {"m": 0}, "m=0: choose from 1 to 50"),
        ("pq", {"m": 2.0}, "m=2.0"),
    ],
)
def test_unknown_options_are_refused(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        fit_codec(name, vectors(), options)


def test_a_sample_can_be_too_small() -> None:
    for name in ("pq", "opq"):
        with pytest.raises(ConfigError, match="at least 16 documents, and there are 15"):
            fit_codec(name, vectors()[:15], {})
        with pytest.raises(ConfigError, match="at least 256"):
            fit_codec(name, vectors()[:255], {"nbits": 8})
    with pytest.raises(ConfigError, match="calibrated on documents"):
        fit_codec("int8", vectors()[:0], {})
    assert fit_codec("sign", vectors()[:0], {}).state()[0] == {"dim": DIM, "length": 1.0}


def test_stored_options_of_another_version() -> None:
    config, arrays = fitted("bits", {"bits": 1}).state()
    with pytest.raises(IndexFormatError, match="codes of 3 bits"):
        codec_from_state("bits", {**config, "bits": 3}, arrays)
    config, arrays = fitted("pq", {"nbits": 4}).state()
    with pytest.raises(IndexFormatError, match="64 centroids"):
        codec_from_state("pq", config, {"centroids": np.zeros((12, 64, 5), np.float32)})
    with pytest.raises(IndexDamagedError, match="60 dimensions, not 50000"):
        codec_from_state("pq", {"dim": 50000}, {"centroids": np.zeros((12, 16, 5), np.float32)})
    with pytest.raises(IndexDamagedError, match="length nan"):
        codec_from_state("sign", {"dim": 4, "length": float("nan")}, {})
