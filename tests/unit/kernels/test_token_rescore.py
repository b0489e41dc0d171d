"""Stored tokens against the definition, float64 and the codec, on every level."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cases.token_rescore import CASES
from bench.kernels import check
from retrieval.kernels import host
from retrieval.kernels.token_rescore import cpu, reference
from retrieval.kernels.token_rescore.prepared import Tokens, decode, prepare_tokens
from retrieval.quantize import Int8Codec

LEVELS = ["avx512", "portable"] if host.simd_level() == "avx512" else ["portable"]
LEVELS += ["tiles"] if host.has_tiles() else []
DTYPES = ["float32", "float16", "uint8"]
QUICK: dict[str, Any] = {
    "max_examples": 60,
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(host, "has_tiles", lambda: request.param == "tiles")
    monkeypatch.setattr(host, "simd_level", lambda: request.param.replace("tiles", "avx512"))
    yield request.param


def stored(values: np.ndarray, lengths: Any, dtype: str, norm: float | None = None) -> Tokens:
    """Tokens in the middle of memory that is NaN, or 255, before and after."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = values.astype(np.float32)
    if dtype == "uint8":
        codec = Int8Codec.fit(values if len(values) else np.zeros((1, values.shape[1]), np.float32))
        codes, rest = codec.encode(values), (codec.span, codec.low)
    else:
        codes, rest = values.astype(dtype), (None, None)
    room = np.full((len(codes) + 2, codes.shape[1]), 255 if dtype == "uint8" else np.nan).astype(dtype)
    room[1:-1] = codes
    return prepare_tokens(room[1:-1], offsets, *rest, max_norm=norm)


def truth(query: np.ndarray, tokens: Tokens, ordinals: np.ndarray) -> np.ndarray:
    """MaxSim in float64, not rounded."""
    scores = np.zeros(len(ordinals))
    for i, j in enumerate(ordinals):
        document = decode(tokens, tokens.codes[tokens.offsets[j] : tokens.offsets[j + 1]]).astype(float)
        if len(document):
            scores[i] = (query.astype(float) @ document.T).max(axis=1).sum()
    return scores


def assert_rounded(got: np.ndarray, exact: np.ndarray, size: float) -> None:
    """``got`` is ``exact`` rounded to float32; ``size``: of the sum's terms, for float64's errors."""
    assert got.dtype == np.float32
    room = np.spacing(np.abs(exact).astype(np.float32)).astype(float) * 0.5001 + 1e-13 * size
    assert (np.abs(got - exact) <= room).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.function} {case.label}")
def test_cases(case, level: str) -> None:  # type: ignore[no-untyped-def]
    assert check(case) is None


@settings(**QUICK)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.sampled_from([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 61]), min_size=1, max_size=6),
    n_q=st.sampled_from([0, 1, 2, 15, 16, 17, 31, 32, 33, 48, 65]),
    d=st.sampled_from([1, 2, 7, 15, 16, 17, 31, 32, 33, 37, 48, 63, 64, 65, 96, 128]),
    dtype=st.sampled_from(DTYPES),
    likeness=st.sampled_from([0.0, 1.0, 30.0]),
    scale=st.sampled_from([1e-3, 1.0, 300.0]),
)
def test_exactly_is_float64_rounded_once(
    level: str,
    seed: int,
    lengths: list[int],
    n_q: int,
    d: int,
    dtype: str,
    likeness: float,
    scale: float,
) -> None:
    rng = np.random.default_rng(seed)
    values = scale * (rng.standard_normal((sum(lengths), d)) + likeness * rng.standard_normal(d))
    query = rng.standard_normal((n_q, d)).astype(np.float32)
    tokens = stored(values, lengths, dtype)
    ordinals = rng.integers(0, len(lengths), 9)
    got = cpu.maxsim_exactly(query, tokens, ordinals)
    largest = np.linalg.norm(query, axis=1).sum() * tokens.norm
    assert_rounded(got, truth(query, tokens, ordinals), largest)
    np.testing.assert_allclose(got, reference.maxsim_exactly(query, tokens, ordinals), rtol=2e-7, atol=1e-37)


