"""Inverted lists against the definition, on every level; against `pq_scan` and first principles."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cases.lists import CASES
from bench.kernels import check
from retrieval.kernels import host
from retrieval.kernels.lists import cpu, reference
from retrieval.kernels.pq_scan import reference as pq
from retrieval.kernels.tables.cpu import grid_tables
from retrieval.kernels.tables.prepared import Grid
from retrieval.quantize.bits import BitsCodec, BitsTableCodec
from retrieval.quantize.rotation import Rotation

LEVELS = ["avx512", "portable"] if host.simd_level() == "avx512" else ["portable"]
Arrays = tuple[np.ndarray, ...]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(cpu, "simd_level", lambda: request.param)
    yield request.param


def draw(
    seed: int,
    n: int,
    m: int,
    nlist: int,
    n_queries: int,
    n_probe: int,
    kind: str = "random",
    with_numbers: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[np.ndarray, reference.Lists, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 16, (n, m), dtype=np.uint8)
    tables = rng.standard_normal((n_queries, m, 16)).astype(np.float32)
    scales = rng.random(n).astype(np.float32) + np.float32(0.5)
    biases = rng.standard_normal(n).astype(np.float32)
    starts = np.sort(np.concatenate([[0, n], rng.integers(0, n + 1, nlist - 1)]))
    ordinals = rng.permutation(n).astype(np.uint32)
    lists = np.empty((n_queries, min(n_probe, nlist)), np.int64)
    for row in lists:
        row[:] = rng.permutation(nlist)[:n_probe]
    lists[rng.random(lists.shape) < 0.1] = -1
    bases = -np.sort(-rng.standard_normal(lists.shape).astype(np.float32), axis=1)
    if kind == "ties":  # across lists too, for documents in any order
        codes[:] = codes[:1]
        scales[:], biases[:], bases[:] = 1, rng.integers(0, 2, n), 0
    elif kind == "undefined":
        biases[rng.random(n) < 0.3] = np.nan
        biases[rng.random(n) < 0.3] = -np.inf
    given_numbers = [
        x if wanted else None for x, wanted in zip((scales, biases, ordinals), with_numbers, strict=True)
    ]
    return tables, reference.prepare_lists(pq.pack_codes(codes), starts, *given_numbers), lists, bases


def assert_same(got: Arrays, expected: Arrays) -> None:
    for have, want in zip(got, expected, strict=True):
        assert have.dtype == want.dtype
        np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.function} {case.label}")
def test_cases(case, level: str) -> None:  # type: ignore[no-untyped-def]
    assert check(case) is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([0, 1, 31, 32, 33, 64, 97]) | st.integers(0, 3000),
    m=st.integers(1, 40),
    nlist=st.integers(1, 30),
    n_queries=st.integers(0, 4),
    n_probe=st.integers(0, 31),
    depth=st.integers(1, 20) | st.integers(1, 3200),
    kind=st.sampled_from(["random", "ties", "undefined"]),
    with_numbers=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    share=st.sampled_from([None, 0.0, 0.02, 0.5, 1.0]),
)
def test_equal_to_the_reference(
    level: str,
    seed: int,
    n: int,
    m: int,
    nlist: int,
    n_queries: int,
    n_probe: int,
    depth: int,
    kind: str,
    with_numbers: tuple[bool, bool, bool],
    share: float | None,
) -> None:
    drawn = draw(seed, n, m, nlist, n_queries, n_probe, kind, with_numbers)
    rng = np.random.default_rng(seed)
    accept = None if share is None else rng.random(n) < share
    args = (*drawn, depth, accept)
    assert_same(cpu.scan_lists(*args), reference.scan_lists(*args))


def test_everything_in_one_list_is_a_plain_scan(level: str) -> None:
    tables, coded, _, _ = draw(1, 1003, 13, 1, 3, 1, with_numbers=(False, False, False))
    lists, bases = np.zeros((3, 1), np.int64), np.zeros((3, 1), np.float32)
    estimates, positions, found, scanned = cpu.scan_lists(tables, coded, lists, bases, 1003)
    scores, ordinals = pq.pq_scan(tables, coded.blocks, 1003, None, 4, 1003)
    np.testing.assert_allclose(estimates, scores, rtol=1e-5, atol=1e-5)
    assert (found == 1003).all()
    assert (scanned == 1003).all()
    assert (positions == ordinals).mean() > 0.95  # float32 rounds some totals to one


def test_estimates_are_near_the_float_tables(level: str) -> None:
    """Within half a step a subquantiser, times the scale."""
    tables, coded, lists, bases = draw(2, 500, 17, 6, 4, 6)
    codes = pq.unpack_codes(coded.blocks, 500, 17)
    estimates, positions, found, _ = cpu.scan_lists(tables, coded, lists, bases, 500)
    steps = pq.quantize_tables(tables)[1]
    for q in range(4):
        own = np.searchsorted(coded.starts, positions[q, : found[q]], side="right") - 1
        base = {int(one): b for one, b in zip(lists[q], bases[q], strict=True)}
        for estimate, p, one in zip(estimates[q], positions[q], own, strict=False):
            exact = float(tables[q, np.arange(17), codes[p]].astype(np.float64).sum())
            exact = base[int(one)] + float(coded.biases[p]) + float(coded.scales[p]) * exact
            assert abs(estimate - exact) <= float(coded.scales[p]) * 17 * steps[q] / 2 * 1.001 + 1e-4


def test_estimates_ascending(level: str) -> None:
    """Every position beats all before it, so that the buffer is cut over and over."""
    tables, coded, lists, bases = draw(3, 5000, 6, 7, 2, 7)
    rising = replace(coded, biases=np.arange(5000, dtype=np.float32) * 20)
    lists[:], bases[:] = np.arange(7), 0
    args = (tables, rising, lists, bases, 9)
    assert_same(cpu.scan_lists(*args), reference.scan_lists(*args))


@pytest.mark.parametrize("depth", [1, 64, 700])
def test_ties_go_to_the_lower_document(level: str, depth: int) -> None:
    tables, coded, lists, bases = draw(4, 3000, 5, 8, 2, 8, "ties", (False, False, True))
    lists[:] = np.random.default_rng(0).permutation(8)
    _, positions, found, _ = cpu.scan_lists(tables, coded, lists, bases, depth)
    assert (found == depth).all()
    np.testing.assert_array_equal(coded.ordinals[positions[0]], np.arange(depth))


def test_unaligned_read_only_file(level: str, tmp_path: Path) -> None:
    tables, coded, lists, bases = draw(5, 777, 19, 9, 3, 5)
    path = tmp_path / "blocks"
    path.write_bytes(b"xyz" + coded.blocks.tobytes())
    mapped = np.memmap(path, np.uint8, "r", offset=3, shape=coded.blocks.shape)
    tables.flags.writeable = False
    moved = cpu.prepare_lists(mapped, coded.starts, coded.scales, coded.biases, coded.ordinals)
    got = cpu.scan_lists(tables, moved, np.asfortranarray(lists), bases[:, ::-1][:, ::-1], 20)
    assert_same(got, reference.scan_lists(tables, coded, lists, bases, 20))


def test_copies_point_to_their_own_arrays(level: str) -> None:
    tables, coded, lists, bases = draw(6, 300, 9, 4, 2, 4)
    expected = reference.scan_lists(tables, coded, lists, bases, 20)
    for other in (copy.deepcopy(coded), pickle.loads(pickle.dumps(coded))):
        assert other.places[0] != coded.places[0]
        assert_same(cpu.scan_lists(tables, other, lists, bases, 20), expected)


def test_threads(level: str) -> None:
    args = (*draw(7, 20_000, 24, 60, 5, 20), 50)
    expected = reference.scan_lists(*args)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cpu.scan_lists(*args), range(24)):
            assert_same(got, expected)


def test_what_a_scan_refuses(level: str) -> None:
    tables, coded, lists, bases = draw(8, 200, 9, 5, 2, 3)
    lists[:] = [0, 1, 2]
    for changes, message in [
        ({"tables": tables.astype(float)}, "tables are float64"),
        ({"tables": tables[:, :8]}, "tables have 8 subquantisers"),
        ({"tables": np.where(tables == tables[1, 3, 4], np.inf, tables)}, "not finite"),
        ({"lists": lists.astype(np.int32)}, "lists are int32"),
        ({"lists": lists[:1]}, "lists are int64"),
        ({"lists": np.array([[0, 1, 2], [3, 5, 1]])}, "list 5: there are 5"),
        ({"lists": np.array([[0, 1, 2], [3, -2, 1]])}, "list -2"),
        ({"lists": np.array([[0, 1, 2], [3, 1, 3]])}, "comes twice"),
        ({"bases": bases[:, :2]}, "bases are float32"),
        ({"depth": 0}, "depth is 0"),
        ({"accept": np.ones(int(coded.ordinals[:50].max()), np.bool_)}, "more documents than"),
        ({"accept": np.ones(200, np.uint8)}, "accept is uint8"),
    ]:
        good = {"tables": tables, "coded": coded, "lists": lists, "bases": bases, "depth": 200}
        with pytest.raises(ValueError, match=message):
            cpu.scan_lists(**{**good, **changes})  # type: ignore[arg-type]


def test_what_lists_refuse() -> None:
    _, coded, _, _ = draw(9, 200, 9, 5, 2, 3)
    good = {"blocks": coded.blocks, "starts": coded.starts, "scales": coded.scales}
    falling = coded.starts.copy()
    falling[[1, 2]] = 150, 20
    for changes, message in [
        ({"blocks": coded.blocks[:, :, :1]}, "blocks are"),
        ({"blocks": coded.blocks[:-1]}, "starts must grow"),
        ({"starts": falling}, "starts must grow"),
        ({"starts": coded.starts + 1, "scales": None}, "starts must grow"),
        ({"starts": coded.starts[:0], "scales": None}, "starts are"),
        ({"starts": coded.starts.astype(np.int32)}, "starts are int32"),
        ({"scales": coded.scales[:-1]}, "scales are"),
        ({"biases": coded.scales.astype(float)}, "biases are"),
        ({"ordinals": np.full(200, 2**31, np.uint32)}, "an ordinal is 2147483648"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.prepare_lists(**{**good, **changes})  # type: ignore[arg-type]


def test_lists_that_changed_are_not_left(level: str) -> None:
    """Starts that were sound when they were checked."""
    tables, coded, lists, bases = draw(10, 200, 9, 5, 1, 5)
    starts = coded.starts.copy()
    changed = cpu.prepare_lists(coded.blocks, starts)
    lists[:] = np.arange(5)
    starts[2] = 10_000
    with pytest.raises(ValueError, match="changed after"):
        cpu.scan_lists(tables, changed, lists, bases, 3)


def centroids_of(
    seed: int, nlist: int, d: int, n_groups: int = 0
) -> tuple[np.ndarray, np.ndarray, reference.Groups | None]:
    rng = np.random.default_rng(seed)
    supers = rng.standard_normal((max(n_groups, 1), d)).astype(np.float32)
    own = rng.integers(0, len(supers), nlist)
    centroids = supers[own] + np.float32(0.4) * rng.standard_normal((nlist, d)).astype(np.float32)
    biases = rng.standard_normal(nlist).astype(np.float32)
    if not n_groups:
        return centroids, biases, None
    starts = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=n_groups))])
    return centroids, biases, reference.Groups(supers, starts, np.argsort(own, kind="stable"), None)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    nlist=st.sampled_from([1, 15, 16, 17, 63, 64, 65]) | st.integers(1, 700),
    d=st.integers(1, 70),
    n_queries=st.integers(0, 3),
    n_probe=st.integers(1, 80),
    n_groups=st.sampled_from([0, 0, 1, 7, 40]),
    n_members=st.sampled_from([None, 1, 60]),
)
def test_choice_equals_the_reference(
    level: str,
    seed: int,
    nlist: int,
    d: int,
    n_queries: int,
    n_probe: int,
    n_groups: int,
    n_members: int | None,
) -> None:
    centroids, biases, groups = centroids_of(seed, nlist, d, n_groups)
    coarse = cpu.prepare_centroids(centroids, biases, groups)
    queries = np.random.default_rng(seed).standard_normal((n_queries, d)).astype(np.float32)
    lists, bases = cpu.choose_lists(queries, coarse, n_probe, n_members)
    expected, products = reference.choose_lists(queries, coarse, n_probe, n_members)
    assert lists.dtype == np.int64
    assert lists.shape == bases.shape == expected.shape
    np.testing.assert_array_equal(np.isfinite(bases), lists >= 0)
    np.testing.assert_allclose(bases, products, rtol=1e-4, atol=1e-4)
    for q, (row, row_bases) in enumerate(zip(lists, bases, strict=True)):
        got = row[row >= 0]
        assert len(set(got)) == len(got)
        exact = centroids[got].astype(np.float64) @ queries[q] + biases[got]
        np.testing.assert_allclose(row_bases[: len(got)], exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_probe", [1, 10, 300])
def test_equal_lists_are_chosen_in_order(level: str, n_probe: int) -> None:
    centroids = np.tile(np.array([[1, 2, 3], [2, 0, 1]], np.float32), (200, 1))
    coarse = cpu.prepare_centroids(centroids)
    lists, bases = cpu.choose_lists(np.array([[2, 0, 0]], np.float32), coarse, n_probe)
    expected = np.concatenate([np.arange(1, 400, 2), np.arange(0, 400, 2)])[:n_probe]
    np.testing.assert_array_equal(lists[0], expected)
    np.testing.assert_array_equal(bases[0], np.where(expected % 2, 4, 2))


@pytest.mark.parametrize(("nlist", "n_probe"), [(20, 1), (200, 40)])
def test_queries_together_choose_what_each_does(level: str, nlist: int, n_probe: int) -> None:
    rng = np.random.default_rng(5)
    coarse = cpu.prepare_centroids(rng.standard_normal((nlist, 20)).astype(np.float32))
    for length in (1e-3, 1, 1e3):  # no query's length may matter to the next
        queries = np.float32(length) * rng.standard_normal((4, 20)).astype(np.float32)
        each = [cpu.choose_lists(queries[i : i + 1], coarse, n_probe) for i in range(4)]
        for together, apart in zip(
            cpu.choose_lists(queries, coarse, n_probe), zip(*each, strict=True), strict=True
        ):
            np.testing.assert_array_equal(together, np.concatenate(apart))


def test_a_reach_leaves_out_what_is_far(level: str) -> None:
    """Whole numbers, whose products are exact; queries of length 5, and one of none."""
    rng = np.random.default_rng(3)
    centroids, spreads = rng.integers(-9, 10, (100, 20)).astype(np.float32), rng.integers(0, 9, 100) / 4
    queries = np.zeros((3, 20), np.float32)
    queries[0, :2], queries[1, 7] = (3, -4), 5
    coarse = cpu.prepare_centroids(centroids, None, None, spreads.astype(np.float32))
    for reach, least, most in ((0.0, 1, 40), (4.1, 1, 40), (4.1, 30, 40), (2.1, 9, 5), (np.inf, 1, 7)):
        got = cpu.choose_lists(queries, coarse, most, None, reach, least)
        expected = reference.choose_lists(queries, coarse, most, None, reach, least)
        for array, wanted in zip(got, expected, strict=True):
            np.testing.assert_array_equal(array, wanted)
        scores = centroids @ queries[0] + 5 * spreads
        best = np.argsort(-scores, kind="stable")[:most]
        near = scores[best] >= scores[best[:4]].mean() - 5 * reach
        n = max(int(near.sum()), min(least, most))
        np.testing.assert_array_equal(got[0][0], [*best[:n], *[-1] * (most - n)])
        np.testing.assert_array_equal(got[1][0, :n], centroids[best[:n]] @ queries[0])


def test_copies_of_centroids_point_to_their_own_arrays(level: str) -> None:
    coarse = cpu.prepare_centroids(*centroids_of(1, 100, 20, 5))
    queries = np.random.default_rng(1).standard_normal((3, 20)).astype(np.float32)
    other = copy.deepcopy(coarse)
    assert other.places[0] != coarse.places[0]
    for got, want in zip(
        cpu.choose_lists(queries, other, 9), cpu.choose_lists(queries, coarse, 9), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_what_a_choice_refuses(level: str) -> None:
    centroids, biases, groups = centroids_of(2, 30, 6, 4)
    assert groups is not None
    coarse = cpu.prepare_centroids(centroids, biases, groups)
    queries = np.ones((2, 6), np.float32)
    for wrong, message in [
        ((queries.astype(float), coarse, 3), "queries are float64"),
        ((queries[:, :5], coarse, 3), "queries are float32"),
        ((queries, coarse, 0), "n_probe is 0"),
        ((queries * np.float32(np.inf), coarse, 3), "NaN or infinite"),
        ((queries * np.float32(np.nan), coarse, 3), "NaN or infinite"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.choose_lists(*wrong)
    for wrong_parts, message in [
        ((centroids.astype(float), None, None), "centroids are float64"),
        ((centroids[:0], None, None), "centroids are float32"),
        ((centroids * np.float32(np.nan), None, None), "NaN or infinite"),
        ((centroids, biases[:3], None), "biases are"),
        ((centroids, None, None, biases[:3]), "spreads are"),
        ((centroids, biases, groups._replace(members=groups.members[::-1] * 0)), "members of groups"),
        ((centroids, biases, groups._replace(starts=groups.starts[:-1])), "starts of groups"),
        ((centroids, biases, groups._replace(centroids=groups.centroids[:, :3])), "centroids of groups"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.prepare_centroids(*wrong_parts)
    with pytest.raises(ValueError, match="prepare_centroids"):
        replace(coarse, runs=coarse.runs[:-1])
    with pytest.raises(ValueError, match="not among the 30"):
        replace(coarse, members=coarse.members + 1)


def whole(seed: int, n: int, d: int, bits: int, nlist: int, n_queries: int, kind: str) -> dict[str, Any]:
    """Arguments of `probe_lists`. Queries, centroids and the origin are small whole numbers, whose
    products are exact; so are all bases."""
    rng = np.random.default_rng(seed)
    m = -(-d * bits // 4)
    _, coded, _, _ = draw(seed, n, m, nlist, 0, 1, kind, (True, seed % 2 == 0, seed % 3 > 0))
    errors = rng.random(n).astype(np.float32) if seed % 5 else None
    numbers = (coded.scales, coded.biases, coded.ordinals)
    lists = cpu.prepare_lists(coded.blocks, coded.starts, *(x if len(x) else None for x in numbers), errors)
    biases = rng.integers(-3, 4, nlist).astype(np.float32)
    signs = rng.choice(np.array([-1, 1], np.int8), (3, d))
    return {
        "queries": rng.integers(-4, 5, (n_queries, d)).astype(np.float32),
        "coarse": cpu.prepare_centroids(rng.integers(-4, 5, (nlist, d)).astype(np.float32), biases),
        "coded": lists,
        "tables": Grid(bits, signs),
        "origin": rng.integers(-4, 5, d).astype(np.float32) if seed % 7 > 3 else None,
    }


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([0, 1, 31, 32, 33, 97]) | st.integers(0, 2000),
    d=st.sampled_from([1, 15, 16, 17, 31, 33, 48]) | st.integers(1, 70),
    bits=st.sampled_from([1, 2, 4]),
    nlist=st.integers(1, 40),
    n_queries=st.integers(0, 4),
    n_probe=st.integers(1, 50),
    depth=st.integers(1, 20) | st.integers(1, 2100),
    kind=st.sampled_from(["random", "ties", "undefined"]),
    share=st.sampled_from([None, 0.0, 0.02, 0.5, 1.0]),
)
def test_a_search_in_one_call_is_its_steps(
    level: str,
    seed: int,
    n: int,
    d: int,
    bits: int,
    nlist: int,
    n_queries: int,
    n_probe: int,
    depth: int,
    kind: str,
    share: float | None,
) -> None:
    drawn = whole(seed, n, d, bits, nlist, n_queries, kind)
    drawn |= {"n_probe": n_probe, "depth": depth}
    drawn["accept"] = None if share is None else np.random.default_rng(seed).random(n) < share
    grid = drawn["tables"]
    drawn["tables"] = grid_tables(drawn["queries"], bits, grid.signs)
    expected = reference.probe_lists(**drawn)
    assert_same(cpu.probe_lists(**drawn), expected)
    drawn["tables"] = grid  # made on the way: the same numbers
    assert_same(cpu.probe_lists(**drawn), expected)


def test_a_search_finds_what_products_say(level: str) -> None:
    """Codes of the vectors themselves, by hand: no function of this room is asked but the one."""
    rng = np.random.default_rng(3)
    values = rng.standard_normal((500, 24)).astype(np.float32)
    centroids = values[:7].copy()
    own = ((values[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
    codec = BitsCodec.of(Rotation.random(24, 0), 4)
    assert isinstance(codec, BitsTableCodec)
    order = np.argsort(own, kind="stable")
    codes = codec.encode(values - centroids[own])[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=7))])
    factors = codec.factors(codes)
    lists = cpu.prepare_lists(
        pq.pack_codes(codec.nibbles(codes)),
        starts,
        factors.scales,
        None,
        order.astype(np.uint32),
        factors.errors,
    )
    queries = rng.standard_normal((3, 24)).astype(np.float32)
    assert codec.grid is not None
    found = cpu.probe_lists(queries, cpu.prepare_centroids(centroids), lists, 3, 500, codec.grid)
    assert factors.errors is not None
    for q, query in enumerate(queries):
        near = np.isin(own, np.argsort(-(centroids @ query))[:3])
        n = found.found[q]
        assert n == found.scanned[q] == near.sum()
        assert set(found.ordinals[q, :n]) == set(np.flatnonzero(near))
        places = np.argsort(order)[found.ordinals[q, :n]]
        np.testing.assert_array_equal(found.errors[q, :n], factors.errors[places])
        misses = found.estimates[q, :n] - (values @ query)[found.ordinals[q, :n]]
        deviations = np.linalg.norm(query) * found.errors[q, :n]
        assert np.square(misses).sum() <= 1.5 * np.square(deviations).sum() <= 0.05 * n * (query @ query)
        assert (found.ordinals[q, n:] == -1).all()
        assert np.isinf(found.errors[q, n:]).all()


def test_searches_on_threads(level: str) -> None:
    drawn = whole(4, 5000, 40, 2, 50, 3, "random") | {"n_probe": 9, "depth": 40}
    expected = cpu.probe_lists(**drawn)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cpu.probe_lists(**drawn), range(24)):
            assert_same(got, expected)


def test_what_a_search_refuses(level: str) -> None:
    good = whole(5, 300, 20, 2, 6, 2, "random") | {"n_probe": 6, "depth": 9}
    queries, grid = good["queries"], good["tables"]
    tables = grid_tables(queries, 2, grid.signs)
    for changes, message in [
        ({"queries": queries.astype(float)}, "queries are float64"),
        ({"queries": queries[:, :19]}, "queries are float32"),
        ({"queries": queries * np.float32(np.nan)}, "NaN or infinite"),
        ({"n_probe": 0}, "n_probe is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"coarse": cpu.prepare_centroids(np.ones((5, 20), np.float32))}, "6 lists: there are 5"),
        ({"tables": Grid(2, grid.signs[:, :19])}, "the grid is of 19"),
        ({"tables": Grid(4, grid.signs)}, "tables have 20 subquantisers"),
        ({"tables": tables[:1]}, "tables are float32"),
        ({"tables": tables.astype(float)}, "tables are float64"),
        ({"tables": tables[:, :8]}, "tables have 8 subquantisers"),
        ({"tables": tables * np.float32(np.inf)}, "not finite"),
        ({"origin": np.ones(19, np.float32)}, "origin is float32"),
        ({"origin": np.ones(20)}, "origin is float64"),
        ({"accept": np.ones(20, np.bool_)}, "more documents than"),
        ({"accept": np.ones(300, np.uint8)}, "accept is uint8"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.probe_lists(**{**good, **changes})
    for wrong in (grid.signs.astype(np.int16), grid.signs[0], grid.signs[:0]):
        with pytest.raises(ValueError, match="signs"):
            Grid(2, wrong)
    with pytest.raises(ValueError, match="bits=3"):
        Grid(3, grid.signs)
    with pytest.raises(ValueError, match="errors are float64"):
        cpu.prepare_lists(good["coded"].blocks, good["coded"].starts, errors=np.ones(300))
