"""The index of tokens against plain NumPy: centroids, codes, postings, and what a segment keeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.config import RecipeConfig
from retrieval.errors import IndexDamagedError, IndexFormatError
from retrieval.index import token_search
from retrieval.index import tokens as tokens_module
from retrieval.index.base import Effort, Found
from retrieval.index.pieces import in_memory
from retrieval.index.searchers import searcher_from_state
from retrieval.index.token_pipeline import TokenPipeline
from retrieval.index.token_search import TokenSearch
from retrieval.index.tokens import STRAIN, TokensIndex
from retrieval.quantize import FloatCodec
from retrieval.types import FloatArray, IntArray, Ragged
from tests.unit.index.late import DIM, DOCUMENTS, QUERIES, N, blocks, queries, same, texts

K = 29
CODECS: dict[str, dict[str, Any]] = {
    "none": {"codec": "none"},
    "pq 4": {"codec": "pq", "m": 7, "nbits": 4},
    "pq 8": {"codec": "pq", "m": 3, "nbits": 8},
    "bits 1": {"codec": "bits", "bits": 1},
    "bits 2": {"codec": "bits", "bits": 2, "buckets": "dimension"},
    "bits 4": {"codec": "bits", "bits": 4},
    "ternary": {"codec": "ternary"},
}
ALL = Effort(depth=10**6, nprobe=10**6, scored=10**6)


def fitted(name: str, k: int = K) -> TokensIndex:
    return TokensIndex.fit(DOCUMENTS.values, len(DOCUMENTS.values), {**CODECS[name], "ncentroids": k})


def arranged(index: TokensIndex, documents: Ragged = DOCUMENTS, *cuts: int) -> dict[str, NDArray[Any]]:
    return in_memory(index.arrange(blocks(documents, *cuts), len(documents)))


def attached(index: TokensIndex, documents: Ragged = DOCUMENTS) -> TokenSearch:
    return index.attach(arranged(index, documents), documents.offsets)


def maxsims(query: FloatArray, vectors: FloatArray, offsets: IntArray, floor: Any = -np.inf) -> Any:
    """MaxSim in float64, of documents without tokens 0; no token adds less than ``floor`` ``(n_q,)``."""
    products = vectors.astype(np.float64) @ query.astype(np.float64).T
    return np.array(
        [
            np.maximum(products[start:stop].max(axis=0), floor).sum() if stop > start else 0.0
            for start, stop in pairwise(offsets)
        ]
    )


def expected(index: TokensIndex, documents: Ragged, query: FloatArray) -> tuple[Any, float]:
    """Estimates of all documents from first principles, and how far the kernels' may be off."""
    codes = index.codec.encode_tokens(documents.values)
    seen = index.score(query, 0, rows=index.codec.nbytes > 0)
    if seen.tables is not None:
        largest = max(float(np.abs(codes.inv_norms.astype(np.float64)).max(initial=0)), 1.0)
        decoded = index.codec.decode_tokens(codes)
        return maxsims(query, decoded, documents.offsets), seen.tables.error * largest + 1e-5
    centroids = index.codec.centroids
    # Below the mean of all centroids scores are not told apart (`CentroidScores`).
    floor = query.astype(np.float64) @ centroids.astype(np.float64).mean(axis=0)
    error = len(query) * seen.scores.unit / 2 + float(seen.scores.error.sum()) + 1e-5
    return maxsims(query, centroids[codes.centroids], documents.offsets, floor), error


