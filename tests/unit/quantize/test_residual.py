"""Tokens as centroid, coded residual and inverse norm: what every such codec promises."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.kernels.coded_maxsim.cpu import coded_maxsim_bits as coded_maxsim_bits_cpu
from retrieval.kernels.coded_maxsim.cpu import coded_maxsim_pq as coded_maxsim_pq_cpu
from retrieval.kernels.coded_maxsim.reference import coded_maxsim_bits, coded_maxsim_pq
from retrieval.quantize.residual import ResidualCodec, TokenCodes, codec, training
from retrieval.quantize.residual.buckets import BucketResiduals
from retrieval.quantize.residual.tokens import id_bytes, join, split

DIM = 33
CELLS = 40
"""Centroids from which on the tests' codecs have cells."""
RECIPES: list[tuple[dict[str, Any], float]] = [
    ({"ncentroids": 16}, 0.55),
    ({"codec": "pq", "m": 5, "nbits": 8, "ncentroids": 16}, 0.5),
    ({"codec": "pq", "m": 33, "ncentroids": 1}, 0.15),
    ({"codec": "pq", "m": 11, "ncentroids": 64}, 0.5),
    ({"codec": "bits", "bits": 1, "ncentroids": 1}, 0.62),
    ({"codec": "bits", "bits": 1, "ncentroids": 16}, 0.55),
    ({"codec": "bits", "ncentroids": 300}, 0.3),
    ({"codec": "bits", "bits": 2, "buckets": "global", "ncentroids": 16}, 0.3),
    ({"codec": "bits", "bits": 4, "ncentroids": 16}, 0.09),
    ({"codec": "bits", "bits": 4, "buckets": "global", "ncentroids": 64}, 0.1),
    ({"codec": "ternary", "ncentroids": 16}, 0.4),
    ({"codec": "ternary", "buckets": "global", "ncentroids": 16}, 0.4),
    ({"codec": "none", "ncentroids": 300}, 0.8),
]
"""Options, and a bound on the length of what decoding loses, relative to a token's."""
each = pytest.mark.parametrize(
    ("options", "bound"), RECIPES, ids=[" ".join(map(str, options.values())) for options, _ in RECIPES]
)


@pytest.fixture(autouse=True)
def _small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "ONE_LEVEL", CELLS)


@cache
def tokens(n: int = 3000, seed: int = 0) -> np.ndarray:
    """Unit vectors in clusters."""
    centers = np.random.default_rng(9).standard_normal((50, DIM))
    rng = np.random.default_rng(seed)
    values = centers[rng.integers(0, 50, n)] + 0.6 * rng.standard_normal((n, DIM))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


_fitted: dict[str, ResidualCodec] = {}


def fitted(options: dict[str, Any]) -> ResidualCodec:
    if str(options) not in _fitted:
        _fitted[str(options)] = ResidualCodec.fit(tokens(), 3000, options, seed=3)
    return _fitted[str(options)]


def assert_same(one: TokenCodes, other: TokenCodes) -> None:
    for name in ("centroids", "codes", "inv_norms"):
        expected, got = getattr(one, name), getattr(other, name)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


@each
def test_shapes_and_types(options: dict[str, Any], bound: float) -> None:
    codec = fitted(options)
    assert codec.dim == DIM and codec.centroids.shape == (codec.ncentroids, DIM)
    assert codec.ncentroids == options["ncentroids"] and codec.centroids.dtype == np.float32
    for n in (0, 1, 31, 32, 33):
        made = codec.encode_tokens(tokens()[:n])
        assert len(made) == n and made.centroids.dtype == np.uint16 and made.centroids.shape == (n,)
        assert made.codes.dtype == np.uint8 and made.codes.shape == (n, codec.nbytes)
        assert made.inv_norms.dtype == np.float16 and made.inv_norms.shape == (n,)
        decoded = codec.decode_tokens(made)
        assert decoded.dtype == np.float32 and decoded.shape == (n, DIM)
        rows = codec.encode(tokens()[:n])
        assert rows.dtype == codec.dtype and rows.shape == (n, codec.width(DIM))
        assert_same(codec.split(rows), made)
        np.testing.assert_array_equal(codec.decode(rows), decoded)
        np.testing.assert_array_equal(codec.join(made), rows)