@settings(**QUICK)
@given(seed=st.integers(0, 2**32 - 1), d=st.sampled_from([32, 48, 128]), dtype=st.sampled_from(DTYPES))
def test_tokens_that_rounding_cannot_tell_apart(level: str, seed: int, d: int, dtype: str) -> None:
    """All tokens of a document are nearly the same; the cheap first pass puts many before the best."""
    rng = np.random.default_rng(seed)
    codes = np.clip(rng.integers(0, 256, (4, 1, d)) + rng.integers(-1, 2, (4, 90, d)), 0, 255)
    query = rng.standard_normal((20, d)).astype(np.float32)
    span, low = rng.uniform(0.1, 1, d).astype(np.float32), rng.standard_normal(d).astype(np.float32)
    offsets = np.arange(5, dtype=np.int64) * 90
    flat = codes.reshape(-1, d).astype(np.uint8)
    tokens = prepare_tokens(flat, offsets, span, low)
    if dtype != "uint8":
        steps = 1 + 2.0**-11 if dtype == "float16" else 1 + 2.0**-22
        values = np.repeat(rng.standard_normal((4, 1, d)), 90, axis=1) * steps ** rng.integers(
            -1, 2, (4, 90, d)
        )
        tokens = prepare_tokens(values.reshape(-1, d).astype(dtype), offsets)
    got = cpu.maxsim_exactly(query, tokens, np.arange(4))
    assert_rounded(got, truth(query, tokens, np.arange(4)), 20 * d)