def check(found: Found, exact: Any, error: float, accept: Any = None) -> None:
    """All that is accepted, in the order of its estimates, which are right."""
    wanted = np.arange(len(exact)) if accept is None else np.flatnonzero(accept)
    assert sorted(found.ordinals.tolist()) == wanted.tolist()
    np.testing.assert_allclose(found.estimates, exact[found.ordinals], rtol=0, atol=error)
    order = np.lexsort((found.ordinals, -found.estimates))
    np.testing.assert_array_equal(order, np.arange(len(order)))  # best first, ties by ordinal
    assert (found.ordinals.dtype, found.estimates.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("k", [1, K, 300])
@pytest.mark.parametrize("name", CODECS)
def test_with_all_effort_estimates_are_those_of_the_codes(name: str, k: int) -> None:
    index = fitted(name, k)
    search = attached(index)
    assert (DOCUMENTS.doclens == 0).any()
    *found, nothing = search.search(QUERIES, ALL)
    assert len(nothing.ordinals) == 0
    spread = []
    for i, each in enumerate(found):
        exact, error = expected(index, DOCUMENTS, QUERIES[i])
        check(each, exact, error)
        spread.append((exact.max() - exact.min()) / error)
    assert k == 1 or min(spread) > 10  # the error tells documents apart


@pytest.mark.parametrize("name", ["none", "pq 4", "bits 1"])
def test_only_what_is_accepted_is_found(name: str) -> None:
    index = fitted(name)
    search = attached(index)
    rng = np.random.default_rng(3)
    none, one = np.zeros(N, bool), np.zeros(N, bool)
    one[123] = True
    for accept in (none, one, ~none, ~one, *(rng.random(N) < share for share in (0.02, 0.5, 0.98))):
        for i, each in enumerate(search.search(QUERIES, ALL, accept)[:-1]):
            if accept.any():
                check(each, *expected(index, DOCUMENTS, QUERIES[i]), accept)
            assert len(each.ordinals) == accept.sum()


@pytest.mark.parametrize("name", ["none", "pq 4", "bits 2"])
def test_a_shallow_answer_is_the_beginning_of_a_deep_one(name: str) -> None:
    search = attached(fitted(name))
    for accept in (None, np.random.default_rng(0).random(N) < 0.4):
        deep = search.search(QUERIES, ALL, accept)
        for depth in (1, 2, 31, 100):
            shallow = search.search(QUERIES, Effort(depth=depth, scored=10**6), accept)
            for one, other in zip(shallow, deep, strict=True):
                np.testing.assert_array_equal(one.ordinals, other.ordinals[:depth])
                np.testing.assert_array_equal(one.estimates, other.estimates[:depth])


def test_codes_score_the_best_by_centroids_whatever_ties() -> None:
    """Sums of bytes tie often: that must not cost a better document its place."""
    index = fitted("pq 4", 6)
    bare = TokensIndex.fit(DOCUMENTS.values, len(DOCUMENTS.values), {"codec": "none", "ncentroids": 6})
    np.testing.assert_array_equal(index.codec.centroids, bare.codec.centroids)
    asked = Ragged(QUERIES.values, QUERIES.offsets[:-1])  # without the empty one
    by_centroids, by_codes = attached(bare).search(asked, ALL), attached(index).search(asked, ALL)
    tied = 0
    for scored in (1, 5, 20, 40, 80, 120, 200):
        found = attached(index).search(asked, Effort(depth=scored, scored=scored))
        for first, second, each in zip(by_centroids, by_codes, found, strict=True):
            chosen = np.isin(second.ordinals, first.ordinals[:scored])
            np.testing.assert_array_equal(each.ordinals, second.ordinals[chosen])
            ranks = first.estimates
            tied += int(ranks[0] > ranks[scored - 1] == ranks[scored])
    assert tied > 5


def test_equal_documents_tie_and_come_by_ordinal() -> None:
    one = DOCUMENTS[3]
    assert len(one)
    twins = Ragged.from_list([DOCUMENTS[5], one, DOCUMENTS[8], one, one], DIM)
    for name in CODECS:
        (found,) = attached(fitted(name), twins).search(Ragged(one, np.array([0, len(one)])), ALL)
        assert found.ordinals[:3].tolist() == [1, 3, 4]
        assert len(set(found.estimates[:3].tolist())) == 1


@pytest.mark.parametrize("name", ["none", "bits 4"])
def test_hardly_any_documents(name: str) -> None:
    index = fitted(name)
    for documents in (
        Ragged(np.empty((0, DIM), np.float32), np.zeros(1, np.int64)),
        Ragged(np.empty((0, DIM), np.float32), np.zeros(4, np.int64)),
        Ragged(DOCUMENTS.values[:1], np.array([0, 1])),
        Ragged(DOCUMENTS.values[:2], np.array([0, 0, 2, 2])),
    ):
        search = attached(index, documents)
        for i, found in enumerate(search.search(QUERIES, ALL)[:-1]):
            check(found, *expected(index, documents, QUERIES[i]))
        assert search.search(QUERIES, ALL, np.zeros(len(documents), bool))[0].ordinals.size == 0
    assert in_memory(index.arrange(iter([]), 0))["named_starts"].tolist() == [0]
    index.attach(in_memory(index.arrange(iter([]), 0)), np.zeros(1, np.int64))


@pytest.mark.parametrize("name", ["none", "bits 4"])
def test_a_document_without_tokens_scores_0_among_the_others(name: str) -> None:
    """Not the least that a table of bytes can say: here all others score below 0."""
    documents = Ragged(DOCUMENTS.values + np.float32(3), DOCUMENTS.offsets)
    index = TokensIndex.fit(documents.values, len(documents.values), {**CODECS[name], "ncentroids": K})
    asked = Ragged(np.full((5, DIM), -0.2, np.float32), np.array([0, 5]))
    bare = np.flatnonzero(DOCUMENTS.doclens == 0)
    assert len(bare)
    (found,) = attached(index, documents).search(asked, ALL)
    assert found.ordinals[: len(bare)].tolist() == bare.tolist()
    assert (found.estimates[: len(bare)] == 0).all()
    assert (found.estimates[len(bare) :] < 0).all()


@pytest.mark.parametrize("name", CODECS)
def test_what_a_segment_keeps_does_not_depend_on_blocks_or_threads(name: str) -> None:
    index = fitted(name)
    whole = arranged(index)
    for cuts in ((1,), (0, 100, 100, 306), tuple(range(1, N)), (N,)):
        other = arranged(index, DOCUMENTS, *cuts)
        assert other.keys() == whole.keys()
        for key, array in whole.items():
            np.testing.assert_array_equal(other[key], array)
            assert other[key].dtype == array.dtype
    threaded = in_memory(index.arrange(blocks(DOCUMENTS), N, threads=3))
    for key, array in whole.items():
        np.testing.assert_array_equal(threaded[key], array)
    assert ("codes" in whole) == (name != "none")


@pytest.mark.parametrize("n", [N - 1, N + 1, 0])
def test_another_number_of_documents_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"there are {N} documents instead of {n}"):
        in_memory(fitted("none").arrange(blocks(DOCUMENTS, 50), n))


