"""MUVERA as a fold: against encodings worked out here in float64, and where all tokens point one way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.kernels.fde import cpu, reference
from retrieval.reduce.balance import fit_maps
from retrieval.reduce.fde import Muvera
from retrieval.types import FloatArray, Ragged
from tests.unit.reduce.spaces import vectors
from tests.unit.reduce.token_sets import best_match_sums, found, texts

DIM = 19
SAMPLE, QUERIES = texts(90, DIM, 1, shared=1.5), texts(30, DIM, 2, longest=7, shared=1.5)


def fitted(dim: int, sample: Ragged = SAMPLE, queries: Ragged | None = QUERIES, **options: Any) -> Muvera:
    return Muvera.fit(sample, dim, queries, options, seed=4)


def golden(tokens: FloatArray, fold: Muvera, query: bool) -> list[float]:
    """One text, token by token in float64, from what the state holds and the definition."""
    config, arrays = fold.state()
    wide = {key: array.astype(np.float64) for key, array in arrays.items()}
    reps, ksim, dim = config["reps"], config["ksim"], config["proj_dim"]
    moved = tokens.astype(np.float64) - wide["center"]
    signed = moved @ wide["queries" if query else "documents"]
    points = tokens.astype(np.float64) @ wide["queries"] if query else signed
    gray = [""]
    for _ in range(ksim):
        gray = ["0" + code for code in gray] + ["1" + code for code in reversed(gray)]
    out: list[float] = []
    for r in range(reps):
        codes = [
            "".join("01"[int(token @ wide["planes"][r, :, i] > 0)] for i in range(ksim)) for token in signed
        ]
        short = [[0.0] * dim for _ in points]
        for t, point in enumerate(points):
            for j, number in enumerate(point):
                at = arrays["projection_targets"][r, j] if "projection_targets" in arrays else j
                sign = wide["projection_signs"][r, j] if "projection_signs" in arrays else 1.0
                short[t][at] += sign * number
        for pattern in gray:
            inside = [short[t] for t, code in enumerate(codes) if code == pattern]
            if query:
                block = np.sum(inside, axis=0) if inside else np.zeros(dim)
            elif inside:
                block = np.mean(inside, axis=0)
            else:
                differing = [sum(a != b for a, b in zip(code, pattern, strict=True)) for code in codes]
                block = np.array(short[differing.index(min(differing))])
            out.extend(block)
    if "final_targets" in arrays:
        sketch = [0.0] * config["output_dim"]
        for number, at, sign in zip(out, arrays["final_targets"], wide["final_signs"], strict=True):
            sketch[at] += sign * number
        return sketch
    return out


@pytest.mark.parametrize(
    ("output_dim", "proj_dim"), [(96, 8), (29, 8), (1, 8), (228, 19), (50, 19), (228, 99)]
)
def test_golden(output_dim: int, proj_dim: int) -> None:
    fold = fitted(output_dim, reps=3, ksim=2, proj_dim=proj_dim)
    assert ("final_targets" in fold.state()[1]) == (output_dim not in (96, 228))
    assert ("projection_targets" in fold.state()[1]) == (proj_dim < DIM)
    for given, query in ((SAMPLE, False), (QUERIES, True)):
        transform = fold.transform_queries if query else fold.transform_documents
        expected = np.array([golden(given[i], fold, query) for i in range(len(given))])
        np.testing.assert_allclose(transform(given), expected, rtol=1e-4, atol=1e-4)


def test_without_hyperplanes_it_is_the_mean() -> None:
    """One partition, nothing projected: the query's sum times the document's mean less the common one."""
    fold = fitted(DIM, reps=1, ksim=0, proj_dim=DIM)
    assert "planes" not in fold.state()[1]
    center = SAMPLE.values.mean(axis=0)
    sums = np.add.reduceat(QUERIES.values, QUERIES.offsets[:-1])
    means = np.add.reduceat(SAMPLE.values, SAMPLE.offsets[:-1]) / SAMPLE.doclens[:, None]
    estimates = fold.transform_queries(QUERIES) @ fold.transform_documents(SAMPLE).T
    np.testing.assert_allclose(estimates, sums @ (means - center).T, atol=1e-4)
    again = Muvera.from_state(*fold.state())
    np.testing.assert_array_equal(again.transform_documents(SAMPLE), fold.transform_documents(SAMPLE))


def test_one_token_documents_are_estimated_exactly() -> None:
    """Every partition is filled with the one token: nothing is lost, whatever the partitions, and the unit
    is MaxSim's."""
    documents = Ragged.from_matrix(SAMPLE.values[:50])
    fold = fitted(7 * 8 * DIM, reps=7, ksim=3, proj_dim=DIM)
    estimates = fold.transform_queries(QUERIES) @ fold.transform_documents(documents).T
    sums = np.add.reduceat(QUERIES.values, QUERIES.offsets[:-1])
    expected = best_match_sums(QUERIES, documents) - (sums @ SAMPLE.values.mean(axis=0))[:, None]
    np.testing.assert_allclose(estimates, expected, atol=1e-3)


