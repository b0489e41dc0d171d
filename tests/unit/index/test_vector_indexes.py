"""What every vector index keeps to, with every codec."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.index.base import Effort, Found, SegmentSearch, VectorIndex
from retrieval.index.registry import INDEXES, fit_index, index_from_state
from retrieval.quantize import FloatCodec
from tests.unit.index.indexes import (
    CASES,
    WIDE,
    Case,
    N,
    attached,
    biases_of,
    clustered,
    documents,
    fitted,
    in_pieces,
    queries,
)

EVERYTHING = Effort(depth=N, nprobe=WIDE, ef_search=N)
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def masks(n: int) -> dict[str, NDArray[np.bool_] | None]:
    rng = np.random.default_rng(5)
    one = np.zeros(n, bool)
    one[n // 3 : n // 3 + 1] = True
    return {
        "no mask": None,
        "nothing": np.zeros(n, bool),
        "one": one,
        "even": np.arange(n) % 2 == 0,
        "few": rng.random(n) < 0.02,
        "random": rng.random(n) < 0.4,
        "all": np.ones(n, bool),
    }


def check_order(found: Found) -> None:
    """Types, best first, ties by ordinal, nobody twice."""
    assert found.ordinals.dtype == np.int64
    assert found.estimates.dtype == np.float32
    assert len(found.ordinals) == len(found.estimates) == len(set(found.ordinals.tolist()))
    assert not np.isnan(found.estimates).any()
    order = np.lexsort((found.ordinals, -found.estimates))
    assert np.array_equal(order, np.arange(len(order)))
    if found.errors is not None:
        assert found.errors.shape == found.estimates.shape
        assert (found.errors >= 0).all()


def same(a: list[Found], b: list[Found]) -> None:
    for one, other in zip(a, b, strict=True):
        assert np.array_equal(one.ordinals, other.ordinals)
        assert np.array_equal(one.estimates, other.estimates)
        assert (one.errors is None) == (other.errors is None)
        if one.errors is not None and other.errors is not None:
            assert np.array_equal(one.errors, other.errors)


@each_case
@pytest.mark.parametrize("has_biases", [False, True], ids=["dot", "l2"])
def test_everything_accepted_is_found_and_nothing_else(case: Case, has_biases: bool) -> None:
    search = attached(fitted(case), documents(), biases_of(documents()) if has_biases else None)
    effort = EVERYTHING
    if case.index == "funnel":
        effort = Effort(depth=N)
    for name, accept in masks(N).items():
        wanted = np.arange(N) if accept is None else np.flatnonzero(accept)
        for found in search.search(queries(), effort, accept):
            check_order(found)
            assert np.array_equal(np.sort(found.ordinals), wanted), name


# The other two are approximate however wide they look.
@pytest.mark.parametrize("case", [case for case in CASES if case.index in {"flat", "ivf"}], ids=str)
def test_few_candidates_are_the_best_of_all(case: Case) -> None:
    search = attached(fitted(case), documents())
    for accept in masks(N).values():
        everything = search.search(queries(), EVERYTHING, accept)
        some = search.search(queries(), Effort(depth=30, nprobe=WIDE), accept)
        for few, all_of_them in zip(some, everything, strict=True):
            check_order(few)
            if case.options.get("scan_bits"):  # by fewer bits some of the best are not seen
                shared = np.isin(all_of_them.ordinals, few.ordinals)
                assert np.array_equal(few.ordinals, all_of_them.ordinals[shared])
                assert np.array_equal(few.estimates, all_of_them.estimates[shared])
                assert len(few.ordinals) == len(all_of_them.ordinals[:30])
                assert shared[:30].sum() >= 0.7 * len(few.ordinals)
                continue
            assert np.array_equal(few.ordinals, all_of_them.ordinals[:30])
            assert np.array_equal(few.estimates, all_of_them.estimates[:30])


@each_case
@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_recall_has_a_floor(case: Case, metric: str) -> None:
    values = documents()
    biases = biases_of(values) if metric == "l2" else None
    search = attached(fitted(case), values, biases)
    scores = queries() @ values.T + (0 if biases is None else biases)
    if case.options.get("codec") == "sign":  # finds what points the same way, whatever its length
        scores = (queries() / np.linalg.norm(queries(), axis=1, keepdims=True)) @ (
            values / np.linalg.norm(values, axis=1, keepdims=True)
        ).T
        search = attached(fitted(case), values)
    effort = Effort(depth=30, nprobe=5, ef_search=64)
    hits = 0
    for row, found in zip(scores, search.search(queries(), effort), strict=True):
        hits += len(set(np.argsort(-row)[:10].tolist()) & set(found.ordinals.tolist()))
    assert hits / (10 * len(scores)) >= case.least


@each_case
@pytest.mark.parametrize("has_biases", [False, True], ids=["dot", "l2"])
def test_what_is_stored_does_not_depend_on_blocks_or_threads(case: Case, has_biases: bool) -> None:
    values = clustered(20_000 if case.index in {"ivf", "flat"} else 1500, 7)
    biases = biases_of(values) if has_biases else None
    index, n = fitted(case), len(values)
    whole = index.arrange(in_pieces(values, biases, n), n)
    for size, threads in ((777, 1), (4096, 2), (8192, 2)):
        pieces = index.arrange(in_pieces(values, biases, size), n, threads)
        assert whole.keys() == pieces.keys()
        for name, array in whole.items():
            assert array.dtype == pieces[name].dtype
            assert array.tobytes() == pieces[name].tobytes(), (name, size, threads)


@each_case
def test_wrong_blocks_are_refused(case: Case) -> None:
    index, values = fitted(case), documents()
    with pytest.raises(ValueError, match="997 documents: there must be 998"):
        index.arrange(in_pieces(values), N + 1)
    with pytest.raises(ValueError, match="dimensions"):
        index.arrange(in_pieces(values[:, :-1]), N)


@each_case
def test_state_round_trip(case: Case) -> None:
    index = fitted(case)
    config, arrays = index.state()
    copies = {name: array.copy() for name, array in arrays.items()}
    again = index_from_state(index.name, json.loads(json.dumps(config)), copies)
    assert again.state()[0] == config
    assert all(np.array_equal(arrays[name], array) for name, array in again.state()[1].items())
    before = index.arrange(in_pieces(documents()), N)
    after = again.arrange(in_pieces(documents()), N)
    assert {name: array.tobytes() for name, array in before.items()} == {
        name: array.tobytes() for name, array in after.items()
    }
    effort = Effort(depth=20, nprobe=4)
    same(
        attached(index, documents()).search(queries(), effort),
        attached(again, documents()).search(queries(), effort),
    )


@each_case
def test_training_is_deterministic(case: Case) -> None:
    # faiss adds up for OPQ in an order that depends on its threads
    threads = 1 if case.options.get("codec") == "opq" else 2
    config, arrays = fitted(case).state()
    again_config, again = fit_index(case.index, documents().copy(), N, case.recipe, threads=threads).state()
    assert config == again_config
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in again.items()
    }


@each_case
def test_a_state_of_another_version_is_refused(case: Case) -> None:
    config, arrays = fitted(case).state()
    with pytest.raises(IndexFormatError, match="'novel'"):
        index_from_state(case.index, {**config, "novel": 1}, arrays)
    for name in arrays:
        with pytest.raises((IndexDamagedError, IndexFormatError)):
            index_from_state(case.index, config, {key: arrays[key] for key in arrays if key != name})


@each_case
@pytest.mark.parametrize("n", [0, 1, 31, 32, 33])
def test_small_segments(case: Case, n: int) -> None:
    values = clustered(n, 11)
    for biases in (None, biases_of(values)):
        search = attached(fitted(case), values, biases)
        for accept in masks(n).values():
            for found in search.search(queries(), Effort(depth=50, nprobe=WIDE), accept):
                check_order(found)
                assert len(found.ordinals) == (n if accept is None else int(accept.sum()))
    assert attached(fitted(case), values).search(queries()[:0], EVERYTHING) == []


@each_case
def test_queries_do_not_depend_on_each_other(case: Case) -> None:
    search = attached(fitted(case), documents())
    effort = Effort(depth=15, nprobe=3)
    together = search.search(queries(), effort)
    for i in range(len(queries())):
        alone = search.search(queries()[i : i + 1], effort)[0]
        assert np.array_equal(alone.ordinals, together[i].ordinals)
        assert np.allclose(alone.estimates, together[i].estimates, rtol=1e-5, atol=1e-4)


def broken(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """A few bytes replaced by others."""
    damaged = np.ascontiguousarray(array).copy()
    flat = damaged.reshape(-1).view(np.uint8)
    if len(flat):
        places = rng.integers(0, len(flat), rng.integers(1, 6))
        flat[places] = rng.integers(0, 256, len(places))
    return damaged


def search_damaged(index: VectorIndex, arrays: dict[str, Any], n: int) -> None:
    """Refused, or searched without leaving the arrays."""
    try:
        search: SegmentSearch = index.attach(arrays, n, documents()[:n], FloatCodec("float32"))
    except IndexDamagedError:
        return
    for accept in (None, np.arange(n) % 3 == 0):
        for found in search.search(queries(), Effort(depth=40, nprobe=WIDE, ef_search=20), accept):
            check_order(found)
            assert ((found.ordinals >= 0) & (found.ordinals < n)).all()
            assert accept is None or accept[found.ordinals].all()


@each_case
@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
def test_damaged_arrays_are_refused_or_harmless(case: Case) -> None:
    rng = np.random.default_rng(13)
    for biases in (None, biases_of(documents())):
        arrays = fitted(case).arrange(in_pieces(documents(), biases), N)
        for name, array in arrays.items():
            for _ in range(15):
                search_damaged(fitted(case), {**arrays, name: broken(array, rng)}, N)


@each_case
def test_arrays_that_do_not_fit_are_refused(case: Case) -> None:
    index, biases = fitted(case), biases_of(documents())
    arrays = index.arrange(in_pieces(documents(), biases), N)
    stored = FloatCodec("float32")
    with pytest.raises(IndexDamagedError):
        index.attach(arrays, N + 1, documents(), stored)
    for name, array in arrays.items():
        wrong = [array[:-1], array.astype(np.float64), array[None]]
        if array.dtype.kind == "f":
            nan = array.copy()
            nan.reshape(-1)[-1] = np.nan
            wrong.append(nan)
        for one in wrong:
            with pytest.raises(IndexDamagedError, match=name):
                index.attach({**arrays, name: one}, N, documents(), stored)
        if name not in {"biases", "lift"}:  # without these it is an index of inner products
            with pytest.raises(IndexDamagedError, match=name):
                index.attach({key: arrays[key] for key in arrays if key != name}, N, documents(), stored)


def test_lists_that_were_trained_without_a_shape_are_searched() -> None:
    case = next(case for case in CASES if case.index == "ivf")
    config, arrays = fitted(case).state()
    older = {name: value for name, value in config.items() if name != "shape"}
    kept = {name: array for name, array in arrays.items() if name not in {"spreads", "reaches"}}
    search = attached(index_from_state("ivf", older, kept), documents())
    for found in search.search(queries(), EVERYTHING):
        assert len(found.ordinals) == N
    fewest = [found.scanned for found in search.search(queries(), Effort(depth=5, nprobe=1))]
    assert 0 < max(fewest) < N


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of flat, funnel, hnsw, ivf, vamana"):
        fit_index("tree", documents(), N, {})
    with pytest.raises(ConfigError, match="no documents to train"):
        fit_index("ivf", documents()[:0], 0, {})
    with pytest.raises(IndexFormatError, match="'tree'"):
        index_from_state("tree", {}, {})
    assert all(name == index.name for name, index in INDEXES.items())