# -- gathering ------------------------------------------------------------------------------------


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Postings decide however few documents there are; how often they were asked."""
    calls: list[int] = []
    gather = token_search.gather

    def counted(*given: Any) -> Any:
        calls.append(1)
        return gather(*given)

    monkeypatch.setattr(token_search, "gather", counted)
    monkeypatch.setattr(token_search, "FEW", 0)
    monkeypatch.setattr(token_search, "LEAST", 0)
    return calls


def gathered(index: TokensIndex, query: FloatArray, nprobe: int, accept: Any) -> tuple[IntArray, Any]:
    """Documents that a probed centroid names, and their sums, one at a time."""
    scores = index.score(query, nprobe, rows=False).scores
    centroids = index.codec.encode_tokens(DOCUMENTS.values).centroids
    ordinals, sums = [], []
    for i, (start, stop) in enumerate(pairwise(DOCUMENTS.offsets)):
        own, total, touched = set(centroids[start:stop].tolist()), 0.0, False
        for probes, each in zip(scores.probes, scores.scores, strict=True):
            hits = [float(s) for c, s in zip(probes, each, strict=True) if int(c) in own]
            touched |= bool(hits)
            total += max(hits) if hits else float(each[-1])
        if touched and (accept is None or accept[i]):
            ordinals.append(i)
            sums.append(total)
    return np.array(ordinals, np.int64), np.array(sums)


@pytest.mark.parametrize("nprobe", [1, 3, K])
@pytest.mark.parametrize("name", ["none", "pq 4"])
def test_what_postings_gather(name: str, nprobe: int, gathering: list[int]) -> None:
    index = fitted(name)
    search = attached(index)
    cut = 0
    for accept in (None, np.random.default_rng(1).random(N) < 0.7):
        for scored in (3, 11, 40):
            found = search.search(QUERIES, Effort(depth=1, nprobe=nprobe, scored=scored), accept)
            deep = search.search(QUERIES, Effort(depth=scored, nprobe=nprobe, scored=scored), accept)
            everything = search.search(QUERIES, ALL, accept)
            for i in range(len(QUERIES) - 1):
                ordinals, sums = gathered(index, QUERIES[i], nprobe, accept)
                wanted = token_search.GATHERED * scored
                last = np.sort(sums)[::-1][wanted - 1] if len(sums) > wanted else -np.inf
                cut += last > -np.inf
                may = set(ordinals[sums >= last - 1e-4].tolist())
                assert set(deep[i].ordinals.tolist()) <= may
                if name == "none":  # no other stage: the best of those that must be there
                    must = ordinals[sums > last + 1e-4]
                    first = [o for o in everything[i].ordinals.tolist() if o in set(must.tolist())]
                    assert set(first[:1]) <= set(found[i].ordinals.tolist()) or len(may) > len(must)
                    if len(may) == len(must):
                        assert deep[i].ordinals.tolist() == first[: len(deep[i].ordinals)]
    assert gathering
    assert cut or nprobe == 1


@pytest.mark.parametrize("nprobe", [1, 3])
def test_without_codes_postings_may_decide_alone(nprobe: int, gathering: list[int]) -> None:
    index = fitted("none")
    search = attached(index)
    for accept in (None, np.random.default_rng(1).random(N) < 0.7):
        found = search.search(QUERIES, Effort(depth=5, nprobe=nprobe, scored=0), accept)
        for i in range(len(QUERIES) - 1):
            ordinals, sums = gathered(index, QUERIES[i], nprobe, accept)
            best = np.sort(sums)[::-1][:5]
            np.testing.assert_allclose(found[i].estimates, best, atol=1e-4)
            assert set(found[i].ordinals.tolist()) <= set(ordinals[sums >= best[-1] - 1e-4].tolist())
    assert len(gathering) == 2 * (len(QUERIES) - 1)


def test_few_documents_are_scored_by_all_centroids_whatever_was_asked() -> None:
    search = attached(fitted("none"))
    efforts = [Effort(depth=20, nprobe=1, scored=scored) for scored in (0, 1)]
    for one, other in zip(*(search.search(QUERIES, effort) for effort in efforts), strict=True):
        same(one, other)


@pytest.mark.parametrize("name", CODECS)
def test_with_all_probes_gathering_finds_what_scoring_all_does(
    name: str, gathering: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_search, "LEAST", 10**6)
    index = fitted(name)
    search = attached(index)
    effort = Effort(depth=20, nprobe=10**6, scored=N // 4 - 1)
    probing = search.search(QUERIES, effort)
    assert len(gathering) == len(QUERIES) - 1
    monkeypatch.setattr(token_search, "FEW", 10**6)
    for one, other in zip(probing, search.search(QUERIES, effort), strict=True):
        same(one, other)
    assert len(gathering) == len(QUERIES) - 1  # not asked again


def test_few_documents_are_not_gathered(gathering: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    search = attached(fitted("none"))
    monkeypatch.setattr(token_search, "FEW", N)
    search.search(QUERIES, Effort(depth=1, scored=1))
    assert not gathering
    monkeypatch.setattr(token_search, "FEW", N - 1)
    search.search(QUERIES, Effort(depth=1, scored=N // 4 + 1))  # four times as many are all of them
    assert not gathering
    accept = np.ones(N, bool)
    accept[0] = False
    search.search(QUERIES, Effort(depth=1, scored=1), accept)
    assert not gathering
    search.search(QUERIES, Effort(depth=1, scored=1))
    assert gathering


def test_more_probes_gather_more(gathering: list[int]) -> None:
    search = attached(fitted("none"))
    touched = [search.search(QUERIES, Effort(1, nprobe=nprobe, scored=1))[2] for nprobe in (1, 4, 16)]
    assert sorted({found.scanned for found in touched}) == [found.scanned for found in touched]
    assert gathering


# -- the memo -------------------------------------------------------------------------------------


def test_segments_share_what_one_query_makes_of_the_centroids(monkeypatch: pytest.MonkeyPatch) -> None:
    index = fitted("pq 4")
    searches = [attached(index, texts(40, seed)) for seed in (11, 12, 13)]
    calls = []
    made = tokens_module.score_coded
    monkeypatch.setattr(tokens_module, "score_coded", lambda *a, **b: calls.append(1) or made(*a, **b))
    alone = Ragged(QUERIES[3], np.array([0, len(QUERIES[3])]))
    for search in searches:
        search.search(alone, ALL)
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["none", "bits 2"])
def test_the_memo_never_mixes_queries_or_efforts(name: str, gathering: list[int]) -> None:
    index = fitted(name)
    memory = np.empty((9, DIM), np.float32)  # what a caller writes each query into
    alone = Ragged(memory, np.array([0, 9]))
    rng = np.random.default_rng(5)
    search = attached(index)
    for _ in range(60):
        memory[:] = QUERIES[1] if rng.random() < 0.3 else queries(9, seed=int(rng.integers(3)))[0]
        effort = Effort(depth=30, nprobe=int(rng.choice([1, 2, 7])), scored=int(rng.choice([30, 10**6])))
        same(search.search(alone, effort)[0], attached(TokensIndex(index.codec)).search(alone, effort)[0])
    assert gathering


def test_threads_do_not_mix_what_they_remember(gathering: list[int]) -> None:
    index = fitted("pq 4")
    searches = [attached(index, texts(90, seed)) for seed in (21, 22)]
    asked = [
        (Ragged(QUERIES[i], np.array([0, len(QUERIES[i])])), Effort(depth=9, nprobe=nprobe, scored=9))
        for i in range(6)
        for nprobe in (1, 5)
    ]

    def answer(number: int) -> list[Found]:
        return [search.search(*asked[number])[0] for search in searches]

    alone = [answer(number) for number in range(len(asked))]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(np.random.default_rng(0).integers(0, len(asked), 400))
        for number, got in zip(numbers, pool.map(answer, numbers), strict=True):
            for one, other in zip(got, alone[number], strict=True):
                same(one, other)
    assert gathering


# -- what is stored -------------------------------------------------------------------------------


ALWAYS = ["named", "named_starts", "posting_starts", "postings"]
NAMES = {"none": ALWAYS, "pq 4": [*ALWAYS, "centroids", "codes", "inv_norms"]}


@pytest.mark.parametrize(("codec", "name"), [(codec, name) for codec in NAMES for name in NAMES[codec]])
def test_damaged_arrays_are_refused(codec: str, name: str) -> None:
    index = fitted(codec)
    arrays = arranged(index)
    assert sorted(arrays) == sorted([*NAMES[codec], STRAIN])
    array = arrays[name]
    wrong: list[NDArray[Any] | None] = [
        None,
        array[:-1],
        np.concatenate([array, array[:1]]),
        array.astype(np.int32 if array.dtype != np.int32 else np.int64),
        array[None],
    ]
    if name in ("named", "centroids"):
        wrong.append(np.where(np.arange(len(array)) == len(array) // 2, K, array).astype(array.dtype))
    if name == "postings":
        wrong.append(np.where(np.arange(len(array)) == len(array) - 1, N, array).astype(array.dtype))
    if name.endswith("starts"):
        for at, value in ((0, 1), (len(array) // 2, 10**9), (len(array) // 2, -1), (-1, 10**12), (-1, -5)):
            changed = array.copy()
            changed[at] = value
            wrong.append(changed)
    if name == "inv_norms":
        wrong += [np.full_like(array, np.nan), np.full_like(array, np.inf)]
    for damaged in wrong:
        given = {key: value for key, value in arrays.items() if key != name}
        with pytest.raises(IndexDamagedError, match="verify"):
            index.attach(given if damaged is None else {**given, name: damaged}, DOCUMENTS.offsets)
    index.attach(arrays, DOCUMENTS.offsets)


@pytest.mark.parametrize("name", ["none", "pq 4"])
def test_the_strain_is_what_centroids_leave_of_tokens(name: str) -> None:
    index = fitted(name)
    values = DOCUMENTS.values.astype(np.float64)
    left = values - index.codec.centroids[index.codec.encode_tokens(DOCUMENTS.values).centroids]
    whole = np.square(left).sum() / np.square(values).sum()
    assert arranged(index)[STRAIN] == pytest.approx(whole, rel=0.1)  # of one token in eight
    strangers = Ragged(-DOCUMENTS.values, DOCUMENTS.offsets)
    assert arranged(index, strangers)[STRAIN] > 1.5 * whole
    nothing = Ragged(np.empty((0, DIM), np.float32), np.zeros(3, np.int64))
    assert arranged(index, nothing)[STRAIN].tolist() == [0]


def test_arrays_of_other_documents_are_refused() -> None:
    index = fitted("pq 4")
    for offsets in (DOCUMENTS.offsets[:-1], np.append(DOCUMENTS.offsets, DOCUMENTS.offsets[-1] + 1)):
        with pytest.raises(IndexDamagedError, match="verify"):
            index.attach(arranged(index), offsets)


@pytest.mark.parametrize("reduce", ["none", "pca:13"])
@pytest.mark.parametrize("name", CODECS)
def test_a_pipeline_is_what_its_state_says(name: str, reduce: str) -> None:
    recipe = RecipeConfig.of(index="tokens", reduce=reduce, ncentroids=K, **CODECS[name])
    first = TokenPipeline.fit(DOCUMENTS, len(DOCUMENTS.values), recipe, "maxsim")
    config, arrays = first.state()
    second = searcher_from_state(config, {key: value.copy() for key, value in arrays.items()})
    assert isinstance(second, TokenPipeline)
    assert (second.metric, second.nlist) == ("maxsim", K)
    found = []
    for pipeline in (first, second):
        kept = in_memory(pipeline.arrange(blocks(DOCUMENTS, 100), N))
        search = pipeline.attach(kept, DOCUMENTS.offsets, DOCUMENTS.values, FloatCodec("float32"))
        found.append(search.search(pipeline.reduce_queries(QUERIES), ALL))
    for one, other in zip(*found, strict=True):
        same(one, other)
    again = second.state()
    assert again[0] == config
    assert again[1].keys() == arrays.keys()
    for damaged, told in (
        ({**config, "more": 1}, "more"),
        ({key: value for key, value in config.items() if key != "index"}, "index"),
        ({**config, "kind": "later"}, "later"),
    ):
        with pytest.raises(IndexFormatError, match=told):
            searcher_from_state(damaged, arrays)
    for key in arrays:
        with pytest.raises(IndexDamagedError):
            searcher_from_state(config, {other: value for other, value in arrays.items() if other != key})


def test_a_reducer_is_applied_to_documents_and_queries() -> None:
    recipe = RecipeConfig.of(index="tokens", reduce="pca:13", ncentroids=K, codec="pq", m=13, nbits=8)
    pipeline = TokenPipeline.fit(DOCUMENTS, len(DOCUMENTS.values), recipe, "maxsim")
    assert pipeline.reducer is not None
    reduced = Ragged(pipeline.reducer.transform_documents(DOCUMENTS.values), DOCUMENTS.offsets)
    probes = pipeline.reduce_queries(QUERIES)
    kept = in_memory(pipeline.arrange(blocks(DOCUMENTS), N))
    search = pipeline.attach(kept, DOCUMENTS.offsets, DOCUMENTS.values, FloatCodec("float32"))
    for i, found in enumerate(search.search(probes, ALL)[:-1]):
        check(found, *expected(pipeline.index, reduced, probes[i]))
