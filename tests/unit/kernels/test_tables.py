"""Tables of queries: the sum of a code's entries is the inner product with what the code means."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from retrieval.kernels import host
from retrieval.kernels.asymmetric.reference import unpack
from retrieval.kernels.rotate.reference import rotate
from retrieval.kernels.tables import cpu, portable, reference


def modules() -> list[ModuleType]:
    if not host.picks_bytes() and host.simd_level() != "avx512":
        return [portable]
    from retrieval.kernels.tables import vectors

    return [portable, vectors]


@pytest.fixture(params=modules(), ids=lambda module: module.__name__.rpartition(".")[2])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(cpu, "_kernels", lambda: request.param)
    return request.param


@pytest.mark.parametrize("bits", reference.TABLE_BITS)
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 7, 15, 16, 17, 33, 384])
def test_grid_tables(path: ModuleType, bits: int, dim: int) -> None:
    rng = np.random.default_rng(dim)
    for n in (0, 1, 3):
        queries = rng.standard_normal((n, dim), dtype=np.float32)
        signs = (2 * rng.integers(0, 2, (4, dim)) - 1).astype(np.int8)
        for given in (None, signs, signs[:0]):
            tables = cpu.grid_tables(queries, bits, given)
            expected = reference.grid_tables(queries, bits, given)
            assert tables.dtype == np.float32 and tables.shape == expected.shape
            np.testing.assert_allclose(tables, expected, atol=2e-5)


@pytest.mark.parametrize("bits", reference.TABLE_BITS)
@pytest.mark.parametrize("dim", [1, 6, 33, 48])
def test_entries_add_up_to_the_inner_product(bits: int, dim: int) -> None:
    rng = np.random.default_rng(bits)
    queries = rng.standard_normal((3, dim), dtype=np.float32)
    signs = (2 * rng.integers(0, 2, (4, dim)) - 1).astype(np.int8)
    packed = rng.integers(0, 256, (20, -(-dim * bits // 8)), dtype=np.uint8)  # also bits beyond the last one
    numbers = np.stack([packed & 15, packed >> 4], axis=2).reshape(20, -1)[:, : -(-dim * bits // 4)]
    centred = unpack(packed, bits, dim) - (2**bits - 1) / 2
    tables = cpu.grid_tables(queries, bits, signs)
    sums = tables[:, np.arange(tables.shape[1]), numbers].sum(axis=2)
    np.testing.assert_allclose(sums, rotate(queries, signs) @ centred.T, atol=1e-4)


@pytest.mark.parametrize(
    ("m", "ksub", "dsub"), [(1, 16, 1), (3, 16, 5), (96, 16, 4), (7, 256, 33), (2, 256, 8)]
)
def test_pq_tables(m: int, ksub: int, dsub: int) -> None:
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(m)
    centroids = rng.standard_normal((m, ksub, dsub), dtype=np.float32)
    columns = np.ascontiguousarray(centroids.transpose(0, 2, 1))
    quantizer = faiss.ProductQuantizer(m * dsub, m, ksub.bit_length() - 1)
    faiss.copy_array_to_vector(centroids.reshape(-1), quantizer.centroids)
    for n in (0, 1, 5):
        queries = rng.standard_normal((n, m * dsub), dtype=np.float32)
        tables = cpu.pq_tables(queries, columns)
        np.testing.assert_allclose(tables, reference.pq_tables(queries, columns), atol=2e-5)
        theirs = np.empty((n, m, ksub), np.float32)
        quantizer.compute_inner_prod_tables(n, faiss.swig_ptr(queries), faiss.swig_ptr(theirs))
        np.testing.assert_allclose(tables, theirs, atol=2e-5)


def test_what_does_not_fit_is_refused() -> None:
    queries = np.zeros((1, 8), np.float32)
    with pytest.raises(ValueError, match="bits=8"):
        cpu.grid_tables(queries, 8)
    with pytest.raises(ValueError, match="queries: float64"):
        cpu.grid_tables(queries.astype(np.float64), 1)
    with pytest.raises(ValueError, match="queries: float32"):
        cpu.grid_tables(queries[:, :0], 1)
    for signs in (np.ones((4, 7), np.int8), np.ones((4, 8), np.float32), np.ones(8, np.int8)):
        with pytest.raises(ValueError, match="signs"):
            cpu.grid_tables(queries, 1, signs)
    with pytest.raises(ValueError, match="8 dimensions: columns are of 2 x 5"):
        cpu.pq_tables(queries, np.zeros((2, 5, 16), np.float32))
    with pytest.raises(ValueError, match="columns: float32"):
        cpu.pq_tables(queries, np.zeros((16, 8), np.float32))