@each
def test_what_decoding_loses(options: dict[str, Any], bound: float) -> None:
    codec, values = fitted(options), tokens(500, 2)
    decoded = codec.decode_tokens(codec.encode_tokens(values))
    lost = np.linalg.norm(decoded - values) / np.linalg.norm(values)
    assert bound / 4 < lost < bound
    # As long as they were, to half a unit of float16.
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, rtol=2**-11 + 1e-6)


@each
def test_tokens_of_any_length_keep_it(options: dict[str, Any], bound: float) -> None:
    codec = ResidualCodec.fit(tokens() * np.float32(7.5), 3000, options, seed=3)
    values = tokens(200, 2) * np.float32(7.5)
    decoded = codec.decode_tokens(codec.encode_tokens(values))
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 7.5, rtol=2**-11 + 1e-6)


@each
def test_a_code_is_a_function_of_its_token(
    options: dict[str, Any], bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, values = fitted(options), tokens(300, 2)
    whole = made.encode_tokens(values)
    pieces = [made.encode_tokens(values[i : i + 7]) for i in range(0, 300, 7)]
    joined = [
        np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("centroids", "codes", "inv_norms")
    ]
    assert_same(TokenCodes(*joined), whole)
    backwards = made.encode_tokens(np.ascontiguousarray(values[::-1]))
    assert_same(
        TokenCodes(backwards.centroids[::-1], backwards.codes[::-1], backwards.inv_norms[::-1]), whole
    )
    strided = np.zeros((300, 2 * DIM), np.float32)
    strided[:, ::2] = values
    assert_same(made.encode_tokens(strided[:, ::2]), whole)
    monkeypatch.setattr(codec, "BLOCK", 64)
    for threads in (1, 2, 3):
        assert_same(made.encode_tokens(values, threads), whole)


@each
def test_fitting_is_the_same_on_any_number_of_threads(options: dict[str, Any], bound: float) -> None:
    one, two = (ResidualCodec.fit(tokens(), 3000, options, 3, threads) for threads in (1, 2))
    assert one.state()[0] == two.state()[0]
    for name, array in one.state()[1].items():
        np.testing.assert_array_equal(two.state()[1][name], array)
    if options["ncentroids"] > 1:
        other = ResidualCodec.fit(tokens(), 3000, options, 4).centroids
        assert (other != one.centroids).any()


@each
def test_state_is_all_there_is(options: dict[str, Any], bound: float) -> None:
    codec, values = fitted(options), tokens(200, 2)
    config, arrays = codec.state()
    assert ("cells/starts" in arrays) == (options["ncentroids"] > CELLS)
    mapped = {}
    for key, array in arrays.items():  # as a file gives it: read-only and not aligned
        raw = np.frombuffer(b"x" + array.tobytes() + b"x", np.uint8)
        mapped[key] = raw[1:-1].view(array.dtype).reshape(array.shape)
    again = ResidualCodec.from_state(config, mapped)
    made = codec.encode_tokens(values)
    assert_same(again.encode_tokens(values), made)
    np.testing.assert_array_equal(again.decode_tokens(made), codec.decode_tokens(made))
    np.testing.assert_array_equal(again.residual_table(values[:3]), codec.residual_table(values[:3]))
    assert again.state()[0] == config


@each
def test_kernels_score_what_is_decoded(options: dict[str, Any], bound: float) -> None:
    codec, query = fitted(options), tokens(5, 1)
    made = codec.encode_tokens(tokens(73, 2))
    offsets = np.array([0, 7, 7, 8, 40, 73])  # one document is empty, one has one token
    products = query.astype(np.float64) @ codec.decode_tokens(made).astype(np.float64).T
    expected = [products[:, a:b].max(axis=1).sum() if b > a else 0.0 for a, b in pairwise(offsets)]
    scores = codec.centroids @ query.T
    table = codec.residual_table(query)
    assert table.dtype == np.float32 and table.shape[2] == 5
    rest = made.centroids, made.codes, made.inv_norms, offsets
    nbits = 8 if table.shape[1] == 256 else 4
    np.testing.assert_allclose(
        coded_maxsim_pq(scores, table, *rest, nbits=nbits), expected, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(coded_maxsim_pq_cpu(scores, table, *rest, nbits=nbits), expected, atol=5e-3)
    if isinstance(codec.coder, BucketResiduals):
        coder = codec.coder
        rest = scores, coder.buckets, made.codes, made.centroids, made.inv_norms, offsets
        for function, room in ((coded_maxsim_bits, 1e-5), (coded_maxsim_bits_cpu, 5e-2)):
            np.testing.assert_allclose(
                function(query, *rest, bits=coder.bits), expected, rtol=1e-4, atol=room
            )


@each
def test_tokens_unlike_the_sample(options: dict[str, Any], bound: float) -> None:
    codec = fitted(options)
    values = np.concatenate([tokens()[:1] * 50, tokens()[:1] * -50, tokens()[:1] * 1e-6])
    values = np.concatenate([values, np.zeros((1, DIM), np.float32), tokens()[:1] * np.float32(1e6)])
    made = codec.encode_tokens(values)
    decoded = codec.decode_tokens(made)
    assert np.isfinite(made.inv_norms).all() and np.isfinite(decoded).all()
    assert not decoded[3].any()
    assert decoded[0] @ values[0] > 0
    assert made.inv_norms.max() <= 256 and made.inv_norms[4] == 0
    for bad in (np.nan, np.inf):
        wrong = tokens()[:3].copy()
        wrong[1, 2] = bad
        with pytest.raises(ValueError, match=r"NaN or inf|finite"):
            codec.encode_tokens(wrong)
    with pytest.raises(ValueError, match="the codec takes"):
        codec.encode_tokens(np.zeros((2, DIM - 1), np.float32))
    with pytest.raises(ValueError, match="the codec takes"):
        codec.residual_table(np.zeros((2, DIM + 1), np.float32))
    with pytest.raises(ValueError, match="the codec takes"):
        codec.decode(np.zeros((2, codec.width(DIM) + 1), np.uint8))


@each
def test_damaged_tokens_are_found(options: dict[str, Any], bound: float) -> None:
    codec = fitted(options)
    made = codec.encode_tokens(tokens(3, 2))
    past = np.array([0, codec.ncentroids, 0], np.uint16)
    with pytest.raises(IndexDamagedError, match=f"centroid {codec.ncentroids} of {codec.ncentroids}"):
        codec.decode_tokens(TokenCodes(past, made.codes, made.inv_norms))
    with pytest.raises(ValueError, match="codes are"):
        codec.decode_tokens(TokenCodes(made.centroids, made.codes[:2], made.inv_norms))


@each
def test_damaged_arrays_are_found(options: dict[str, Any], bound: float) -> None:
    config, arrays = fitted(options).state()
    for key, array in arrays.items():
        broken = [array[None], array.astype(np.float16), np.zeros((0, *array.shape[1:]), array.dtype)]
        if key.startswith("cells") or key == "residual/buckets":
            broken.append(array[:-1].copy())
        if array.dtype.kind == "f":
            for bad in (np.nan, np.inf):
                broken.append(array.copy())
                broken[-1].flat[0] = bad
        if key == "residual/buckets":
            broken.append(-array - 1)
        if key == "cells/starts":
            for at, value in ((0, 1), (1, 0), (-1, len(arrays["centroids"]) + 1)):
                broken.append(array.copy())
                broken[-1][at] = value
        for each_broken in broken:
            with pytest.raises((IndexDamagedError, IndexFormatError)):
                ResidualCodec.from_state(config, {**arrays, key: each_broken})
        with pytest.raises(IndexDamagedError, match="missing"):
            ResidualCodec.from_state(config, {k: v for k, v in arrays.items() if k != key})
    with pytest.raises(IndexFormatError, match="'turbo', unknown to this version"):
        ResidualCodec.from_state({**config, "codec": "turbo"}, arrays)
    with pytest.raises(IndexDamagedError):
        ResidualCodec.from_state({**config, "dim": DIM + 1}, arrays)


def test_stored_options_of_another_version() -> None:
    config, arrays = fitted(RECIPES[0][0]).state()
    codebooks = np.zeros((8, 64, 5), np.float32)
    with pytest.raises(IndexFormatError, match="64 codewords"):
        ResidualCodec.from_state(config, {**arrays, "residual/codebooks": codebooks})
    config, arrays = fitted({"codec": "bits", "bits": 4, "ncentroids": 16}).state()
    for change in ({"bits": 3}, {"buckets": "shared"}):
        changed = {**config, "residual": {**config["residual"], **change}}
        with pytest.raises(IndexFormatError, match="unknown to this version"):
            ResidualCodec.from_state(changed, arrays)


@pytest.mark.parametrize(
    ("k", "n_bytes"), [(1, 0), (2, 1), (256, 1), (257, 2), (65536, 2), (65537, 3), (2**24, 3), (2**24 + 1, 4)]
)
def test_rows_have_as_many_bytes_as_ids_need(k: int, n_bytes: int) -> None:
    assert id_bytes(k) == n_bytes
    rng = np.random.default_rng(k)
    ids = np.array([0, k - 1, k // 2], np.uint16 if k <= 65536 else np.uint32)
    made = TokenCodes(ids, rng.integers(0, 256, (3, 5), np.uint8), np.array([1, 0.5, 255], np.float16))
    rows = join(made, k)
    assert rows.shape == (3, n_bytes + 2 + 5)
    assert_same(split(rows, k), made)
    assert_same(split(rows[:0], k), TokenCodes(ids[:0], made.codes[:0], made.inv_norms[:0]))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"codec": "opq"}, "codec='opq': codes of tokens are bits, none, pq, ternary"),
        ({"ncentroids": 0}, "ncentroids=0: choose from 1 to 3000"),
        ({"ncentroids": 3001}, "ncentroids=3001"),
        ({"ncentroids": True}, "ncentroids=True"),
        ({"ncentroids": 8.0}, "ncentroids=8.0"),
        ({"m": 34}, "m=34: choose from 1 to 33"),
        ({"nbits": 5}, "nbits=5"),
        ({"codec": "bits", "bits": 8}, "bits=8: there are 1, 2, 4"),
        ({"codec": "bits", "bits": True}, "bits=True"),
        ({"codec": "bits", "buckets": "each"}, "buckets='each': there are dimension and global"),
    ],
)
def test_options_that_there_are_not(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ResidualCodec.fit(tokens(), 3000, options)


def test_small_and_dull_samples() -> None:
    with pytest.raises(ConfigError, match="no tokens to train on"):
        ResidualCodec.fit(tokens()[:0], 0, {})
    for options in ({"codec": "bits"}, {"codec": "ternary"}, {"codec": "none"}):
        codec = ResidualCodec.fit(tokens()[:1], 1, options)
        assert codec.ncentroids == 1
        decoded = codec.decode_tokens(codec.encode_tokens(tokens()[:1]))
        np.testing.assert_allclose(decoded, tokens()[:1], atol=1e-3)
    alike = np.tile(tokens()[:1], (500, 1))
    for options, _ in RECIPES:
        codec = ResidualCodec.fit(alike, 500, {**options, "ncentroids": 3, "m": 4, "nbits": 4})
        np.testing.assert_allclose(
            codec.decode_tokens(codec.encode_tokens(alike[:5])), alike[:5], rtol=1e-2, atol=1e-3
        )


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    for k in (16, 300):
        told.clear()
        ResidualCodec.fit(tokens(), 3000, {"ncentroids": k}, progress=lambda *step: told.append(step))
        assert told[-1] == ("codes of residuals", 1, 1)
        for what in {step[0] for step in told}:
            steps = [(done, of) for name, done, of in told if name == what]
            assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    assert {step[0] for step in told} == {"centroids", "all centroids", "codes of residuals"}
