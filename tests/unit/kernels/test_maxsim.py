"""MaxSim of one query: every number type on every level of this machine against the reference."""

from __future__ import annotations

import ctypes
import mmap
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.kernels import host
from retrieval.kernels.maxsim import cpu, reference
from retrieval.kernels.maxsim.arguments import check_documents

DTYPES = {
    "float32": np.float32,
    "float16": np.float16,
    "bf16": np.uint16,
    "bf16 dot": np.uint16,
    "i8": np.uint8,
}
LEVELS = ["portable", "avx512"] if host.simd_level() == "avx512" else ["portable"]
PATHS = [
    (level, kind)
    for level in LEVELS
    for kind in DTYPES
    if kind != "bf16 dot" or (level == "avx512" and host.has("avx512bf16"))
]
POISON = {"i": -(2**31), "f": np.nan}
PAGE = mmap.PAGESIZE

paths = pytest.mark.parametrize(("level", "kind"), PATHS)


def function(kind: str) -> str:
    return {"i8": "maxsim_i8", "bf16": "maxsim_bf16", "bf16 dot": "maxsim_bf16"}.get(kind, "maxsim")


def vectors(kind: str, rng: np.random.Generator, n_q: int, n: int, d: int) -> tuple[Any, Any]:
    if kind == "i8":
        return rng.integers(-128, 128, (n_q, d), dtype=np.int8), rng.integers(0, 256, (n, d), dtype=np.uint8)
    query, values = (rng.standard_normal((rows, d), dtype=np.float32) for rows in (n_q, n))
    return query, reference.to_bf16(values) if DTYPES[kind] == np.uint16 else values.astype(DTYPES[kind])


def run(level: str, kind: str, query: Any, values: Any, offsets: Any, ordinals: Any = None) -> Any:
    """A level's function as `cpu` calls it, into poisoned memory whose surroundings must stay."""
    if values.shape[1] * values.itemsize < cpu.ROW_BYTES:
        level = "portable"
    offsets, ordinals, n = check_documents(values, (values.dtype.name,), query.shape[1], offsets, ordinals)
    room = np.full(n + 32, POISON["i" if kind == "i8" else "f"], np.int32 if kind == "i8" else np.float32)
    module = import_module(f"retrieval.kernels.maxsim.{level}")
    if DTYPES[kind] == np.uint16:
        query = reference.from_bf16(reference.to_bf16(query))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "multiplies_bf16", lambda: kind == "bf16 dot")
        getattr(module, function(kind))(query, values, offsets, ordinals, room[16 : 16 + n])
    np.testing.assert_array_equal(np.delete(room, slice(16, 16 + n)), np.full(32, room[0]))
    return room[16 : 16 + n]


def expect(kind: str, got: Any, query: Any, values: Any, offsets: Any, ordinals: Any = None) -> None:
    expected = getattr(reference, function(kind))(query, values, offsets, ordinals)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    if kind == "i8":
        np.testing.assert_array_equal(got, expected)
    else:
        # An error of d u |q||v| for each of n_q inner products (Higham, section 3.1), n_q u for their sum.
        floats = reference.from_bf16(values) if values.dtype == np.uint16 else values.astype(np.float64)
        sizes = np.linalg.norm(query, axis=1).sum() * np.linalg.norm(floats, axis=1).max(initial=0)
        room = 2.0**-23 * (query.shape[1] + len(query) + 4) * float(sizes)
        np.testing.assert_allclose(got, expected, rtol=0, atol=room)


