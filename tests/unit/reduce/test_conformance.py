"""What holds for every reducer, and for chains of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.reduce import REDUCERS, Reducer, fit_reducer, reducer_from_state
from retrieval.types import FloatArray
from tests.unit.reduce.spaces import vectors

DIM = 37
SPECS = [
    *(f"{name}:{short}" for name in REDUCERS for short in (1, 11, DIM)),
    "matryoshka:31+pca:8",
    "sparse:33+sparse:32+leanvec:31",
]
DOCUMENTS, QUERIES = vectors(200, DIM, 1), vectors(150, DIM, 2, axes=5)


def fitted(spec: str, seed: int = 3) -> Reducer:
    reducer = fit_reducer(spec, DOCUMENTS, QUERIES, seed)
    assert reducer is not None
    return reducer


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def through_json(reducer: Reducer) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The state as an index keeps it: configuration as text, arrays as bytes."""
    config, arrays = reducer.state()
    raw = {key: (array.dtype.str, array.shape, array.tobytes()) for key, array in arrays.items()}
    read = {key: np.frombuffer(data, dtype).reshape(shape) for key, (dtype, shape, data) in raw.items()}
    return json.loads(json.dumps(config)), read


def same(one: FloatArray, other: FloatArray) -> bool:
    return one.tobytes() == other.tobytes()


def test_dimensions(spec: str) -> None:
    reducer = fitted(spec)
    short = int(spec.rsplit(":", maxsplit=1)[-1])
    assert (reducer.input_dim, reducer.output_dim) == (DIM, short)
    for n in (0, 1, 31, 33):
        for transform in (reducer.transform_documents, reducer.transform_queries):
            reduced = transform(DOCUMENTS[:n])
            assert reduced.shape == (n, short)
            assert reduced.dtype == np.float32
            assert reduced.flags.c_contiguous


def test_the_state_is_everything(spec: str) -> None:
    reducer = fitted(spec)
    again = reducer_from_state(reducer.name, *through_json(reducer))
    assert again.name == reducer.name
    assert same(again.transform_documents(DOCUMENTS), reducer.transform_documents(DOCUMENTS))
    assert same(again.transform_queries(QUERIES), reducer.transform_queries(QUERIES))
    assert again.state()[0] == reducer.state()[0]


def test_stored_arrays_are_plain(spec: str) -> None:
    for array in fitted(spec).state()[1].values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()


def test_the_same_seed_gives_the_same(spec: str) -> None:
    one, other = fitted(spec), fitted(spec)
    assert same(one.transform_documents(DOCUMENTS), other.transform_documents(DOCUMENTS))
    assert same(one.transform_queries(QUERIES), other.transform_queries(QUERIES))


def test_the_given_vectors_are_left_alone(spec: str) -> None:
    reducer, given = fitted(spec), DOCUMENTS.copy()
    reducer.transform_documents(given)
    reducer.transform_queries(given)
    fit_reducer(spec, given, given)
    assert same(given, DOCUMENTS)


def test_rows_do_not_touch_each_other(spec: str) -> None:
    """One vector's result depends on the vector, up to rounding; not on its neighbours, nor on strides."""
    reducer = fitted(spec)
    whole = reducer.transform_documents(DOCUMENTS)
    odd = reducer.transform_documents(DOCUMENTS[1::2])
    single = reducer.transform_documents(DOCUMENTS[7:8])
    np.testing.assert_allclose(odd, whole[1::2], atol=1e-5)
    np.testing.assert_allclose(single, whole[7:8], atol=1e-5)


@pytest.mark.parametrize("shape", [(DIM,), (3, DIM + 1), (3, DIM - 1), (1, 3, DIM), (0, 0)])
def test_another_shape_is_refused(spec: str, shape: tuple[int, ...]) -> None:
    reducer = fitted(spec)
    for transform in (reducer.transform_documents, reducer.transform_queries):
        with pytest.raises(ValueError, match=f"must be \\(n, {DIM}\\)"):
            transform(np.zeros(shape, np.float32))


@pytest.mark.parametrize("sample", [np.zeros((0, DIM)), np.zeros(DIM), np.zeros((3, 0))])
def test_nothing_to_fit_on_is_refused(spec: str, sample: FloatArray) -> None:
    with pytest.raises(ValueError, match="at least one vector"):
        fit_reducer(spec, sample.astype(np.float32))


