"""HNSW: faiss's graph in arrays, against faiss itself; what a damaged one may not do; filters; threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.index.base import Effort
from retrieval.index.hnsw import HnswIndex
from retrieval.index.registry import fit_index, index_from_state
from retrieval.quantize import FloatCodec
from tests.unit.index.indexes import Case, attached, biases_of, clustered, in_pieces, queries

N = 3000
KINDS = {"int8": faiss.ScalarQuantizer.QT_8bit, "float16": faiss.ScalarQuantizer.QT_fp16}
each_codec = pytest.mark.parametrize("codec", KINDS)


def recipe(codec: str) -> dict[str, object]:
    return Case("hnsw", {"codec": codec, "m_links": 8, "ef_construction": 40}).recipe


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return clustered(N, 21)


@each_codec
def test_the_graph_is_faiss_own(codec: str, values: np.ndarray) -> None:
    index = fit_index("hnsw", values, N, recipe(codec))
    arrays = index.arrange(in_pieces(values), N)
    wide = np.pad(values, ((0, 0), (0, 32 - values.shape[1])))  # full registers
    theirs = faiss.IndexHNSWSQ(32, KINDS[codec], 8, faiss.METRIC_INNER_PRODUCT)
    theirs.hnsw.efConstruction = 40
    theirs.train(wide)
    theirs.add(wide)
    stored = faiss.vector_to_array(faiss.downcast_index(theirs.storage).codes)
    assert arrays["codes"].tobytes() == stored.tobytes()
    assert np.array_equal(arrays["neighbors"], faiss.vector_to_array(theirs.hnsw.neighbors))
    assert np.array_equal(arrays["levels"], faiss.vector_to_array(theirs.hnsw.levels))
    search = index.attach(arrays, N, values, FloatCodec("float32"))
    parameters = faiss.SearchParametersHNSW(efSearch=50)
    scores, ordinals = theirs.search(np.pad(queries(), ((0, 0), (0, 8))), 20, params=parameters)
    for i, found in enumerate(search.search(queries(), Effort(depth=20, ef_search=50))):
        assert np.allclose(found.estimates, scores[i], rtol=1e-6)
        assert set(found.ordinals.tolist()) == set(ordinals[i].tolist())


@each_codec
@pytest.mark.parametrize("metric", ["dot", "l2", "shifted"])
def test_estimates_are_inner_product_and_bias(codec: str, metric: str, values: np.ndarray) -> None:
    biases = None if metric == "dot" else biases_of(values)
    if metric == "shifted" and biases is not None:  # as after a reduction that stretches some vectors
        biases = biases + np.random.default_rng(1).uniform(-5, 5, N).astype(np.float32)
    index = fit_index("hnsw", values, N, recipe(codec))
    assert isinstance(index, HnswIndex)
    decoded = index.codec.decode(index.codec.encode(values))
    expected = queries() @ decoded.T + (0 if biases is None else biases)
    search = attached(index, values, biases)
    # bytes also round the coordinate that carries the bias, and l2 sees the decoded vector's own length
    allowed = 1e-3 if metric == "dot" else (1.0 if codec == "int8" else 0.1)
    for accept in (None, np.arange(N) % 50 == 0):
        for row, found in zip(expected, search.search(queries(), Effort(40), accept), strict=True):
            assert np.abs(found.estimates - row[found.ordinals]).max() <= allowed


@each_codec
@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17])
def test_any_dimension(codec: str, dim: int, values: np.ndarray) -> None:
    some, asked = np.ascontiguousarray(values[:500, :dim]), np.ascontiguousarray(queries()[:, :dim])
    index = fit_index("hnsw", some, 500, recipe(codec))
    for biases in (None, biases_of(some)):
        scores = asked @ some.T + (0 if biases is None else biases)
        for row, found in zip(scores, attached(index, some, biases).search(asked, Effort(9)), strict=True):
            assert len(found.ordinals) == 9
            assert np.abs(row[found.ordinals] - found.estimates).max() < 0.1
            assert found.estimates[0] > row.max() - 0.1


@each_codec
@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.02, 0.002])
def test_recall_is_kept_under_filters(codec: str, metric: str, share: float, values: np.ndarray) -> None:
    biases = biases_of(values) if metric == "l2" else None
    search = attached(fit_index("hnsw", values, N, recipe(codec)), values, biases)
    accept = np.random.default_rng(2).random(N) < share
    scores = np.where(accept, queries() @ values.T + (0 if biases is None else biases), -np.inf)
    wanted = min(10, int(accept.sum()))
    hits = 0
    for row, found in zip(scores, search.search(queries(), Effort(20, ef_search=60), accept), strict=True):
        assert accept[found.ordinals].all()
        assert len(found.ordinals) == min(20, int(accept.sum()))
        hits += len(set(np.argsort(-row)[:wanted].tolist()) & set(found.ordinals.tolist()))
    assert hits >= 0.85 * wanted * len(scores)


def test_a_walk_that_ends_early_is_completed(values: np.ndarray) -> None:
    index = fit_index("hnsw", values, N, recipe("float16"))
    arrays = index.arrange(in_pieces(values), N)
    cut = {**arrays, "neighbors": np.full_like(arrays["neighbors"], -1)}  # nobody knows anybody
    search = index.attach(cut, N, values, FloatCodec("float32"))
    for query, found in zip(queries(), search.search(queries(), Effort(5, ef_search=10)), strict=True):
        assert np.array_equal(found.ordinals, np.argsort(-(values @ query), kind="stable")[:5])


def test_links_that_lead_out_are_refused(values: np.ndarray) -> None:
    index = fit_index("hnsw", values, N, recipe("int8"))
    arrays = index.arrange(in_pieces(values), N)
    ends = np.cumsum((arrays["levels"].astype(int) + 1) * 8)
    high = int(np.flatnonzero(arrays["levels"] > 1)[0])
    low = int(np.flatnonzero(arrays["levels"] == 1)[0])

    def linked(place: int, to: int) -> dict[str, np.ndarray]:
        neighbors = arrays["neighbors"].copy()
        neighbors[place] = to
        return {"neighbors": neighbors}

    def begun(at: int) -> dict[str, np.ndarray]:
        return {"entry": np.array([at])}

    levels = arrays["levels"].copy()
    levels[low] = 2
    zero = arrays["levels"].copy()
    zero[low] = 0
    wrong = [
        linked(0, N),
        linked(0, -2),
        linked(ends[high] - 1, low),  # the last link of an upper level, to one that is only on the ground
        begun(N),
        begun(-1),
        begun(low),
        {"levels": levels},
        {"levels": zero},
    ]
    for each in wrong:
        with pytest.raises(IndexDamagedError):
            index.attach({**arrays, **each}, N, values, FloatCodec("float32"))


def test_other_threads_keep_their_number_of_openmp_threads(values: np.ndarray) -> None:
    before = faiss.omp_get_max_threads()
    index = fit_index("hnsw", values, N, recipe("int8"))
    search = index.attach(index.arrange(in_pieces(values), N, before + 1), N, values, FloatCodec("float32"))
    search.search(queries(), Effort())
    assert faiss.omp_get_max_threads() == before


def test_threads_share_a_segment(values: np.ndarray) -> None:
    search = attached(fit_index("hnsw", values, N, recipe("int8")), values)
    many, accept = clustered(64, 5), np.arange(N) % 2 == 0
    alone = [search.search(query[None], Effort(20), accept)[0] for query in many]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: search.search(query[None], Effort(20), accept)[0], many))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.ordinals, other.ordinals)
        assert np.array_equal(one.estimates, other.estimates)


def test_other_codecs_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="'bits': the index hnsw stores float16 or int8"):
        fit_index("hnsw", values, N, Case("hnsw").recipe)
    config, arrays = fit_index("hnsw", values, N, recipe("int8")).state()
    with pytest.raises(IndexFormatError, match="'pq'"):
        index_from_state("hnsw", {**config, "codec": {"name": "pq", "config": {}}}, arrays)