def ragged(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@paths
@given(
    seed=st.integers(0, 2**32 - 1),
    n_q=st.sampled_from([0, 1, 2, 4, 5, 15, 16, 17, 31, 32, 33, 48, 64, 70]),
    d=st.sampled_from([1, 2, 3, 4, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 66, 96, 127, 128]),
    lengths=st.lists(st.one_of(st.integers(0, 9), st.integers(10, 40)), max_size=16),
    choose=st.booleans(),
)
@settings(max_examples=60)
def test_equal_the_reference(
    level: str, kind: str, seed: int, n_q: int, d: int, lengths: list[int], choose: bool
) -> None:
    rng = np.random.default_rng(seed)
    offsets = ragged(lengths)
    query, values = vectors(kind, rng, n_q, int(offsets[-1]), d)
    ordinals = rng.integers(0, len(lengths), 20) if choose and lengths else None
    got = run(level, kind, query, values, offsets, ordinals)
    expect(kind, got, query, values, offsets, ordinals)


@paths
@pytest.mark.parametrize(
    ("n_q", "d", "length"), [(512, 32, 300), (32, 1024, 50), (1, 384, 1), (33, 48, 8192)]
)
def test_large_shapes(level: str, kind: str, n_q: int, d: int, length: int) -> None:
    offsets = ragged([length, 0, length // 2])
    query, values = vectors(kind, np.random.default_rng(0), n_q, int(offsets[-1]), d)
    if kind == "i8":
        query //= 8
    expect(kind, run(level, kind, query, values, offsets), query, values, offsets)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_q", [1, 32, 40])
@pytest.mark.parametrize("stored", [0, 127, 128, 255])
@pytest.mark.parametrize("asked", [-128, 0, 127])
def test_extreme_octets(level: str, n_q: int, stored: int, asked: int) -> None:
    query, values = np.full((n_q, 131), asked, np.int8), np.full((12, 131), stored, np.uint8)
    got = run(level, "i8", query, values, ragged([1, 9, 2]))
    assert got.tolist() == [n_q * 131 * asked * (stored - 128)] * 3


@pytest.mark.parametrize("level", LEVELS)
def test_octets_whose_unshifted_sums_leave_int32(level: str) -> None:
    query, values = np.full((512, 258), 127, np.int8), np.full((9, 258), 255, np.uint8)
    assert 512 * 258 * 127 * 127 < 2**31 < 512 * 258 * 127 * 255
    assert run(level, "i8", query, values, ragged([9])).tolist() == [512 * 258 * 127 * 127]
    assert run(level, "i8", query, values * 0, ragged([9])).tolist() == [-512 * 258 * 127 * 128]
    with pytest.raises(ValueError, match="more than int32 holds"):
        cpu.maxsim_i8(np.full((512, 259), 127, np.int8), np.zeros((1, 259), np.uint8), ragged([1]))


@pytest.mark.parametrize(("level", "kind"), [path for path in PATHS if path[1] != "i8"])
@pytest.mark.parametrize("n_q", [1, 20])
def test_a_nan_in_a_document_is_in_its_score_alone(level: str, kind: str, n_q: int) -> None:
    offsets = ragged([3, 4, 20, 20, 1])
    query, values = vectors(kind, np.random.default_rng(0), n_q, 48, 70)
    for token, dim in ((4, 69), (8, 0), (44, 33)):
        values[token, dim] = 0x7FC0 if values.dtype == np.uint16 else np.nan
    got = run(level, kind, query, values, offsets)
    np.testing.assert_array_equal(np.isnan(got), [False, True, True, True, False])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_q", [1, 3])
def test_every_float16(level: str, n_q: int) -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    halves = bits[np.isfinite(bits.view(np.float16))].view(np.float16)
    values = np.zeros((len(halves), 32), np.float16)
    values[:, 5] = halves
    query = np.zeros((n_q, 32), np.float32)
    query[0, 5] = 1
    np.testing.assert_array_equal(run(level, "float16", query, values, np.arange(len(halves) + 1)), halves)


def fenced(octets: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy between two pages that must not be touched, against one of them."""
    size = -(-octets.size // PAGE) * PAGE
    memory = np.frombuffer(mmap.mmap(-1, size + 2 * PAGE), np.uint8)
    first = PAGE + (size - octets.size if at_end else 0)
    memory[first : first + octets.size] = octets
    for page in (0, PAGE + size):
        forbid = ctypes.c_void_p(memory.ctypes.data + page), ctypes.c_size_t(PAGE), 0
        assert ctypes.CDLL(None).mprotect(*forbid) == 0
    return memory[first : first + octets.size]


@paths
@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(("n_q", "d"), [(32, 128), (40, 35), (1, 70), (3, 1), (1, 18)])
def test_nothing_outside_the_values_is_read(level: str, kind: str, at_end: bool, n_q: int, d: int) -> None:
    offsets = ragged([1, 9, 3, 8, 2, 1])
    query, values = vectors(kind, np.random.default_rng(0), n_q, 24, d)
    octets = fenced(values.reshape(-1).view(np.uint8), at_end)
    expect(
        kind,
        run(level, kind, query, octets.view(values.dtype).reshape(values.shape), offsets),
        query,
        values,
        offsets,
    )


@paths
def test_unaligned_read_only_memory_mapped_values(level: str, kind: str, tmp_path: Path) -> None:
    offsets = ragged([5, 30, 0, 1])
    query, values = vectors(kind, np.random.default_rng(0), 32, 36, 48)
    (tmp_path / "values").write_bytes(b"odd" + values.tobytes())
    mapped = np.memmap(tmp_path / "values", values.dtype, "r", offset=3, shape=values.shape)
    assert not mapped.flags.writeable and (kind == "i8" or not mapped.flags.aligned)
    expect(kind, run(level, kind, query, mapped, offsets), query, values, offsets)


@paths
def test_threads_agree(level: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    offsets = ragged(list(rng.integers(0, 40, 200)))
    query, values = vectors(kind, rng, 32, int(offsets[-1]), 64)
    once = run(level, kind, query, values, offsets)
    with ThreadPoolExecutor(8) as pool:
        for again in pool.map(lambda _: getattr(cpu, function(kind))(query, values, offsets), range(16)):
            if kind == "i8":
                np.testing.assert_array_equal(again, once)
            else:
                np.testing.assert_allclose(again, once, rtol=1e-4)


def test_bfloat16_rounds_to_nearest_even() -> None:
    torch = pytest.importorskip("torch")
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    bits[:6] = 0, 0x80000000, 0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000
    floats = bits.view(np.float32)
    floats = floats[~np.isnan(floats)]
    expected = torch.from_numpy(floats).bfloat16().view(torch.int16).numpy().view(np.uint16)
    for to_bf16 in (reference.to_bf16, cpu.to_bf16):
        np.testing.assert_array_equal(to_bf16(floats), expected)
        assert np.isnan(reference.from_bf16(to_bf16(np.array([np.nan, -np.nan], np.float32)))).all()


QUERY, VALUES, OFFSETS = np.ones((2, 4), np.float32), np.ones((3, 4), np.float32), np.array([0, 1, 3])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((QUERY[0], VALUES, OFFSETS), r"query must be \(rows, d\).*\(4,\)"),
        ((QUERY[:, :0], VALUES[:, :0], OFFSETS), r"query must be .*\(2, 0\)"),
        ((QUERY.astype(float), VALUES, OFFSETS), "query must be float32, not float64"),
        ((QUERY * np.nan, VALUES, OFFSETS), "query holds NaN"),
        ((QUERY * np.inf, VALUES, OFFSETS), "query holds NaN or inf"),
        ((QUERY, VALUES[:, :3].copy(), OFFSETS), "values have 3 dimensions, the query 4"),
        ((QUERY, VALUES.astype(int), OFFSETS), "values must be float32 or float16, not int64"),
        ((QUERY, np.ones((4, 3), np.float32).T, OFFSETS), "C-contiguous"),
        ((QUERY, VALUES, OFFSETS.astype(np.int32)), "offsets must be a vector of int64, not int32"),
        ((QUERY, VALUES, OFFSETS[:0]), "at least one"),
        ((QUERY, VALUES, np.array([0, 4])), "offsets must grow"),
        ((QUERY, VALUES, np.array([-1, 3])), "offsets must grow"),
        ((QUERY, VALUES, np.array([0, 2, 1])), "offsets must grow"),
        ((QUERY, VALUES, np.array([0, 4, 2]), np.array([0])), "offsets 0:4 are no range of 3"),
        ((QUERY, VALUES, np.array([0, 4, 2]), np.array([1])), "offsets 4:2 are no range"),
        ((QUERY, VALUES, OFFSETS, np.array([0, 2])), "ordinal 2 is not one of 2"),
        ((QUERY, VALUES, OFFSETS, np.array([-1])), "ordinal -1"),
        ((QUERY, VALUES, OFFSETS, np.array([0.5])), "ordinals must be a vector of int64, not float64"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        cpu.maxsim(*arguments)


def test_no_documents() -> None:
    assert cpu.maxsim(QUERY, VALUES, OFFSETS[:1]).shape == (0,)
    assert cpu.maxsim(QUERY, VALUES, OFFSETS, np.empty(0, np.int64)).shape == (0,)
    assert cpu.maxsim(QUERY, VALUES[:0], np.array([0, 0, 0])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "feature", "wanted"),
    [("znver5", True, True), ("znver3", False, False), ("sapphirerapids", True, False)],
)
def test_where_bf16_is_multiplied(
    monkeypatch: pytest.MonkeyPatch, name: str, feature: bool, wanted: bool
) -> None:
    from llvmlite import binding

    monkeypatch.setattr(binding, "get_host_cpu_name", lambda: name)
    monkeypatch.setattr(host, "has", lambda _: feature)
    assert host.multiplies_bf16.__wrapped__() is wanted