@pytest.mark.parametrize("d", [32, 47, 128])
def test_bytes_stand_for_what_the_codec_says(level: str, d: int) -> None:
    """A query of one dimension gives the number itself: all 256, in every dimension."""
    rng = np.random.default_rng(d)
    codec = Int8Codec(
        (rng.standard_normal(d) * 3).astype(np.float32), rng.uniform(0, 5, d).astype(np.float32)
    )
    codes = (np.arange(256)[:, None] + 7 * np.arange(d)).astype(np.uint8)
    tokens = prepare_tokens(codes, np.arange(257, dtype=np.int64), codec.span, codec.low)
    values = codec.decode(codes)
    np.testing.assert_array_equal(decode(tokens, codes), values)
    for j in (0, 1, d // 2, d - 2, d - 1):
        query = np.zeros((1, d), np.float32)
        query[0, j] = 1
        got = cpu.maxsim_exactly(query, tokens, np.arange(256))
        np.testing.assert_array_equal(got, values[:, j])


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_documents_have_equal_scores(level: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    same, query = rng.standard_normal((13, 72)), rng.standard_normal((21, 72)).astype(np.float32)
    parts, lengths = [], []
    for other in (0, 1, 5, 8, 30, 3):
        parts += [rng.standard_normal((other, 72)).clip(-2, 2), same.clip(-2, 2)]
        lengths += [other, 13]
    parts.append(np.vstack([np.full(72, -2), np.full(72, 2)]))
    tokens = stored(np.vstack(parts), [*lengths, 2], dtype)
    here = cpu.maxsim_exactly(query, tokens, np.arange(1, 12, 2))
    assert (here == here[0]).all() and here[0] != 0
    alone = stored(np.vstack([parts[1], parts[-1]]), [13, 2], dtype)
    np.testing.assert_array_equal(cpu.maxsim_exactly(query, alone, np.zeros(1, np.int64)), here[:1])
    np.testing.assert_array_equal(
        cpu.maxsim_exactly(query, tokens, np.array([7, 0, 3])), [here[0], 0, here[0]]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_q", [1, 20, 32, 45])
def test_a_bound_on_the_norm_changes_nothing(level: str, dtype: str, n_q: int) -> None:
    rng = np.random.default_rng(4)
    values = rng.standard_normal((300, 64)) + 2
    query, ordinals = rng.standard_normal((n_q, 64)).astype(np.float32), np.arange(10)
    read = stored(values, [30] * 10, dtype)
    expected = cpu.maxsim_exactly(query, read, ordinals)
    for norm in (read.norm, 50 * read.norm, np.inf):
        given_one = stored(values, [30] * 10, dtype, norm)
        np.testing.assert_array_equal(cpu.maxsim_exactly(query, given_one, ordinals), expected)
    assert read.norm == pytest.approx(np.linalg.norm(decode(read, read.codes), axis=1).max(), rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros(level: str, dtype: str) -> None:
    rng = np.random.default_rng(5)
    tokens = stored(rng.standard_normal((40, 64)), [20, 0, 20], dtype)
    query = np.zeros((18, 64), np.float32)
    every = np.arange(3)
    np.testing.assert_array_equal(cpu.maxsim_exactly(query, tokens, every), [0, 0, 0])
    np.testing.assert_allclose(cpu.maxsim_stored(query, tokens, every)[0], [0, 0, 0], atol=1e-30)
    query[3] = rng.standard_normal(64)
    assert_rounded(cpu.maxsim_exactly(query, tokens, every), truth(query, tokens, every), 64)
    nothing = stored(np.zeros((0, 64)), [0, 0], dtype)
    np.testing.assert_array_equal(cpu.maxsim_exactly(query, nothing, np.arange(2)), [0, 0])
    np.testing.assert_array_equal(cpu.maxsim_stored(query, nothing, np.arange(2))[0], [0, 0])
    assert cpu.maxsim_exactly(query, tokens, every[:0]).shape == (0,)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("exponent", [30, 36, -30, -42])
def test_huge_and_tiny(level: str, dtype: str, exponent: int) -> None:
    """Float32 sums overflow on the way, float64's do not; results beyond float32 are infinite."""
    rng = np.random.default_rng(6)
    query = (rng.standard_normal((5, 40)) * 10.0 ** (1 if exponent < 0 else 3)).astype(np.float32)
    tokens = stored(rng.standard_normal((60, 40)) * 10.0**exponent, [20, 20, 20], dtype)
    exact = truth(query, tokens, np.arange(3))
    with np.errstate(over="ignore"):
        expected = exact.astype(np.float32)
    np.testing.assert_allclose(cpu.maxsim_exactly(query, tokens, np.arange(3)), expected, rtol=2e-7)
    if dtype == "uint8":
        scores, _ = cpu.maxsim_stored(query, tokens, np.arange(3))
        np.testing.assert_allclose(scores, expected, rtol=0.05)


def test_sums_that_overflow_and_come_back(level: str) -> None:
    query = np.ones((2, 40), np.float32)
    values = np.zeros((3, 40))
    values[0, :20], values[0, 20:] = 3e38, -3e38  # 0, after infinity in float32
    values[1] = 1
    tokens = stored(values, [3], "float32")
    assert cpu.maxsim_exactly(query, tokens, np.zeros(1, np.int64))[0] == 80


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_q", [1, 17, 32])
def test_stored_scores_keep_the_order(level: str, dtype: str, n_q: int) -> None:
    rng = np.random.default_rng(7)
    values = rng.standard_normal((400 * 12, 64)) * rng.uniform(0.2, 2, 64) + rng.standard_normal(64)
    query = rng.standard_normal((n_q, 64)).astype(np.float32)
    tokens, every = stored(values, [12] * 400, dtype), np.arange(400)
    scores, error = cpu.maxsim_stored(query, tokens, every)
    exact = truth(query, tokens, every)
    lost = (scores[:, None] - scores[None]) - (exact[:, None] - exact[None])
    if dtype == "uint8":
        assert np.abs(lost).max() <= error  # of 160,000 differences
        assert error < 6 * np.abs(lost).max()  # and it says something
        assert np.abs(scores - exact).mean() < error
    else:
        assert error == 0 and np.abs(lost).max() < 1e-3


@settings(**QUICK)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.sampled_from([1, 2, 10, 31, 32, 33, 120, 200]),
    dtype=st.sampled_from(DTYPES),
    n=st.sampled_from([0, 1, 31, 32, 33, 120]),
    threads=st.sampled_from([1, 3]),
)
def test_the_best_are_the_exact_ones(level: str, seed: int, k: int, dtype: str, n: int, threads: int) -> None:
    """Whatever the fast scores say first; and all that score as high as the last of them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 6, 130)  # many are empty, and score alike
    tokens = stored(rng.standard_normal((int(lengths.sum()), 33)), lengths, dtype)
    query = rng.standard_normal((6, 33)).astype(np.float32)
    ordinals = rng.permutation(130)[:n]
    exact = cpu.maxsim_exactly(query, tokens, ordinals)
    wanted = exact >= (np.sort(exact)[-k] if n > k else -np.inf)
    slack = 1e-4 + cpu.maxsim_stored(query, tokens, ordinals)[1]  # eight standard deviations, not four
    kept, found = cpu.best_exactly(query, tokens, ordinals, k, slack, threads)
    np.testing.assert_array_equal(kept, ordinals[wanted])
    np.testing.assert_array_equal(found, exact[wanted])


@pytest.mark.parametrize("k", [1, 7, 30, 59])
@pytest.mark.parametrize("n_q", [1, 16, 31, 32, 33])
@pytest.mark.parametrize("in_order", [True, False], ids=["best first", "in any order"])
def test_who_cannot_be_among_the_best_is_left_out(level: str, k: int, n_q: int, in_order: bool) -> None:
    """And nobody else: documents of whole tiles, of which some are as good as others."""
    rng = np.random.default_rng(100 * k + n_q)
    lengths = rng.integers(16, 40, 60)
    tokens = stored(rng.standard_normal((int(lengths.sum()), 64)) + 0.3, lengths, "uint8")
    query, ordinals = rng.standard_normal((n_q, 64)).astype(np.float32), rng.permutation(60)
    ordinals[5] = ordinals[40]
    exact = cpu.maxsim_exactly(query, tokens, ordinals)
    if in_order:
        order = np.argsort(-exact, kind="stable")
        ordinals, exact = ordinals[order], exact[order]
    wanted = exact >= np.sort(exact)[-k]
    kept, found = cpu.best_exactly(query, tokens, ordinals, k, 0.0)
    np.testing.assert_array_equal(kept, ordinals[wanted])
    np.testing.assert_array_equal(found, exact[wanted])
    if level != "portable" and in_order and n_q <= 32:
        from retrieval.kernels.token_rescore import avx512

        scores = np.empty(60, np.float32)
        avx512.maxsim_exactly(query, tokens, ordinals, scores, 1, k)
        there = scores > -np.inf
        np.testing.assert_array_equal(scores[there], exact[there])
        assert k <= there.sum() and (there.sum() < 60 or k == 59)


@pytest.mark.parametrize(("size", "asked"), [(1e-18, 1e-24), (1e-20, 1e-20), (1e-9, 1e-31), (1e24, 1e14)])
@pytest.mark.parametrize("n_q", [1, 32])
def test_who_is_left_out_where_float32_ends(level: str, size: float, asked: float, n_q: int) -> None:
    """Scores so small that float32 rounds them by more than a share of them, or nearly too large for it:
    documents that are almost alike are told apart no less."""
    rng = np.random.default_rng(8)
    near = rng.integers(0, 128, (1, 64)) + rng.integers(0, 2, (120, 64))
    span = (size * rng.random(64)).astype(np.float32)
    offsets = np.arange(0, 121, 3).astype(np.int64)
    low = (-near[0] / 255 * span).astype(np.float32)
    tokens = prepare_tokens(near.astype(np.uint8), offsets, span, low)
    for _ in range(10):
        query = (asked * rng.standard_normal((n_q, 64))).astype(np.float32)
        exact = cpu.maxsim_exactly(query, tokens, np.arange(40))
        for k in (10, 13, 30):
            slack = float(np.ptp(exact))  # all are scored exactly, also where they are not at once
            kept, found = cpu.best_exactly(query, tokens, np.arange(40), k, slack)
            np.testing.assert_array_equal(kept, np.flatnonzero(exact >= np.sort(exact)[-k]))
            np.testing.assert_array_equal(found, exact[kept])


def test_mapped_files_and_threads(level: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    whole = stored(rng.standard_normal((3000, 48)), [30] * 100, "uint8")
    path = tmp_path / "codes"
    path.write_bytes(b"12345678" + whole.codes.tobytes())
    mapped = np.memmap(path, np.uint8, "r", offset=8, shape=whole.codes.shape)
    tokens = prepare_tokens(mapped, whole.offsets, whole.span, whole.low)
    query, every = rng.standard_normal((20, 48)).astype(np.float32), np.arange(100)
    expected = cpu.maxsim_exactly(query, whole, every)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: cpu.maxsim_exactly(query, tokens, every), range(16)):
            np.testing.assert_array_equal(got, expected)


def test_doors(level: str) -> None:
    codes, offsets = np.zeros((4, 8), np.uint8), np.array([0, 2, 4])
    one = np.ones(8, np.float32)
    for wrong in (
        (codes.astype(np.int8), offsets, one, one),
        (codes[0], offsets, one, one),
        (codes[:, :0], offsets, one[:0], one[:0]),
        (codes[:, ::2], offsets, one[:4], one[:4]),
        (codes, offsets),
        (codes, offsets, one),
        (codes, offsets, one[:7], one),
        (codes, offsets, one, one.astype(np.float64)),
        (codes, offsets, one, one * np.float32(np.nan)),
        (codes.astype(np.float32), offsets, one, one),
        (codes, np.array([0, 3, 2]), one, one),
        (codes, np.array([-1, 2]), one, one),
        (codes, np.array([0, 5]), one, one),
        (codes, offsets[:0], one, one),
        (codes, offsets.astype(np.int32), one, one),
        (codes, offsets, one, one, -1.0),
        (codes, offsets, one, one, np.nan),
    ):
        with pytest.raises(ValueError):
            prepare_tokens(*wrong)
    tokens, query, some = prepare_tokens(codes, offsets, one, one), np.ones((2, 8), np.float32), np.arange(2)
    for function in (cpu.maxsim_exactly, cpu.maxsim_stored, lambda *args: cpu.best_exactly(*args, 1, 0.0)):
        for args in (
            (query[0], tokens, some),
            (query[:, :7], tokens, some),
            (query.astype(np.float64), tokens, some),
            (query * np.float32(np.inf), tokens, some),
            (query * np.float32(np.nan), tokens, some),
            (query, tokens, np.array([2])),
            (query, tokens, np.array([-1])),
            (query, tokens, some.astype(np.int32)),
            (query, tokens, some[None]),
        ):
            with pytest.raises(ValueError):
                function(*args)
    with pytest.raises(ValueError, match="at least 1"):
        cpu.best_exactly(query, tokens, some, 0, 0.0)


def test_a_query_too_large_for_integers() -> None:
    """Many dimensions rather than many tokens: the bound looks at every pair of the query's tokens."""
    codes, d = np.full((1, 800), 255, np.uint8), 800
    tokens = prepare_tokens(codes, np.array([0, 1]), np.ones(d, np.float32), np.zeros(d, np.float32))
    scores, error = cpu.maxsim_stored(np.ones((500, d), np.float32), tokens, np.zeros(1, np.int64))
    assert abs(scores[0] - 500 * d * 255.5 / 255) <= error + 1
    with pytest.raises(ValueError, match="split"):
        cpu.maxsim_stored(np.ones((22_500, d), np.float32), tokens, np.zeros(1, np.int64))
