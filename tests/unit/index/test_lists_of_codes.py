"""Flat and inverted lists: what their numbers are, against first principles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.index import ivf, training
from retrieval.index.base import Effort
from retrieval.index.ivf import IvfIndex
from retrieval.index.lists import WIDEN
from retrieval.index.registry import fit_index, index_from_state
from retrieval.kernels.asymmetric.reference import unpack
from retrieval.kernels.pq_scan.reference import unpack_codes
from retrieval.quantize import FloatCodec, fit_codec
from retrieval.quantize.bits import NestedBitsCodec
from tests.unit.index.indexes import (
    CASES,
    DIM,
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

LISTED = [case for case in CASES if case.index in {"flat", "ivf"}]


def errors_of(codec: Any, codes: NDArray[Any]) -> NDArray[np.float32]:
    """What codes of bits say of themselves: those of several fidelities as a whole."""
    errors: NDArray[np.float32]
    errors = (
        codec.whole(codes)[1][:, 1] if isinstance(codec, NestedBitsCodec) else codec.factors(codes).errors
    )
    return errors


def slack(codec: Any, codes: NDArray[Any]) -> NDArray[Any]:
    """How far estimates through rounded tables or rounded queries may be off, a query."""
    if isinstance(codec, NestedBitsCodec):  # all bits of the code and of the query
        return np.full(len(queries()), 1e-4)
    scale = 1 if codec.name != "bits" else codec.factors(codes).scales.max()
    if hasattr(codec, "tables"):
        tables = codec.tables(queries())
        widest = (tables.max(axis=2) - tables.min(axis=2)).max(axis=1)
        return widest / 255 * tables.shape[1] / 2 * scale + 1e-3
    if codec.name == "bits":  # each number of the query is off by half of a 127th of the largest
        return 255 / 2 * DIM * np.linalg.norm(queries(), axis=1) / 254 * scale + 1e-3
    return np.full(len(queries()), 1e-3)


@pytest.mark.parametrize("case", LISTED, ids=str)
@pytest.mark.parametrize("has_biases", [False, True], ids=["dot", "l2"])
def test_estimates_are_base_and_code_and_bias(case: Case, has_biases: bool) -> None:
    index = fitted(case)
    values = documents()
    biases = biases_of(values) if has_biases else None
    state, arrays = index.state()[1], index.arrange(in_pieces(values, biases), N)
    if "centroids" in state and "origin" not in state:
        distances = ((values[:, None].astype(np.float64) - state["centroids"][None]) ** 2).sum(axis=2)
        taken = state["centroids"][distances.argmin(axis=1)]
    else:
        taken = np.broadcast_to(state["origin"], values.shape)
    codec = index.codec  # type: ignore[attr-defined]
    codes = codec.encode(values - taken)
    expected = queries() @ taken.T + codec.scores(queries(), codes)
    expected += 0 if biases is None else biases
    search = index.attach(arrays, N, values, FloatCodec("float32"))
    bound = slack(codec, codes)
    exact = queries() @ values.T + (0 if biases is None else biases)
    for q, found in enumerate(search.search(queries(), Effort(depth=N, nprobe=WIDE))):
        assert found.scanned == N
        assert np.abs(found.estimates - expected[q, found.ordinals]).max() <= bound[q]
        if codec.name == "bits":
            assert found.errors is not None
            own = errors_of(codec, codes)[found.ordinals]
            is_rounded = case.index == "flat" and codec.bits == 8 and not has_biases
            assert np.array_equal(found.errors, own) or (is_rounded and (found.errors > own).all())
            misses = np.abs(found.estimates - exact[q, found.ordinals])
            # twice the standard deviation, which holds for 19 of 20, and the rounding of the tables
            within = misses <= 2 * np.linalg.norm(queries()[q]) * found.errors + bound[q]
            assert within.mean() > 0.85


def test_errors_of_8_bits_tell_of_the_rounding_of_the_query_too() -> None:
    rng, dim = np.random.default_rng(4), 200
    values, asked = (rng.standard_normal((n, dim)).astype(np.float32) for n in (500, 20))
    index = fit_index("flat", values, 500, Case("flat", {"codec": "bits", "bits": 8}).recipe)
    search = index.attach(index.arrange(in_pieces(values), 500), 500, values, FloatCodec("float32"))
    off = []
    for query, found in zip(asked, search.search(asked, Effort(depth=500)), strict=True):
        assert found.errors is not None
        misses = found.estimates - values[found.ordinals] @ query
        off.append(misses / (found.errors * np.linalg.norm(query)))
    assert 0.8 < np.std(off) < 1.2  # without: 1.5


@pytest.mark.parametrize("case", [c for c in LISTED if c.index == "ivf"], ids=str)
def test_documents_lie_in_their_nearest_list(case: Case) -> None:
    index = fitted(case)
    arrays = index.arrange(in_pieces(documents(), biases_of(documents())), N)
    centroids = index.state()[1]["centroids"]
    nearest = ((documents()[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
    order = np.argsort(nearest, kind="stable")
    assert np.array_equal(arrays["ordinals"], order)
    assert np.array_equal(arrays["starts"], np.searchsorted(nearest[order], np.arange(len(centroids) + 1)))
    assert np.array_equal(arrays["biases"], biases_of(documents())[order])


def without_shape(index: Any) -> Any:
    """An index that compares lists by their centroids alone, and visits as many as it is told."""
    if index.name != "ivf":
        return index
    config, arrays = index.state()
    return type(index).from_state({**config, "shape": False}, arrays)


def test_only_the_nearest_lists_are_scanned() -> None:
    case = Case("ivf", {"codec": "float16", "nlist": 13})
    index = without_shape(fitted(case))
    centroids = index.state()[1]["centroids"]
    lists = ((documents()[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
    for biases in (None, biases_of(documents())):
        search = attached(index, documents(), biases)
        own = 0 if biases is None else biases_of(centroids)
        for nprobe in (1, 4, 13):
            for query, found in zip(queries(), search.search(queries(), Effort(N, nprobe)), strict=True):
                chosen = np.argsort(-(centroids @ query + own))[:nprobe]
                inside = np.flatnonzero(np.isin(lists, chosen))
                assert np.array_equal(np.sort(found.ordinals), inside)
                assert found.scanned == len(inside)


def test_packed_codes_are_the_codecs_own() -> None:
    case = Case("ivf", {"codec": "bits", "bits": 4, "nlist": 13})
    index = fitted(case)
    arrays = index.arrange(in_pieces(documents()), N)
    order = arrays["ordinals"].astype(int)
    lists = np.repeat(np.arange(13), np.diff(arrays["starts"]))
    codec = index.codec  # type: ignore[attr-defined]
    codes = codec.encode(documents()[order] - index.state()[1]["centroids"][lists])
    assert np.array_equal(unpack_codes(arrays["blocks"], N, DIM), codec.nibbles(codes))
    assert np.array_equal(arrays["scales"], codec.factors(codes).scales)


@pytest.mark.parametrize(("bits", "scan_bits"), [(2, 1), (4, 1), (4, 2), (8, 4)])
def test_the_highest_bits_are_scanned_and_all_are_kept(bits: int, scan_bits: int) -> None:
    case = Case("ivf", {"codec": "bits", "bits": bits, "scan_bits": scan_bits, "nlist": 13})
    index = fitted(case)
    arrays = index.arrange(in_pieces(documents()), N)
    left = (
        documents()
        - index.state()[1]["centroids"][
            ((documents()[:, None] - index.state()[1]["centroids"][None]) ** 2).sum(axis=2).argmin(axis=1)
        ]
    )
    left = left[arrays["ordinals"].astype(int)]
    codec, plain = index.codec, fit_codec("bits", left, {"bits": bits})  # type: ignore[attr-defined]
    codes = plain.encode(left)  # of the same rotation: that of seed 0
    numbers = unpack(arrays["rows"], bits, DIM)
    assert np.array_equal(arrays["rows"], codes[:, :-8])
    assert np.array_equal(arrays["factors"], np.ascontiguousarray(codes[:, -8:]).view("<f4"))
    pieces = unpack_codes(arrays["blocks"], N, DIM * scan_bits // 4)
    shifts = np.arange(0, 4, scan_bits, dtype=np.uint8)
    scanned = (pieces[:, :, None] >> shifts & (2**scan_bits - 1)).reshape(N, DIM)
    assert np.array_equal(scanned, numbers >> (bits - scan_bits))
    turned = codec.turned(left).astype(np.float64)
    along = (turned * (scanned - (2**scan_bits - 1) / 2)).sum(axis=1)
    np.testing.assert_allclose(arrays["scales"], (turned**2).sum(axis=1) / along, rtol=1e-4)


@pytest.mark.parametrize("index_name", ["flat", "ivf"])
def test_more_bits_make_estimates_sharper_than_those_that_are_scanned(index_name: str) -> None:
    errors = {}
    for scan_bits in (None, 1):
        bits = 1 if scan_bits is None else 4
        case = Case(index_name, {"codec": "bits", "bits": bits, "scan_bits": scan_bits})
        found = attached(fitted(case), documents()).search(queries(), Effort(depth=50, nprobe=WIDE))
        exact = queries() @ documents().T
        misses = [np.abs(each.estimates - exact[q, each.ordinals]) for q, each in enumerate(found)]
        errors[scan_bits] = float(np.concatenate(misses).mean())
    assert errors[1] < 0.3 * errors[None]


@pytest.mark.parametrize("case", [case for case in CASES if case.options.get("scan_bits")], ids=str)
def test_a_deep_search_tells_what_a_shallow_one_finds(case: Case) -> None:
    search = attached(without_shape(fitted(case)), documents())
    deep = search.search(queries(), Effort(depth=400, nprobe=6))
    for depth in (1, 7, 33, 90):
        for far, near in zip(deep, search.search(queries(), Effort(depth=depth, nprobe=6)), strict=True):
            assert far.ranks is not None and near.ranks is not None
            assert near.ranks.max() < WIDEN * depth
            promised = far.ordinals[np.maximum(np.arange(len(far.ordinals)), far.ranks // WIDEN) < depth]
            assert np.isin(promised, near.ordinals).all()
            assert len(promised) >= 0.3 * depth - 1
            both = np.isin(far.ordinals, near.ordinals)
            ranks = dict(zip(far.ordinals[both].tolist(), far.ranks[both].tolist(), strict=True))
            assert all(ranks.get(int(o), r) == r for o, r in zip(near.ordinals, near.ranks, strict=True))


def test_a_negative_error_of_a_whole_code_is_refused() -> None:
    case = Case("flat", {"codec": "bits", "bits": 4, "scan_bits": 1})
    arrays = fitted(case).arrange(in_pieces(documents()), N)
    factors = arrays["factors"].copy()
    factors[17, 1] = -1
    with pytest.raises(IndexDamagedError, match="'factors' has a negative error"):
        fitted(case).attach({**arrays, "factors": factors}, N, documents(), FloatCodec("float32"))


def test_signs_are_of_the_vectors_themselves() -> None:
    for name in ("flat", "ivf"):
        recipe = {**Case(name, {"codec": "sign"}).recipe, "nlist": 5}
        index = fit_index(name, documents(), N, recipe)
        arrays = index.arrange(in_pieces(documents()), N)
        order = arrays["ordinals"].astype(int) if name == "ivf" else np.arange(N)
        assert np.array_equal(arrays["rows"], np.packbits(documents()[order] > 0, axis=1))


def test_a_code_with_a_broken_scale_is_refused() -> None:
    case = Case("flat", {"codec": "bits", "bits": 8})
    arrays = fitted(case).arrange(in_pieces(documents()), N)
    rows = arrays["rows"].copy()
    rows[17, -8:-4] = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)
    with pytest.raises(IndexDamagedError, match="scale"):
        fitted(case).attach({"rows": rows}, N, documents(), FloatCodec("float32"))


def test_lists_that_share_documents_are_refused() -> None:
    case = Case("ivf", {"codec": "float16", "nlist": 13})
    arrays = fitted(case).arrange(in_pieces(documents()), N)
    twice = arrays["ordinals"].copy()
    twice[0] = twice[1]
    back = arrays["starts"].copy()
    back[4] = back[6] + 1
    for wrong in ({"ordinals": twice}, {"starts": back}):
        with pytest.raises(IndexDamagedError):
            fitted(case).attach({**arrays, **wrong}, N, documents(), FloatCodec("float32"))


def test_more_lists_than_documents_are_refused() -> None:
    recipe = Case("ivf", {"nlist": N + 1}).recipe
    with pytest.raises(ConfigError, match="nlist is 998: there are 997 documents"):
        fit_index("ivf", documents(), N, recipe)


def test_lists_by_default() -> None:
    assert [training.default_nlist(n) for n in (0, 1, 63, 64, 1000, 4096, 200_000, 10**6)] == [
        1,
        1,
        1,
        1,
        15,
        64,
        880,
        2000,
    ]
    few = fit_index("ivf", documents()[:40], 10**6, Case("ivf", {"codec": "float16"}).recipe)
    assert len(few.state()[1]["centroids"]) == 40  # the sample has no more


def test_many_lists_are_looked_up_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ivf, "TWO_LEVELS", 64)
    recipe = Case("ivf", {"codec": "float16", "nlist": 100}).recipe
    index = fit_index("ivf", documents(), N, recipe)
    config, arrays = index.state()
    assert config["n_groups"] == 10
    assert np.array_equal(np.sort(arrays["groups/members"]), np.arange(100))
    again = index_from_state("ivf", config, arrays)
    assert isinstance(again, IvfIndex)
    for biases in (None, biases_of(documents())):
        scores = queries() @ documents().T + (0 if biases is None else biases)
        search = attached(again, documents(), biases)
        for row, found in zip(scores, search.search(queries(), Effort(10, WIDE)), strict=True):
            assert set(found.ordinals.tolist()) == set(np.argsort(-row)[:10].tolist())
            assert found.scanned == N
        some = search.search(queries(), Effort(30, 20))
        hits = 0
        for row, found in zip(scores, some, strict=True):
            hits += len(set(np.argsort(-row)[:10].tolist()) & set(found.ordinals.tolist()))
        assert hits >= 0.8 * 10 * len(scores)
        assert all(found.scanned < N for found in some)
    members = arrays["groups/members"].copy()
    members[0] = members[1]
    with pytest.raises(IndexDamagedError, match="members"):
        index_from_state("ivf", config, {**arrays, "groups/members": members})


def test_no_list_is_much_longer_than_the_mean() -> None:
    rng = np.random.default_rng(3)
    dense = 0.05 * rng.standard_normal((6000, DIM)) + 1  # most documents lie in one place
    values = np.concatenate([dense, 3 * rng.standard_normal((2000, DIM))]).astype(np.float32)
    values = values[rng.permutation(len(values))]
    centroids = training.train_centroids(values, 50)
    lists = ((values[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert np.bincount(lists, minlength=50).max() <= 4 * len(values) / 50


def test_copies_of_one_vector_do_not_stop_training() -> None:
    values = np.concatenate([np.ones((900, DIM)), clustered(100, 3)]).astype(np.float32)
    centroids = training.train_centroids(values, 20)
    assert centroids.shape == (20, DIM)
    assert np.isfinite(centroids).all()
    index = fit_index("ivf", values, 1000, Case("ivf", {"codec": "float16", "nlist": 20}).recipe)
    search = attached(index, values)
    found = search.search(np.ones((1, DIM), np.float32), Effort(950, 20))[0]
    ones = found.ordinals[np.isin(found.ordinals, np.arange(900))]
    assert np.array_equal(ones, np.arange(900))  # ties by ordinal


def test_a_codec_that_cannot_be_searched_is_refused() -> None:
    index = fit_index("flat", documents(), N, Case("flat", {"codec": "float16"}).recipe)
    config, arrays = index.state()
    config["codec"] = {"name": "float", "config": {"precision": "float32"}}
    with pytest.raises(IndexDamagedError, match="'float'"):
        index_from_state("flat", config, arrays)