def test_tokens_that_all_point_one_way() -> None:
    documents, asked = texts(500, 32, 3, shared=4.0), texts(80, 32, 4, shared=4.0)
    cosine = np.linalg.norm(documents.values.mean(axis=0)) ** 2
    assert cosine > 0.9
    scores = best_match_sums(asked, documents)
    matrices = reference.draw_matrices(32, 20, 3, 8, None, 0)
    plain = (
        cpu.fde_queries(asked.values, asked.offsets, *matrices)
        @ cpu.fde_documents(documents.values, documents.offsets, *matrices).T
    )
    options = {"reps": 20, "ksim": 3, "proj_dim": 8}
    fold = Muvera.fit(documents, 1280, None, options)
    ours = fold.transform_queries(asked) @ fold.transform_documents(documents).T
    assert found(plain, scores, 5, 25) < 0.6
    assert found(ours, scores, 5, 25) > 0.85


@pytest.mark.parametrize("queries", [None, vectors(300, 23, 8, axes=3, mean=0.8)])
def test_maps_keep_inner_products_and_balance(queries: FloatArray | None) -> None:
    documents = vectors(4000, 23, 7, mean=0.9)
    center, of_queries, of_documents = fit_maps(documents, queries, 30 if queries is not None else 0)
    np.testing.assert_allclose(center, documents.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(of_queries @ of_documents.T, np.eye(23), atol=1e-4)
    moved = (documents - center) @ of_documents
    moment = moved.T @ moved / len(moved)
    off = moment - np.diag(np.diag(moment))
    assert np.abs(off).max() < 0.02 * np.diag(moment).max()
    np.testing.assert_allclose(np.trace(moment), np.var(documents, axis=0).sum(), rtol=1e-3)
    if queries is None:
        asked = documents @ of_queries
        seen = asked.T @ asked / len(asked)
        # The noise of a projection goes with this product: less than without the maps, and, up to the ridge,
        # both sides are spread alike.
        plain = np.sum(documents**2) * np.sum((documents - center) ** 2)
        assert np.sum(asked**2) * np.sum(moved**2) < plain / 2
        np.testing.assert_allclose(np.diag(seen) / seen.max(), np.diag(moment) / moment.max(), atol=0.02)


@pytest.mark.parametrize(
    ("output_dim", "ksim"), [(1, 0), (24, 0), (25, 1), (48, 1), (96, 2), (767, 5), (768, 5)]
)
def test_as_few_hyperplanes_as_give_enough_numbers(output_dim: int, ksim: int) -> None:
    fold = fitted(output_dim, reps=3, proj_dim=8, ksim=None)
    assert fold.state()[0]["ksim"] == ksim


def test_default_options() -> None:
    config, _ = Muvera.fit(texts(5, 32, 0), 10240).state()
    assert config == {"input_dim": 32, "output_dim": 10240, "reps": 20, "ksim": 5, "proj_dim": 16}


@pytest.mark.parametrize(
    ("output_dim", "options", "message"),
    [
        (97, {"reps": 3, "ksim": 2, "proj_dim": 8}, "muvera:97 has only 96 numbers.*write muvera:96"),
        (229, {"reps": 3, "ksim": 2, "proj_dim": 99}, "write muvera:228"),
        (10, {"reps": 60000, "ksim": 8, "proj_dim": 8}, "would make 122880000 numbers"),
        (10, {"reps": 0}, "reps is 0"),
        (10, {"ksim": 9}, "ksim is 9; write a whole number from 0 to 8"),
        (10, {"ksim": -1}, "ksim is -1"),
        (10, {"proj_dim": 2.5}, "proj_dim is 2.5"),
        (10, {"reps": True}, "reps is True"),
    ],
)
def test_what_cannot_be_is_refused(output_dim: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fitted(output_dim, **options)


def test_stored_numbers_that_do_not_fit_together_are_of_another_version() -> None:
    config, arrays = fitted(29, reps=3, ksim=2, proj_dim=8).state()
    for wrong in ({"proj_dim": DIM + 1}, {"output_dim": 97}):
        with pytest.raises(IndexFormatError, match="upgrade"):
            Muvera.from_state({**config, **wrong}, arrays)


@pytest.mark.parametrize("key", ["projection_targets", "final_targets", "projection_signs", "final_signs"])
@pytest.mark.parametrize("value", [-2, 29])
def test_sketches_that_point_outside_are_damaged(key: str, value: int) -> None:
    config, arrays = fitted(29, reps=3, ksim=2, proj_dim=8).state()
    broken = arrays[key].copy()
    broken.reshape(-1)[-1] = value
    with pytest.raises(IndexDamagedError, match="restore the index from a copy"):
        Muvera.from_state(config, {**arrays, key: broken})
