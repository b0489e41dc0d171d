"""Residuals in ``m`` parts, each the nearest of 16 or 256 codewords.

Jegou, Douze and Schmid, Product quantization for nearest neighbor search, TPAMI 2011. Parts are of like
size but need not be equal: of 128 dimensions, 48 parts have 2 or 3. Filling up with zeros, as faiss does,
would leave parts without content (m = 96 would code no more than m = 64).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.kernels.blocks import over_blocks
from retrieval.kernels.residuals.cpu import product_codes
from retrieval.kernels.residuals.reference import Around, part_starts
from retrieval.kernels.residuals.words import Words, product_words, word_values
from retrieval.quantize.base import Arrays
from retrieval.quantize.pq import NBITS, make_quantizer, one_faiss_thread, parts_of
from retrieval.quantize.trained import stored
from retrieval.types import FloatArray

__all__ = ["ProductResiduals"]

CODEWORDS = [2**nbits for nbits in NBITS]
"""Of a part."""
POINTS = 1024
"""Residuals a codeword that the training sees at most."""


class ProductResiduals:
    """``codebooks`` ``(m, 2**nbits, dsub)`` float32; part ``p`` has the dimensions from ``p * dim // m`` to
    ``(p + 1) * dim // m``, at most ``dsub``, and zeros beyond."""

    name: ClassVar[str] = "pq"

    def __init__(self, codebooks: FloatArray, dim: int) -> None:
        self.codebooks, self.dim, self.m = codebooks, dim, len(codebooks)
        self.nbits = codebooks.shape[1].bit_length() - 1

    @classmethod
    def fit(cls, sample: FloatArray, options: Mapping[str, Any], seed: int, threads: int) -> Self:
        """Train on residuals ``(n, d)``; options are ``m`` (default: a quarter of d) and ``nbits``.

        Raises:
            ConfigError: options that do not fit; fewer residuals than codewords.
        """
        m, nbits = parts_of(sample, options)
        starts = part_starts(sample.shape[1], m)

        def train(part: int, _: int) -> FloatArray:
            return _codewords(sample[:, starts[part] : starts[part + 1]], nbits, seed)

        made = over_blocks(train, m, 1, threads)
        codebooks = np.zeros((m, 2**nbits, int(np.diff(starts).max())), np.float32)
        for codebook, words in zip(codebooks, made, strict=True):
            codebook[:, : words.shape[1]] = words
        return cls(codebooks, sample.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of a code."""
        return int(-(-self.m * self.nbits // 8))

    def encode(self, residuals: FloatArray) -> NDArray[np.uint8]:
        """``(n, d)`` to ``(n, nbytes)``."""
        return product_codes(residuals, self.codebooks)

    def decode(self, codes: NDArray[np.uint8], around: Around | None = None) -> FloatArray:
        """``(n, nbytes)`` to ``(n, d)``, or tokens ``around`` centroids."""
        return word_values(codes, self._words, around)

    @cached_property
    def _words(self) -> Words:
        return product_words(self.codebooks, self.dim)

    def table(self, query: FloatArray) -> FloatArray:
        """``(m, 2**nbits, n_q)``: inner products of ``query`` ``(n_q, d)`` with the codewords."""
        widest = self.codebooks.shape[2]
        parts = np.zeros((self.m, widest, len(query)), np.float32)
        for part, (first, last) in enumerate(pairwise(part_starts(self.dim, self.m))):
            parts[part, : last - first] = query[:, first:last].T
        table: FloatArray = self.codebooks @ parts
        return table

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """No configuration but the arrays."""
        return {}, {"codebooks": self.codebooks}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays, dim: int) -> Self:  # noqa: ARG003
        """The inverse of `state`.

        Raises:
            IndexFormatError: as many codewords as this version does not know.
            IndexDamagedError: arrays that are no codebooks of ``dim`` dimensions.
        """
        codebooks = stored(arrays, "codebooks", np.float32, (None, None, None))
        ksub = codebooks.shape[1]
        if ksub not in CODEWORDS:
            raise IndexFormatError(f"the index has {ksub} codewords a part, unknown to this version; upgrade")
        if not _divide(codebooks, dim):
            raise IndexDamagedError(
                f"the codec's codebooks {codebooks.shape} are not for {dim} dimensions; "
                "restore the index from a copy"
            )
        return cls(codebooks, dim)

    @classmethod
    def given(cls, codebooks: FloatArray, dim: int) -> Self:
        """Codebooks ``(m, 2**nbits, dsub)`` that were trained elsewhere.

        Raises:
            ConfigError: they do not divide ``dim`` dimensions so, or have numbers beyond the end of a part.
        """
        m, ksub, dsub = codebooks.shape
        if ksub not in CODEWORDS:
            raise ConfigError(f"codebooks has {ksub} codewords a part: there must be 16 or 256")
        if not _divide(codebooks, dim):
            raise ConfigError(f"codebooks are {m} parts of {dsub}, and the centroids have {dim} dimensions")
        beyond = np.arange(dsub) >= np.diff(part_starts(dim, m))[:, None]
        if np.moveaxis(codebooks, 1, 2)[beyond].any():
            told = "where dimensions do not divide evenly, codewords of shorter parts end in zeros"
            raise ConfigError(f"codebooks have numbers beyond the end of a part: {told}")
        return cls(codebooks, dim)


def _divide(codebooks: FloatArray, dim: int) -> bool:
    """Whether parts of this size are those of ``dim`` dimensions."""
    m, _, dsub = codebooks.shape
    return bool(m <= dim and dsub == -(-dim // m))


def _codewords(sample: FloatArray, nbits: int, seed: int) -> FloatArray:
    """``(2**nbits, dsub)`` by faiss's k-means."""
    import faiss

    quantizer = make_quantizer(sample.shape[1], 1, nbits, seed)
    quantizer.cp.max_points_per_centroid = POINTS
    with one_faiss_thread():  # parts share the processor already
        quantizer.train(np.ascontiguousarray(sample))
    words: FloatArray = faiss.vector_to_array(quantizer.centroids).reshape(2**nbits, -1)
    return words
