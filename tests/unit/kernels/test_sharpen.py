"""Whole codes against the definition and against decoded vectors, on every level."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cases.sharpen import CASES
from bench.kernels import check
from retrieval.kernels import host
from retrieval.kernels.asymmetric.reference import unpack
from retrieval.kernels.lists import cpu as lists_cpu
from retrieval.kernels.lists.prepared import Coarse, Lists, prepare_centroids, prepare_lists
from retrieval.kernels.lists.reference import choose_lists, scan_lists
from retrieval.kernels.rotate.cpu import rotate
from retrieval.kernels.sharpen import cpu, reference
from retrieval.kernels.sharpen.prepared import PackedRows, prepare_packed_rows
from retrieval.kernels.sharpen.steps import Steps, step_by_step
from retrieval.kernels.tables.cpu import grid_tables
from retrieval.kernels.tables.prepared import Grid

LEVELS = ["avx512", "portable"] if host.simd_level() == "avx512" else ["portable"]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for module in (cpu, lists_cpu):
        monkeypatch.setattr(module, "simd_level", lambda: request.param)
    yield request.param


def draw(
    seed: int, n: int, d: int, bits: int, nlist: int = 1, has_biases: bool = False, has_ordinals: bool = True
) -> PackedRows:
    """Rows in lists, some of them empty; bits after the last dimension are set."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n, -(-d * bits // 8)), dtype=np.uint8)
    factors = rng.random((n, 2), dtype=np.float32) + np.float32(0.5)
    starts = np.concatenate([[0], np.sort(rng.integers(0, n + 1, nlist - 1)), [n]]).astype(np.int64)
    biases = rng.standard_normal(n).astype(np.float32) if has_biases else None
    ordinals = rng.permutation(n).astype(np.uint32) if has_ordinals else None
    return prepare_packed_rows(codes, factors, starts, biases, ordinals, bits, d)


