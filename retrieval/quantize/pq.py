"""Product quantisation: a vector cut into ``m`` parts, each replaced by the nearest of 16 or 256 centroids.

Jegou, Douze and Schmid, Product quantization for nearest neighbor search, TPAMI 2011. Trained and
encoded by faiss, whose codes these are: byte ``i`` is the code of part ``i``, or with 4 bits of parts
``2 i`` (low half) and ``2 i + 1``. Dimensions that ``m`` does not divide are filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval.building import teller
from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.kernels.blocks import over_blocks
from retrieval.kernels.pq_scan.cpu import pack_codes, pq_scan, pq_scores
from retrieval.kernels.tables.cpu import pq_tables
from retrieval.quantize.base import Arrays, Factors
from retrieval.quantize.rotation import Rotation
from retrieval.quantize.trained import check_dim, stored
from retrieval.types import FloatArray, IntArray

__all__ = [
    "PQCodec",
    "PQTableCodec",
    "TableMethods",
    "make_quantizer",
    "one_faiss_thread",
    "pad",
    "parts_of",
    "stored_centroids",
    "train",
]

NBITS = (4, 8)
STEP = 16
"""Parts between two reports of progress."""


class PQCodec:
    """Centroids ``(m, 2**nbits, dsub)`` float32 for vectors of ``dim``, at most ``m * dsub``.

    `fit` and the other makers give a `PQTableCodec` for 4 bits.
    """

    name: ClassVar[str] = "pq"

    def __init__(self, centroids: FloatArray, dim: int, rotation: Rotation | None = None) -> None:
        self.centroids, self.dim, self._rotation = centroids, dim, rotation
        self.m, self._ksub, self._dsub = centroids.shape
        self.nbits = self._ksub.bit_length() - 1
        self._columns = np.ascontiguousarray(centroids.transpose(0, 2, 1))

    @classmethod
    def of(cls, centroids: FloatArray, dim: int) -> PQCodec:
        """The codec of these centroids."""
        return (PQTableCodec if centroids.shape[1] == 16 else PQCodec)(centroids, dim)

    @classmethod
    def fit(cls, sample: FloatArray, options: Mapping[str, Any], seed: int = 0, threads: int = 1) -> PQCodec:
        """Train on ``(n, d)``; options are ``m`` (default: a quarter of the dimensions) and ``nbits``.

        Raises:
            ConfigError: options that do not fit; fewer documents than centroids.
        """
        m, nbits = parts_of(sample, options)
        padded = pad(sample, -(-sample.shape[1] // m) * m)
        return cls.of(train(padded, m, nbits, seed, threads), sample.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes."""
        return np.dtype(np.uint8)

    def width(self, dim: int) -> int:  # noqa: ARG002  # the number of parts decides
        """Bytes of a code."""
        return int(-(-self.m * self.nbits // 8))

    def encode(self, values: FloatArray) -> NDArray[np.uint8]:
        """``(n, d)`` float32 to ``(n, width)`` codes."""
        prepared = self._prepare(values)
        if self._rotation is not None:
            prepared = self._rotation.apply_to_documents(prepared)
        if not len(prepared):
            return np.empty((0, self.width(self.dim)), np.uint8)
        with one_faiss_thread():  # callers have threads of their own
            codes: NDArray[np.uint8] = self._quantizer.compute_codes(np.ascontiguousarray(prepared))
        return codes

    def decode(self, codes: NDArray[np.uint8]) -> FloatArray:
        """Codes to the centroids they name, ``(n, d)``."""
        chosen: FloatArray = self.centroids[np.arange(self.m), self._numbers(codes)]
        values = chosen.reshape(len(codes), self.m * self._dsub)
        if self._rotation is not None:
            values = self._rotation.undo(values)
        return np.ascontiguousarray(values[:, : self.dim])

    def tables(self, queries: FloatArray) -> FloatArray:
        """``(n_queries, m, 2**nbits)``: inner products of a query's parts with their centroids."""
        prepared = self._prepare(queries)
        if self._rotation is not None:
            prepared = self._rotation.apply(prepared)
        return pq_tables(prepared, self._columns)

    def scores(self, queries: FloatArray, codes: NDArray[np.uint8]) -> FloatArray:
        """Inner products ``(n_queries, n)`` with what codes stand for, through float tables."""
        return pq_scores(self.tables(queries), self._scannable(codes), nbits=self.nbits, n=len(codes))

    def topk(
        self, queries: FloatArray, codes: NDArray[np.uint8], k: int, accept: NDArray[np.bool_] | None = None
    ) -> tuple[FloatArray, IntArray]:
        """The best ``k`` of each query through tables of bytes, ties of their totals by ordinal: scores are
        within half a step of such a table times ``m`` of `scores`."""
        stored_codes = self._scannable(codes)
        return pq_scan(self.tables(queries), stored_codes, k, accept, nbits=self.nbits, n=len(codes))

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Dimension and centroids."""
        return {"dim": self.dim}, {"centroids": self.centroids}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> PQCodec:
        """The inverse of `state`.

        Raises:
            IndexFormatError: as many centroids as this version does not know.
            IndexDamagedError: arrays that are no centroids.
        """
        return cls.of(*stored_centroids(config, arrays))

    @cached_property
    def _quantizer(self) -> Any:
        """faiss's object with these centroids; only encoding needs it."""
        import faiss

        quantizer = make_quantizer(self.m * self._dsub, self.m, self.nbits)
        faiss.copy_array_to_vector(self.centroids.reshape(-1), quantizer.centroids)
        return quantizer

    def _prepare(self, values: FloatArray) -> FloatArray:
        check_dim(values, self.dim)
        return pad(values, self.m * self._dsub)

    def _numbers(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One code a part, ``(n, m)``."""
        check_dim(codes, self.width(self.dim))
        if self.nbits == 8:
            return codes
        halves = np.stack([codes & np.uint8(15), codes >> np.uint8(4)], axis=2)
        return np.ascontiguousarray(halves.reshape(len(codes), 2 * codes.shape[1])[:, : self.m])

    def _scannable(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `kernels.pq_scan` takes them."""
        numbers = self._numbers(codes)
        return np.ascontiguousarray(numbers) if self.nbits == 8 else pack_codes(numbers)


class TableMethods(PQCodec):
    """What 4-bit codes add."""

    def nibbles(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """``(n, m)`` numbers from 0 to 15."""
        return self._numbers(codes)

    def factors(self, codes: NDArray[np.uint8]) -> Factors:  # noqa: ARG002
        """No scales, and errors nobody knows."""
        return Factors(None, None)


class PQTableCodec(TableMethods):
    """`PQCodec` of 4 bits."""


def parts_of(sample: FloatArray, options: Mapping[str, Any]) -> tuple[int, int]:
    """``(m, nbits)`` of a recipe's options.

    Raises:
        ConfigError: they do not fit the sample.
    """
    n, dim = sample.shape
    m, nbits = options.get("m"), options.get("nbits", 4)
    if nbits not in NBITS or isinstance(nbits, bool):
        raise ConfigError(f"nbits={nbits!r}: there are {' and '.join(map(str, NBITS))}")
    m = max(dim // 4, 1) if m is None else m
    if not isinstance(m, int) or isinstance(m, bool) or not 1 <= m <= dim:
        raise ConfigError(f"m={m!r}: choose from 1 to {dim}, the dimensions")
    if n < 2**nbits:
        raise ConfigError(
            f"a product quantiser of {nbits} bits is trained on at least {2**nbits} documents, and there are "
            f"{n}: choose another codec"
        )
    return m, nbits


def pad(values: FloatArray, dim: int) -> FloatArray:
    """``(n, d)`` with zeros up to ``dim``."""
    return values if values.shape[1] == dim else np.pad(values, ((0, 0), (0, dim - values.shape[1])))


def train(sample: FloatArray, m: int, nbits: int, seed: int, threads: int) -> FloatArray:
    """Centroids ``(m, 2**nbits, dsub)`` of ``(n, m * dsub)``, those of faiss's ``ProductQuantizer.train``.

    One part after the other on each thread: faiss's own threads would share each small step of every
    part, and wait for each other most of the time.
    """
    parts, tell = sample.reshape(len(sample), m, -1), teller()

    def train_one(first: int, at: int, _: int) -> FloatArray:
        import faiss

        quantizer = make_quantizer(parts.shape[2], 1, nbits, seed)
        with one_faiss_thread():
            quantizer.train(np.ascontiguousarray(parts[:, first + at]))
        centroids: FloatArray = faiss.vector_to_array(quantizer.centroids).reshape(2**nbits, -1)
        return centroids

    made: list[FloatArray] = []
    for first in range(0, m, STEP):  # the calling thread alone tells of progress
        last = min(first + STEP, m)
        made += over_blocks(partial(train_one, first), last - first, 1, threads)
        tell("train: codes", last / m)
    return np.stack(made)


def make_quantizer(dim: int, m: int, nbits: int, seed: int = 0) -> Any:
    """faiss's object, not trained."""
    import faiss

    quantizer = faiss.ProductQuantizer(dim, m, nbits)
    quantizer.cp.seed = seed
    quantizer.cp.min_points_per_centroid = 1  # fewer than it likes would make it write to stderr
    return quantizer


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Keep faiss to the calling thread; OpenMP's setting is each thread's own."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def stored_centroids(config: Mapping[str, Any], arrays: Arrays) -> tuple[FloatArray, int]:
    """Centroids and dimension of a state; raises as `PQCodec.from_state`."""
    centroids, dim = stored(arrays, "centroids", np.float32, (None, None, None)), int(config["dim"])
    m, ksub, dsub = centroids.shape
    if ksub not in [2**nbits for nbits in NBITS]:
        raise IndexFormatError(f"the index has {ksub} centroids a part, unknown to this version; upgrade")
    if not (m * dsub >= dim > 0):
        raise IndexDamagedError(
            f"the codec's centroids are for {m * dsub} dimensions, not {dim}; restore the index from a copy"
        )
    return centroids, dim
