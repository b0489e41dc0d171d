"""What holds for every fold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.reduce import lemur
from retrieval.reduce.folding import FOLDS, Fold, fit_fold, fold_from_state
from retrieval.types import FloatArray, Ragged
from tests.unit.reduce.token_sets import best_match_sums, found, some, texts

DIM = 33
SAMPLE, QUERIES = texts(120, DIM, 1), texts(40, DIM, 2, longest=8)
EMPTY = Ragged(np.zeros((0, DIM), np.float32), np.zeros(1, np.int64))
OPTIONS = {"reps": 4, "ksim": 2, "proj_dim": 8, "index": "flat", "m": None}
SPECS = [("muvera", 128), ("muvera", 31), ("lemur", 40), ("lemur", 1)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer probes than there are tokens, fewer anchors than probes."""
    monkeypatch.setattr(lemur, "PROBES", 601)
    monkeypatch.setattr(lemur, "ANCHORS", 150)


def fitted(name: str, dim: int, **changed: Any) -> Fold:
    given = {"sample": SAMPLE, "queries": QUERIES, "options": OPTIONS, "seed": 5} | changed
    return fit_fold(name, output_dim=dim, **given)


@pytest.fixture(params=SPECS, ids=str)
def fold(request: pytest.FixtureRequest) -> Fold:
    return fitted(*request.param)