def ask(
    seed: int, rows: PackedRows, n_queries: int, count: int, n_probe: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Queries, positions (some -1), lists (some -1) and bases (of -1: NaN)."""
    rng = np.random.default_rng(seed + 1)
    n, nlist = len(rows.codes), len(rows.starts) - 1
    queries = rng.standard_normal((n_queries, rows.dim)).astype(np.float32)
    positions = np.full((n_queries, count), -1, np.int64)
    lists = np.full((n_queries, n_probe), -1, np.int64)
    for q in range(n_queries):
        some = rng.permutation(n)[: rng.integers(0, count + 1)]
        positions[q, rng.permutation(count)[: len(some)]] = some
        lists[q, : min(n_probe, nlist)] = rng.permutation(nlist)[:n_probe]
        lists[q, rng.random(n_probe) < 0.2] = -1
    bases = np.where(lists < 0, np.nan, rng.standard_normal(lists.shape)).astype(np.float32)
    return queries, positions, lists, bases


def assert_near(got: Any, expected: Any, room: float) -> None:
    np.testing.assert_array_equal(got.found, expected.found)
    np.testing.assert_allclose(got.estimates, expected.estimates, rtol=1e-5, atol=room)
    # Two whose estimates are one but for rounding may stand in either order.
    swapped = got.ordinals != expected.ordinals
    assert swapped.sum() <= 2 + 0.02 * swapped.size
    np.testing.assert_array_equal(got.errors[~swapped], expected.errors[~swapped])
    np.testing.assert_array_equal(got.places[~swapped], expected.places[~swapped])
    for name in got._fields:
        assert getattr(got, name).dtype == getattr(expected, name).dtype


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_cases(case, level: str) -> None:  # type: ignore[no-untyped-def]
    assert check(case) is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([0, 1, 31, 32, 33, 63, 64, 65, 300]) | st.integers(0, 200),
    d=st.sampled_from([1, 15, 16, 17, 31, 32, 33, 48, 64, 128, 384]) | st.integers(1, 150),
    bits=st.sampled_from([2, 4, 8]),
    nlist=st.integers(1, 40),
    n_queries=st.integers(0, 3),
    count=st.sampled_from([0, 1, 65, 200]) | st.integers(0, 80),
    n_probe=st.integers(0, 40),
    depth=st.integers(1, 90),
    has_biases=st.booleans(),
    has_ordinals=st.booleans(),
)
def test_near_the_reference(
    level: str,
    seed: int,
    n: int,
    d: int,
    bits: int,
    nlist: int,
    n_queries: int,
    count: int,
    n_probe: int,
    depth: int,
    has_biases: bool,
    has_ordinals: bool,
) -> None:
    rows = draw(seed, n, d, bits, nlist, has_biases, has_ordinals)
    queries, positions, lists, bases = ask(seed, rows, n_queries, count, n_probe)
    args = queries, rows, positions, lists, bases, depth
    assert_near(cpu.sharpen(*args), reference.sharpen(*args), 1e-6 * d * 2**bits)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("d", [3, 61, 384])
def test_estimates_are_products_with_what_codes_stand_for(level: str, bits: int, d: int) -> None:
    rows = draw(0, 70, d, bits, 5, has_biases=True)
    queries = np.random.default_rng(1).standard_normal((4, d)).astype(np.float32)
    lists = np.array([[3, 0, 4, 1, 2]] * 4)
    bases = np.random.default_rng(2).standard_normal((4, 5)).astype(np.float32)
    positions = np.array([np.random.default_rng(q).permutation(70) for q in range(4)])
    found = cpu.sharpen(queries, rows, positions, lists, bases, 70)
    assert (found.found == 70).all()
    np.testing.assert_array_equal(
        rows.ordinals[np.take_along_axis(positions, found.places, 1)], found.ordinals
    )
    meant = (unpack(rows.codes, bits, d) - (2**bits - 1) / 2) * rows.factors[:, :1]
    list_of = np.repeat(np.arange(5), np.diff(rows.starts))
    for q in range(4):
        by_list = np.empty(5)
        by_list[lists[q]] = bases[q]
        wanted = np.empty(70)
        wanted[rows.ordinals] = by_list[list_of] + rows.biases + meant @ queries[q].astype(np.float64)
        np.testing.assert_allclose(found.estimates[q], wanted[found.ordinals[q]], atol=1e-6 * d * 2**bits)
        assert (np.diff(found.estimates[q]) <= 0).all()
        errors = np.empty(70, np.float32)
        errors[rows.ordinals] = rows.factors[:, 1]
        np.testing.assert_array_equal(found.errors[q], errors[found.ordinals[q]])


@pytest.mark.parametrize("n", [10, 300])
def test_ties_are_by_document(level: str, n: int) -> None:
    rows = draw(4, n, 20, 4, 7)
    same = np.repeat(rows.codes[:2], n // 2, axis=0)[np.random.default_rng(0).permutation(n)]
    rows = prepare_packed_rows(same, np.ones((n, 2), np.float32), rows.starts, None, rows.ordinals, 4, 20)
    queries = np.random.default_rng(3).standard_normal((2, 20)).astype(np.float32)
    queries[1] = 0  # estimates of 0 and of -0
    lists, bases = np.array([np.arange(7)] * 2), np.zeros((2, 7), np.float32)
    positions = np.array([np.random.default_rng(q).permutation(n) for q in range(2)])
    for depth in (n, n // 2 - 1, 3):
        found = cpu.sharpen(queries, rows, positions, lists, bases, depth)
        expected = reference.sharpen(queries, rows, positions, lists, bases, depth)
        np.testing.assert_array_equal(found.ordinals, expected.ordinals)
        np.testing.assert_array_equal(found.ordinals[1], np.arange(depth))
        first = found.ordinals[0, : n // 2]
        assert (np.diff(first) > 0).all()


def test_what_comes_twice_is_found_twice(level: str) -> None:
    rows = draw(5, 30, 20, 4)
    queries, lists, bases = np.ones((1, 20), np.float32), np.zeros((1, 1), np.int64), np.zeros((1, 1), "f4")
    positions = np.full((1, 500), 7)
    found = cpu.sharpen(queries, rows, positions, lists, bases, 400)
    assert found.found[0] == 400
    assert (found.ordinals == rows.ordinals[7]).all()


def test_estimates_of_nan_and_of_no_list_are_not_found(level: str) -> None:
    rows = draw(6, 60, 20, 4, 3)
    factors = rows.factors.copy()
    factors[[2, 50], 0] = np.nan, np.inf
    rows = prepare_packed_rows(rows.codes, factors, rows.starts, None, None, 4, 20)
    queries = np.ones((2, 20), np.float32)
    positions = np.array([np.arange(60)] * 2)
    lists, bases = np.array([[0, 1, 2], [1, -1, -1]]), np.zeros((2, 3), np.float32)
    found = cpu.sharpen(queries, rows, positions, lists, bases, 60)
    expected = reference.sharpen(queries, rows, positions, lists, bases, 60)
    np.testing.assert_array_equal(found.found, expected.found)
    assert found.found[0] == 59 and 2 not in found.ordinals[0]
    inside = np.arange(rows.starts[1], rows.starts[2])
    np.testing.assert_array_equal(np.sort(found.ordinals[1, : found.found[1]]), inside[inside != 2])
    rest = slice(int(found.found[1]), None)
    assert (found.ordinals[1, rest] == -1).all() and (found.estimates[1, rest] == -np.inf).all()
    assert (found.errors[1, rest] == np.inf).all() and (found.places[1, rest] == -1).all()


def test_copies_are_of_their_own_memory(level: str) -> None:
    rows = draw(7, 100, 33, 4, 5)
    args = ask(7, rows, 2, 60, 5)
    expected = cpu.sharpen(args[0], rows, *args[1:], 20)
    copies = [copy.deepcopy(rows), pickle.loads(pickle.dumps(rows))]
    del rows
    for each in copies:
        np.testing.assert_array_equal(cpu.sharpen(args[0], each, *args[1:], 20).ordinals, expected.ordinals)


def test_threads(level: str) -> None:
    rows = draw(8, 3000, 96, 4, 30)
    args = ask(8, rows, 4, 300, 30)
    expected = cpu.sharpen(args[0], rows, *args[1:], 50)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cpu.sharpen(args[0], rows, *args[1:], 50), range(24)):
            np.testing.assert_array_equal(got.estimates, expected.estimates)
            np.testing.assert_array_equal(got.ordinals, expected.ordinals)


def test_other_orders_in_memory(level: str) -> None:
    rows = draw(9, 100, 33, 8, 5)
    queries, positions, lists, bases = ask(9, rows, 3, 60, 5)
    expected = cpu.sharpen(queries, rows, positions, lists, bases, 20)
    turned = [np.asfortranarray(x) for x in (queries, positions, lists, bases)]
    for x in turned:
        x.flags.writeable = False
    got = cpu.sharpen(turned[0], rows, *turned[1:], 20)
    np.testing.assert_array_equal(got.ordinals, expected.ordinals)


def test_what_is_refused(level: str) -> None:
    rows = draw(10, 20, 6, 4, 2)
    queries, positions = np.zeros((2, 6), np.float32), np.zeros((2, 5), np.int64)
    lists, bases = np.zeros((2, 1), np.int64), np.zeros((2, 1), np.float32)
    for wrong, message in [
        ((queries.astype(float), rows, positions, lists, bases, 3), "queries are float64"),
        ((queries[:, :5], rows, positions, lists, bases, 3), r"must be float32 \(n_q, 6\)"),
        ((queries, rows, positions.astype(np.int32), lists, bases, 3), "positions are int32"),
        ((queries, rows, positions[:1], lists, bases, 3), "positions are int64"),
        ((queries, rows, positions + 20, lists, bases, 3), "position 20: there are 20"),
        ((queries, rows, positions - 2, lists, bases, 3), "position -2"),
        ((queries, rows, positions + 2**62, lists, bases, 3), "position 4611686018427387904"),
        ((queries, rows, positions, lists + 2, bases, 3), "list 2: there are 2"),
        ((queries, rows, positions, lists - 2, bases, 3), "list -2"),
        ((queries, rows, positions, lists[:1], bases, 3), "lists are int64"),
        ((queries, rows, positions, lists, bases[:, :0], 3), "bases are float32"),
        ((queries, rows, positions, lists, bases, 0), "depth is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.sharpen(*wrong)  # type: ignore[arg-type]


def test_rows_that_do_not_fit_are_refused() -> None:
    codes, factors = np.zeros((20, 3), np.uint8), np.zeros((20, 2), np.float32)
    starts, ordinals = np.array([0, 7, 20]), np.arange(20, dtype=np.uint32)
    good: tuple[Any, ...] = (codes, factors, starts, None, ordinals, 4, 6)
    assert len(prepare_packed_rows(*good).codes) == 20
    for place, wrong, message in [
        (0, codes[:, :2], "codes are uint8"),
        (0, codes.astype(np.int8), "codes are int8"),
        (0, codes[:19], "grow from 0 to the 19"),
        (1, factors[:, :1], "factors are float32"),
        (1, factors.astype(float), "factors are float64"),
        (2, starts.astype(np.int32), "starts are int32"),
        (2, np.array([0, 21, 20]), "starts must grow"),
        (2, np.array([1, 7, 20]), "starts must grow"),
        (2, starts[:0], "starts are int64"),
        (3, np.zeros(19, np.float32), "biases are float32"),
        (4, ordinals[:19], "ordinals are uint32"),
        (4, ordinals + np.uint32(2**31), "less than"),
        (5, 1, "bits=1"),
        (6, 0, "dim=0"),
    ]:
        with pytest.raises(ValueError, match=message):
            prepare_packed_rows(*(wrong if i == place else x for i, x in enumerate(good)))  # type: ignore[arg-type]


def draw_search(
    seed: int, n: int, d: int, nlist: int, bits: int, scan_bits: int, has_biases: bool = False
) -> tuple[Coarse, Lists, PackedRows, Grid]:
    """Random codes of both kinds, which say nothing of each other: every step can be told from the others."""
    rng = np.random.default_rng(seed)
    whole = draw(seed, n, d, bits, nlist, has_biases)
    m = -(-d * scan_bits // 4)
    blocks = rng.integers(0, 256, (-(-n // 32), -(-m // 8), 2, 64), dtype=np.uint8)
    scales = rng.random(n, dtype=np.float32) + np.float32(0.5)
    biases = whole.biases if has_biases else None
    centroids = rng.standard_normal((nlist, d)).astype(np.float32)
    halves = (-(centroids**2).sum(axis=1) / 2).astype(np.float32) if has_biases else None
    coded = prepare_lists(blocks, whole.starts, scales, biases, whole.ordinals)
    signs = (2 * rng.integers(0, 2, (4, d), dtype=np.int8) - 1).astype(np.int8)
    return prepare_centroids(centroids, halves), coded, whole, Grid(scan_bits, signs)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1, 31, 32, 33, 300]) | st.integers(1, 200),
    d=st.sampled_from([1, 15, 16, 17, 33, 64, 96]),
    nlist=st.integers(1, 20),
    bits=st.sampled_from([(2, 1), (4, 1), (4, 2), (8, 4)]),
    n_queries=st.integers(0, 3),
    n_probe=st.integers(1, 25),
    several=st.integers(1, 90),
    depth=st.integers(1, 40),
    has_biases=st.booleans(),
    has_origin=st.booleans(),
    share=st.sampled_from([None, 0.0, 0.3, 1.0]),
)
def test_a_whole_search_is_its_steps(
    level: str,
    seed: int,
    n: int,
    d: int,
    nlist: int,
    bits: tuple[int, int],
    n_queries: int,
    n_probe: int,
    several: int,
    depth: int,
    has_biases: bool,
    has_origin: bool,
    share: float | None,
) -> None:
    coarse, coded, whole, grid = draw_search(seed, n, d, nlist, *bits, has_biases)
    rng = np.random.default_rng(seed + 2)
    queries = rng.standard_normal((n_queries, d)).astype(np.float32)
    origin = rng.standard_normal(d).astype(np.float32) if has_origin else None
    accept = None if share is None else rng.random(n) < share
    args = queries, coarse, coded, whole, n_probe, several, depth, grid, origin, accept
    # The tables of the path itself: a number between two steps of theirs may be rounded to either.
    steps = Steps(choose_lists, rotate, grid_tables, scan_lists, reference.sharpen)
    (got, seen), (expected, wanted) = cpu.probe_whole(*args), step_by_step(steps, *args, None, np.inf, 1)
    np.testing.assert_array_equal(seen, wanted)
    assert_near(got, expected, 1e-6 * d * 2 ** bits[0])


def test_a_whole_search_of_what_does_not_fit_is_refused(level: str) -> None:
    coarse, coded, whole, grid = draw_search(0, 100, 32, 5, 4, 1)
    queries = np.zeros((2, 32), np.float32)
    good: tuple[Any, ...] = (queries, coarse, coded, whole, 3, 20, 5, grid)
    assert cpu.probe_whole(*good)[0].ordinals.shape == (2, 5)
    bad = queries.copy()
    bad[1, 3] = np.nan
    fewer, of_two_bits = draw_search(0, 99, 32, 5, 4, 1), draw_search(0, 100, 32, 5, 4, 2)
    other_lists = draw_search(1, 100, 32, 6, 4, 1)
    for place, wrong, message in [
        (0, queries[:, :5], "queries are"),
        (0, bad, "NaN or infinite"),
        (3, fewer[2], "99 whole codes"),
        (3, other_lists[2], "in 6 lists"),
        (3, draw_search(0, 100, 31, 5, 4, 1)[2], "of 31 dimensions"),
        (2, other_lists[1], "there are 6 lists"),
        (4, 0, "n_probe is 0"),
        (5, 0, "depth is 0"),
        (6, 0, "depth is 0"),
        (7, of_two_bits[3], "subquantisers"),
    ]:
        args = [wrong if i == place else x for i, x in enumerate(good)]
        with pytest.raises(ValueError, match=message):
            cpu.probe_whole(*args)
    with pytest.raises(ValueError, match="accept"):
        cpu.probe_whole(*good, None, np.ones(20, np.bool_))
