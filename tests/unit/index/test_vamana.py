"""Vamana: what it finds, what equal vectors do to it, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.index.base import Effort
from retrieval.index.registry import fit_index, index_from_state
from retrieval.index.vamana import VamanaIndex, bytes_to_build
from retrieval.kernels.walk.prepared import prepare_graph
from retrieval.quantize import Codec, FloatCodec, Int8Codec
from tests.unit.index.indexes import Case, attached, biases_of, clustered, in_pieces, queries

RECIPE = Case("vamana", {"m_links": 8, "ef_construction": 40}).recipe
STORED = FloatCodec("float32")
N = 2000


def wide(n: int, seed: int, dim: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return clustered(N, 21)


@pytest.fixture(scope="module")
def index(values: np.ndarray) -> VamanaIndex:
    fitted = fit_index("vamana", values, N, RECIPE)
    assert isinstance(fitted, VamanaIndex)
    return fitted


@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.02])
def test_recall_is_kept_under_filters(
    metric: str, share: float, values: np.ndarray, index: VamanaIndex
) -> None:
    biases = biases_of(values) if metric == "l2" else None
    search = attached(index, values, biases)
    accept = np.random.default_rng(2).random(N) < share
    scores = np.where(accept, queries() @ values.T + (0 if biases is None else biases), -np.inf)
    hits = 0
    for row, found in zip(scores, search.search(queries(), Effort(20, ef_search=40), accept), strict=True):
        assert accept[found.ordinals].all()
        assert len(found.ordinals) == 20
        assert np.abs(row[found.ordinals] - found.estimates).max() < 0.5
        hits += len(set(np.argsort(-row)[:10].tolist()) & set(found.ordinals.tolist()))
    assert hits >= 0.9 * 10 * len(scores)


def test_equal_vectors_are_all_found_and_left(values: np.ndarray, index: VamanaIndex) -> None:
    """A third of the vectors are copies of one, another third of some others."""
    copied = values.copy()
    copied[::3] = copied[0]
    copied[1::3] = copied[1:61:3][np.arange(len(copied[1::3])) % 20]
    search = attached(index, copied)
    asked = np.concatenate([copied[[0, 1, 2, 5]], queries()])
    for query, found in zip(asked, search.search(asked, Effort(25, ef_search=60)), strict=True):
        best = np.sort(-(copied @ query))[:25]
        mine = np.sort(-(copied[found.ordinals] @ query))
        assert (mine <= best + 0.2).mean() > 0.9


@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize("m_links", [2, 4, 8])
def test_links_lead_from_the_entries_to_every_vector(metric: str, m_links: int, values: np.ndarray) -> None:
    copied = values.copy()
    copied[::20] = copied[0]
    index = fit_index("vamana", copied, N, {"m_links": m_links, "ef_construction": 40})
    assert isinstance(index, VamanaIndex)
    arrays = index.arrange(in_pieces(copied, biases_of(copied) if metric == "l2" else None), N)
    lines, links, layout = arrays["lines"], arrays["links"].reshape(-1), index.coding.layout
    codes = np.zeros((N, layout.wide), np.uint8)
    graph = prepare_graph(layout.dim, lines, links, arrays["links"].shape[1], codes, arrays["entries"])
    left = set(graph.entries.tolist())
    reached = set[int]()
    while left:
        reached.add(ordinal := left.pop())
        left |= set(graph.linked(ordinal).tolist()) - reached
    assert len(reached) == N
    assert layout.degrees(lines).max() <= 3 * m_links + 1


@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17])
def test_any_dimension(dim: int, values: np.ndarray) -> None:
    some, asked = np.ascontiguousarray(values[:500, :dim]), np.ascontiguousarray(queries()[:, :dim])
    index = fit_index("vamana", some, 500, RECIPE)
    for biases in (None, biases_of(some)):
        scores = asked @ some.T + (0 if biases is None else biases)
        for row, found in zip(scores, attached(index, some, biases).search(asked, Effort(9)), strict=True):
            assert len(found.ordinals) == 9
            assert np.abs(row[found.ordinals] - found.estimates).max() < 0.3
            assert found.estimates[0] > row.max() - 0.3


@pytest.mark.parametrize("what", ["zeros", "one and zeros"])
def test_vectors_without_direction(what: str, index: VamanaIndex) -> None:
    flat = np.zeros((300, 24), np.float32)
    if what != "zeros":
        flat[7] = 1
    for biases in (None, biases_of(flat)):
        for found in attached(index, flat, biases).search(queries(), Effort(10, ef_search=10)):
            assert len(set(found.ordinals.tolist())) == 10


def test_a_walk_that_ends_early_is_completed(values: np.ndarray, index: VamanaIndex) -> None:
    arrays = index.arrange(in_pieces(values), N)
    lines = arrays["lines"].copy()
    index.coding.layout.degrees(lines)[:] = 0  # nobody knows anybody
    cut = {**arrays, "lines": lines, "links": arrays["links"][:0]}
    index.coding.layout.starts(lines)[:] = 0
    search = index.attach(cut, N, values, STORED)
    for query, found in zip(queries(), search.search(queries(), Effort(5, ef_search=10)), strict=True):
        assert len(set(np.argsort(-(values @ query))[:4].tolist()) & set(found.ordinals.tolist())) == 4


def test_what_leads_out_is_refused(values: np.ndarray, index: VamanaIndex) -> None:
    arrays = index.arrange(in_pieces(values), N)
    layout = index.coding.layout
    links, lines, entries = arrays["links"].copy(), arrays["lines"].copy(), arrays["entries"].copy()
    links[5], entries[3] = 255, N
    layout.starts(lines)[9] = len(links)
    for other in ({"links": links}, {"lines": lines}, {"entries": entries}):
        with pytest.raises(IndexDamagedError, match="the graph is damaged"):
            index.attach({**arrays, **other}, N, values, STORED)


def test_what_cannot_be_fitted_or_read_is_refused(index: VamanaIndex) -> None:
    with pytest.raises(ConfigError, match="at most 4096 dimensions, and there are 4097"):
        fit_index("vamana", np.zeros((2, 4097), np.float32), 2, RECIPE)
    config, arrays = index.state()
    matrix = {name: array for name, array in arrays.items() if name != "signs"}
    with pytest.raises(IndexDamagedError, match="'signs'"):
        index_from_state("vamana", config, {**matrix, "rotation": np.eye(24, dtype=np.float32)})


def test_more_links_take_more_memory() -> None:
    assert bytes_to_build(1000, 384, 32) > bytes_to_build(1000, 384, 16) > 1000 * (384 * 5 + 64)


def test_stored_bytes_are_read_where_they_are_whole_lines() -> None:
    """The same answers as with codes beside them, and no codes kept."""
    values = wide(N, 3)
    codec = Int8Codec.fit(values)
    rows = codec.encode(values)
    decoded = codec.decode(rows)
    index = fit_index("vamana", decoded, N, RECIPE | {"stored": codec})
    assert isinstance(index, VamanaIndex)
    config, arrays = index.state()
    beside = VamanaIndex(codec, index.rotation, index.coding.mean, 8, 40, index.seed)
    shared, apart = (one.arrange(in_pieces(decoded), N) for one in (index, beside))
    assert set(apart) - set(shared) == {"codes"} and np.array_equal(apart["codes"], rows)
    opened = index_from_state("vamana", config, arrays).attach(shared, N, rows, codec)
    asked = wide(20, 4)
    accept = np.random.default_rng(0).random(N) < 0.5
    for mask in (None, accept, np.arange(N) < 30):
        for one, other in zip(
            opened.search(asked, Effort(12), mask),
            beside.attach(apart, N, rows, codec).search(asked, Effort(12), mask),
            strict=True,
        ):
            assert np.array_equal(one.ordinals, other.ordinals)
            assert np.array_equal(one.estimates, other.estimates)
    for wrong in (STORED, Int8Codec.fit(2 * values)):
        with pytest.raises(IndexDamagedError, match="another codec stores"):
            index.attach(shared, N, rows, wrong)
    with pytest.raises(IndexDamagedError, match="codes are"):
        index.attach(shared, N, rows[:-1], codec)


@pytest.mark.parametrize("stored", [STORED, Int8Codec.fit(wide(50, 3, 48))])
def test_what_is_not_whole_lines_of_bytes_is_coded_apart(stored: Codec) -> None:
    values = wide(200, 3, 64 if stored is STORED else 48)
    index = fit_index("vamana", values, 200, RECIPE | {"stored": stored})
    assert "codes" in index.arrange(in_pieces(values), 200)
    assert "reads_stored" not in index.state()[0]