def through_json(fold: Fold) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The state as an index keeps it: configuration as text, arrays as bytes."""
    config, arrays = fold.state()
    raw = {key: (array.dtype.str, array.shape, array.tobytes()) for key, array in arrays.items()}
    read = {key: np.frombuffer(data, dtype).reshape(shape) for key, (dtype, shape, data) in raw.items()}
    return json.loads(json.dumps(config)), read


def same(one: FloatArray, other: FloatArray) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def test_dimensions(fold: Fold) -> None:
    assert fold.input_dim == DIM
    assert (fold.name, fold.output_dim) in SPECS
    for n in (0, 1, 2, 31, 33):
        for transform in (fold.transform_documents, fold.transform_queries):
            given = transform(some(SAMPLE, list(range(n))))
            assert given.shape == (n, fold.output_dim)
            assert given.dtype == np.float32
            assert given.flags.c_contiguous
            assert np.isfinite(given).all()


def test_a_text_is_folded_alone_as_among_others(fold: Fold) -> None:
    lengths = [1, 2, 31, 0, 33, 7, 1, 64, 300]
    values = np.random.default_rng(0).standard_normal((sum(lengths), DIM)).astype(np.float32)
    given = Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))
    for transform in (fold.transform_documents, fold.transform_queries):
        whole = transform(given)
        for i in range(len(given)):
            assert same(transform(some(given, [i])), whole[i : i + 1])
        assert same(transform(some(given, [8, 2, 2, 0])), whole[[8, 2, 2, 0]])
        assert not whole[3].any()
        assert whole[[0, 1, 2, 4, 5, 6, 7, 8]].any(axis=1).all()


@pytest.mark.parametrize(("name", "dim"), SPECS)
def test_threads_change_nothing(name: str, dim: int) -> None:
    with threadpool_limits(limits=1, user_api="blas"):
        one = fitted(name, dim)
        expected = one.transform_documents(SAMPLE), one.transform_queries(QUERIES)
    more = fitted(name, dim, threads=3)
    assert same(more.transform_documents(SAMPLE, threads=3), expected[0])
    assert same(more.transform_queries(QUERIES), expected[1])
    for key, array in one.state()[1].items():
        assert array.tobytes() == more.state()[1][key].tobytes()


def test_the_state_is_everything(fold: Fold) -> None:
    again = fold_from_state(fold.name, *through_json(fold))
    assert type(again) is type(fold)
    assert same(again.transform_documents(SAMPLE), fold.transform_documents(SAMPLE))
    assert same(again.transform_queries(QUERIES), fold.transform_queries(QUERIES))
    assert again.state()[0] == fold.state()[0]


def test_stored_arrays_are_plain(fold: Fold) -> None:
    for array in fold.state()[1].values():
        assert array.dtype in (np.float32, np.int32)
        assert array.flags.c_contiguous
        assert array.size
        assert np.isfinite(array).all()


def test_another_seed_gives_another(fold: Fold) -> None:
    other = fitted(fold.name, fold.output_dim, seed=6)
    assert not same(other.transform_documents(SAMPLE), fold.transform_documents(SAMPLE))


def test_the_given_tokens_are_left_alone(fold: Fold) -> None:
    before = SAMPLE.values.copy()
    fold.transform_documents(SAMPLE)
    fold.transform_queries(SAMPLE)
    fitted(fold.name, fold.output_dim)
    assert same(SAMPLE.values, before)


@pytest.mark.parametrize("shared", [0.0, 4.0])
@pytest.mark.parametrize("name", list(FOLDS))
@pytest.mark.parametrize("known", [True, False])
def test_finds_what_maxsim_finds(name: str, shared: float, known: bool) -> None:
    """Of 600 documents the best 5, among 60; tokens that nearly all point one way (mean cosine .94) too."""
    documents, asked, learnt = (texts(n, 32, seed, shared=shared) for n, seed in ((600, 3), (60, 4), (80, 5)))
    options = {"reps": 20, "ksim": 3, "proj_dim": 16}
    fold = fit_fold(name, some(documents, list(range(300))), 128, learnt if known else None, options)
    if name == "muvera":
        fold = fit_fold(name, documents, 2560, learnt if known else None, options)
    estimates = fold.transform_queries(asked) @ fold.transform_documents(documents).T
    assert found(estimates, best_match_sums(asked, documents), 5, 60) > 0.9


@pytest.mark.parametrize("name", list(FOLDS))
@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        (np.zeros((3, DIM + 1)), [0, 3], f"must be \\(n_tokens, {DIM}\\)"),
        (np.zeros((3, DIM)), [0, 4], "offsets must rise"),
        (np.zeros((3, DIM)), [0, 2, 1, 3], "offsets must rise"),
        (np.zeros((3, DIM)), [], "offsets must rise"),
        (np.full((3, DIM), np.nan), [0, 3], "not finite"),
        (np.full((3, DIM), np.inf), [0, 3], "not finite"),
    ],
)
def test_bad_texts_are_refused(name: str, values: FloatArray, offsets: list[int], message: str) -> None:
    fold = fitted(name, 16)
    texts = Ragged(values.astype(np.float32), np.array(offsets, np.int64))
    for transform in (fold.transform_documents, fold.transform_queries):
        with pytest.raises(ValueError, match=message):
            transform(texts)
    with pytest.raises(ValueError, match=r"must|finite"):
        fitted(name, 16, queries=texts)


@pytest.mark.parametrize("name", list(FOLDS))
def test_nothing_to_fit_on_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        fitted(name, 16, sample=EMPTY)
    with pytest.raises(ValueError, match="not finite"):
        fitted(name, 16, sample=Ragged(np.full((1, DIM), np.nan, np.float32), np.array([0, 1])))
    with pytest.raises(ConfigError, match=f"{name}:0 must give 1 dimension"):
        fitted(name, 0)


@pytest.mark.parametrize("name", list(FOLDS))
@pytest.mark.parametrize("sample", ["one", "zeros", "equal", "with empty ones"])
def test_a_poor_sample_still_gives_finite_vectors(name: str, sample: str) -> None:
    one = some(SAMPLE, [0])
    poor = {
        "one": Ragged(one.values[:1], np.array([0, 1])),
        "zeros": Ragged(np.zeros((9, DIM), np.float32), np.array([0, 4, 9])),
        "equal": Ragged(np.repeat(one.values[:1], 9, axis=0), np.array([0, 4, 9])),
        "with empty ones": Ragged(one.values, np.array([0, 0, len(one.values), len(one.values)])),
    }[sample]
    for queries in (None, EMPTY, some(QUERIES, [1]), poor):
        fold = fitted(name, 16, sample=poor, queries=queries)
        assert np.isfinite(fold.transform_documents(SAMPLE)).all()
        assert np.isfinite(fold.transform_queries(SAMPLE)).all()


def test_stored_options_of_another_version_are_refused(fold: Fold) -> None:
    config, arrays = fold.state()
    wrong: list[dict[str, Any]] = [{**config, "fill": True}, {}]
    wrong += [{key: value for key, value in config.items() if key != left} for left in config]
    wrong += [{**config, key: value} for key in config for value in (-1, 2**40, "1", 1.0, None, True)]
    for other in wrong:
        with pytest.raises(IndexFormatError, match=f"{fold.name}.*upgrade"):
            fold_from_state(fold.name, other, arrays)


def test_damaged_arrays_are_refused(fold: Fold) -> None:
    config, arrays = fold.state()
    for key, array in arrays.items():
        damaged: list[NDArray[Any]] = [array[:-1], array[None], array.astype(np.float64)]
        if array.dtype == np.float32:
            damaged.append(
                np.where(np.arange(array.size).reshape(array.shape) == 0, np.float32(np.nan), array)
            )
        for each in damaged:
            with pytest.raises(IndexDamagedError, match="restore the index from a copy"):
                fold_from_state(fold.name, config, {**arrays, key: each})
        with pytest.raises(IndexDamagedError, match="lacks its array"):
            fold_from_state(fold.name, config, {k: a for k, a in arrays.items() if k != key})


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="no fold 'plaid'; choose from muvera, lemur"):
        fit_fold("plaid", SAMPLE, 8)
    for name in ("plaid", "", None, 3):
        with pytest.raises(IndexFormatError, match="unknown to this version; upgrade"):
            fold_from_state(name, {}, {})