def test_queries_of_another_dimension_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="the queries are"):
        fit_reducer(spec, DOCUMENTS, QUERIES[:, :-1])


@pytest.mark.parametrize("sample", ["one", "zeros", "few", "equal"])
def test_a_poor_sample_still_gives_finite_maps(spec: str, sample: str) -> None:
    poor = {
        "one": DOCUMENTS[:1],
        "zeros": np.zeros_like(DOCUMENTS),
        "few": DOCUMENTS[:5],
        "equal": np.repeat(DOCUMENTS[:1], 50, axis=0),
    }[sample]
    for queries in (None, QUERIES[:0], QUERIES[:1], np.zeros_like(QUERIES), QUERIES):
        reducer = fit_reducer(spec, poor, queries)
        assert reducer is not None
        assert np.isfinite(reducer.transform_documents(DOCUMENTS)).all()
        assert np.isfinite(reducer.transform_queries(QUERIES)).all()
        assert not reducer.transform_documents(np.zeros((2, DIM), np.float32)).any()


@pytest.mark.parametrize("short", [0, DIM + 1, 999_999_999])
@pytest.mark.parametrize("name", list(REDUCERS))
def test_dimensions_that_cannot_be_are_refused(name: str, short: int) -> None:
    with pytest.raises(ConfigError, match=f"{name}:{short} cannot make {short} dimensions out of {DIM}"):
        fit_reducer(f"{name}:{short}", DOCUMENTS)


@pytest.mark.parametrize("name", list(REDUCERS))
def test_stored_options_of_another_version_are_refused(name: str) -> None:
    reducer = fitted(f"{name}:11")
    config, arrays = reducer.state()
    flag = next(key for key in config if not key.endswith("_dim"))
    wrong: list[dict[str, Any]] = [{**config, "centred": True}, {}]
    wrong += [{key: value for key, value in config.items() if key != left} for left in config]
    wrong += [{**config, "output_dim": dim} for dim in (0, -1, DIM + 1, "11", 11.0, None, True)]
    wrong += [{**config, flag: value} for value in (1, None, "yes")]
    for other in wrong:
        with pytest.raises(IndexFormatError, match=f"{name}.*upgrade"):
            reducer_from_state(name, other, arrays)


@pytest.mark.parametrize("spec", ["pca:11", "leanvec:11", "sparse:11", "sparse:33+leanvec:11"])
def test_damaged_arrays_are_refused(spec: str) -> None:
    reducer = fitted(spec)
    config, arrays = reducer.state()
    for key, array in arrays.items():
        infinite, unknown = array.copy(), array.copy()
        infinite[-1, -1], unknown[0, 0] = np.inf, np.nan
        for damaged in (infinite, unknown, array[:-1], array.T, array.astype(np.float64)):
            with pytest.raises(IndexDamagedError, match="restore the index from a copy"):
                reducer_from_state(reducer.name, config, {**arrays, key: damaged})
        with pytest.raises(IndexDamagedError, match="lacks its array"):
            reducer_from_state(reducer.name, config, {k: a for k, a in arrays.items() if k != key})


@pytest.mark.parametrize("name", ["pca2", "", "none", "Pca"])
def test_an_unknown_stored_name_is_of_another_version(name: str) -> None:
    with pytest.raises(IndexFormatError, match=f"reducer {name!r}, unknown to this version; upgrade"):
        reducer_from_state(name, {}, {})


@pytest.mark.parametrize(
    "spec", ["pca", "pca:", "pca:-1", "pca:8+", "+pca:8", "pca:8 ", "PCA:8", "", "pca:8+none"]
)
def test_what_is_no_spec_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="write none, or a reducer and its dimensions"):
        fit_reducer(spec, DOCUMENTS)


def test_an_unknown_name_is_told_those_that_exist() -> None:
    with pytest.raises(
        ConfigError, match=r"no reducer 'umap'; choose from matryoshka, .*pca, leanvec, sparse"
    ):
        fit_reducer("pca:8+umap:2", DOCUMENTS)


def test_none_is_no_reducer() -> None:
    assert fit_reducer("none", DOCUMENTS) is None
