"""Codecs that faiss has too: its codes, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import ConfigError
from retrieval.quantize import OPQCodec, PQCodec, fit_codec, int8_from_arrays, pq_from_arrays

faiss = pytest.importorskip("faiss")


def make(seed: int, n: int, dim: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) / np.sqrt(1 + np.arange(dim))).astype(np.float32)


def test_int8_is_faiss_qt_8bit() -> None:
    sample, others = make(0, 700, 37), 3 * make(1, 500, 37)  # beyond the range, too
    sample[:, 5] = 0.5
    theirs = faiss.ScalarQuantizer(37, faiss.ScalarQuantizer.QT_8bit)
    theirs.train(sample)
    ours = fit_codec("int8", sample, {})
    for values in (sample, others):
        codes = ours.encode(values)
        np.testing.assert_array_equal(codes, theirs.compute_codes(values))
        np.testing.assert_array_equal(ours.decode(codes), theirs.decode(codes))
    every = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 37))
    np.testing.assert_array_equal(ours.decode(every), theirs.decode(every))


def test_int8_clips_and_never_wraps() -> None:
    codec = int8_from_arrays(np.zeros(3), np.full(3, 1 / 255))
    values = np.array([[-1e30, 1e30, np.nan], [-np.inf, np.inf, 0.5], [0, 1, 2]], np.float32)
    np.testing.assert_array_equal(codec.encode(values), [[0, 255, 0], [0, 255, 127], [0, 255, 255]])


@pytest.mark.parametrize(("m", "nbits"), [(12, 4), (7, 4), (12, 8), (1, 8)])
def test_pq_is_faiss_product_quantizer(m: int, nbits: int) -> None:
    dim = 60 // m * m
    sample, values = make(0, 1000, dim), make(1, 333, dim)
    theirs = faiss.ProductQuantizer(dim, m, nbits)
    theirs.cp.seed = 5
    theirs.cp.min_points_per_centroid = 1
    theirs.train(sample)
    ours = fit_codec("pq", sample, {"m": m, "nbits": nbits}, seed=5, threads=2)
    centroids = faiss.vector_to_array(theirs.centroids).reshape(m, 2**nbits, -1)
    np.testing.assert_array_equal(ours.state()[1]["centroids"], centroids)
    for codec in (ours, pq_from_arrays(centroids)):
        codes = codec.encode(values)
        np.testing.assert_array_equal(codes, theirs.compute_codes(values))
        np.testing.assert_array_equal(codec.decode(codes), theirs.decode(codes))
        np.testing.assert_allclose(
            codec.scores(values[:5], codes), values[:5] @ theirs.decode(codes).T, atol=1e-5
        )


@pytest.mark.parametrize("nbits", [4, 8])
def test_import_of_faiss_opq(nbits: int) -> None:
    sample, values = make(0, 2000, 48), make(1, 500, 48)
    matrix, quantizer = faiss.OPQMatrix(48, 12), faiss.ProductQuantizer(48, 12, nbits)
    quantizer.cp.min_points_per_centroid = 1
    matrix.pq, matrix.niter = quantizer, 3
    matrix.train(sample)
    turned = matrix.apply(sample)
    quantizer.train(turned)
    centroids = faiss.vector_to_array(quantizer.centroids).reshape(12, 2**nbits, 4)
    rotation = faiss.vector_to_array(matrix.A).reshape(48, 48)
    codec = pq_from_arrays(centroids, rotation)
    assert isinstance(codec, OPQCodec)
    codes, theirs = codec.encode(values), quantizer.compute_codes(matrix.apply(values))
    assert (codes != theirs).mean() < 1e-3  # the products of two BLAS libraries, rounded differently
    decoded = matrix.reverse_transform(quantizer.decode(theirs))
    np.testing.assert_allclose(codec.decode(theirs), decoded, atol=1e-5)
    np.testing.assert_allclose(codec.scores(values[:9], theirs), values[:9] @ decoded.T, atol=1e-5)


def test_opq_loses_less_than_pq() -> None:
    """On correlated coordinates; the matrix is orthonormal and of the filled-up dimension."""
    basis = np.linalg.qr(np.random.default_rng(3).standard_normal((50, 50)))[0].astype(np.float32)
    sample, values = make(0, 3000, 50) @ basis, make(1, 500, 50) @ basis
    lost = {}
    for name in ("pq", "opq"):
        codec = fit_codec(name, sample, {"m": 12})
        assert isinstance(codec, PQCodec)
        lost[name] = np.linalg.norm(codec.decode(codec.encode(values)) - values)
    assert lost["opq"] < 0.9 * lost["pq"]
    rotation = codec.state()[1]["rotation"].astype(np.float64)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(60), atol=1e-4)


def test_dimensions_that_m_does_not_divide() -> None:
    values, queries = make(0, 500, 50), make(1, 5, 50)
    trained = fit_codec("pq", values, {"m": 12})
    centroids = trained.state()[1]["centroids"]
    assert centroids.shape == (12, 16, 5)
    same = pq_from_arrays(centroids, dim=50)
    np.testing.assert_array_equal(same.encode(values), trained.encode(values))
    np.testing.assert_array_equal(
        same.scores(queries, same.encode(values)), trained.scores(queries, trained.encode(values))
    )


@pytest.mark.parametrize(
    ("centroids", "rotation", "dim", "told"),
    [
        (np.zeros((4, 17, 2)), None, None, "17 a part: there must be 16 or 256"),
        (np.zeros((4, 16)), None, None, "centroids is float32"),
        (np.full((4, 16, 2), np.nan), None, None, "not finite"),
        (np.full((4, 16, 2), 1e300), None, None, "not finite"),
        (np.zeros((4, 16, 2)), np.eye(7), None, "rotation is float32"),
        (np.zeros((4, 16, 2)), 1.01 * np.eye(8), None, "not orthonormal"),
        (np.zeros((4, 16, 2)), np.zeros((8, 8)), None, "not orthonormal"),
        (np.zeros((4, 16, 2)), None, 4, "dim=4: centroids of 4 parts of 2 serve 5 to 8"),
        (np.zeros((4, 16, 2)), None, 9, "dim=9"),
        (np.array([["a"]]), None, None, "give numbers"),
    ],
)
def test_imports_that_cannot_work(
    centroids: np.ndarray, rotation: object, dim: int | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        pq_from_arrays(centroids, rotation, dim)


def test_calibrations_that_cannot_work() -> None:
    for low, step, told in (
        (np.zeros(3), np.zeros(4), "step is float32"),
        (np.zeros(3), np.array([1, -1, 1]), "negative in dimension 1"),
        (np.array([0, np.inf]), np.ones(2), "low has a number"),
        (np.zeros(1), np.array([1e38]), r"255 \* step has a number"),
        (np.zeros(0), np.zeros(0), "low is"),
    ):
        with pytest.raises(ConfigError, match=told):
            int8_from_arrays(low, step)


def test_int8_of_given_steps() -> None:
    low, step = np.array([-1, 0, 5], np.float32), np.array([0.5, 0, 0.25], np.float32)
    codec = int8_from_arrays(low, step)
    codes = np.array([[0, 0, 0], [3, 0, 255]], np.uint8)
    np.testing.assert_allclose(codec.decode(codes), low + (codes + 0.5) * step, rtol=1e-6)
    np.testing.assert_allclose(codec.step, step, rtol=1e-6)
    folded, constants = codec.fold(np.ones((1, 3), np.float32))
    np.testing.assert_allclose(folded @ codes.T + constants, codec.decode(codes).sum(axis=1)[None], rtol=1e-6)
