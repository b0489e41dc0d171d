"""Residuals of 1, 2 or 4 bits a dimension: each number is replaced by one of a few *buckets*.

ColBERTv2 (Santhanam et al., NAACL 2022, section 3.3) cuts at quantiles. We move cuts and buckets until none
can be moved for the better (Lloyd, Least squares quantization in PCM, 1982): of the same bytes that
loses less. Buckets belong to a dimension, or all dimensions share them. Ternary codes take two bits and
have the buckets (-b, 0, b, 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.kernels.coded_maxsim.tables import nibble_table
from retrieval.kernels.residuals.cpu import bucket_codes
from retrieval.kernels.residuals.reference import Around
from retrieval.kernels.residuals.words import Words, bucket_words, word_values
from retrieval.quantize.base import Arrays
from retrieval.quantize.trained import stored
from retrieval.types import FloatArray

__all__ = ["BucketResiduals", "TernaryResiduals"]

BITS = (1, 2, 4)
SHARES = ("dimension", "global")
ITERATIONS = 50
NUMBERS = 1 << 20
"""That shared buckets are trained on at most."""


class BucketResiduals:
    """``buckets`` ``(2**bits,)`` float32, or ``(d, 2**bits)``, ascending; and of the same dimensions
    ``cutoffs`` between them, one less (None: in the middle of two), which a number is above or not."""

    name: ClassVar[str] = "bits"
    _told: ClassVar[str] = "ascending"

    def __init__(self, buckets: FloatArray, dim: int, cutoffs: FloatArray | None = None) -> None:
        self.buckets, self.dim, self.cutoffs = buckets, dim, cutoffs
        self.bits = buckets.shape[-1].bit_length() - 1
        cuts = self._cuts(buckets) if cutoffs is None else cutoffs
        self._edges = np.ascontiguousarray(np.broadcast_to(cuts, (dim, cuts.shape[-1])).T)

    @classmethod
    def fit(cls, sample: FloatArray, options: Mapping[str, Any], seed: int, threads: int) -> Self:  # noqa: ARG003
        """Train on residuals ``(n, d)``, n >= 1; options are ``bits`` (default 2) and ``buckets``:
        "dimension" (default) or "global".

        Raises:
            ConfigError: options that there are not.
        """
        numbers = np.sort(_columns(sample, options), axis=0)
        buckets = np.stack([cls._best(column, cls._bits(options)) for column in numbers.T])
        shared = _shares(options) == "global"
        return cls((buckets[0] if shared else buckets).astype(np.float32), sample.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of a code."""
        return int(-(-self.dim * self.bits // 8))

    def encode(self, residuals: FloatArray) -> NDArray[np.uint8]:
        """``(n, d)`` to ``(n, nbytes)``, the first dimension lowest."""
        return bucket_codes(residuals, self._edges, self.bits)

    def decode(self, codes: NDArray[np.uint8], around: Around | None = None) -> FloatArray:
        """``(n, nbytes)`` to ``(n, d)``, or tokens ``around`` centroids."""
        return word_values(codes, self._words, around)

    @cached_property
    def _words(self) -> Words:
        return bucket_words(np.broadcast_to(self.buckets, (self.dim, 2**self.bits)), self.bits)

    def table(self, query: FloatArray) -> FloatArray:
        """``(ceil(d * bits / 4), 16, n_q)``: inner products of ``query`` ``(n_q, d)`` with what each half
        byte means."""
        return nibble_table(query, self.buckets, self.bits)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Whether each dimension has its own, and the buckets, with their cutoffs if they are given."""
        config = {"bits": self.bits, "buckets": "global" if self.buckets.ndim == 1 else "dimension"}
        if self.cutoffs is None:
            return config, {"buckets": self.buckets}
        return config | {"cutoffs": True}, {"buckets": self.buckets, "cutoffs": self.cutoffs}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays, dim: int) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: bits or buckets of a kind that this version does not know.
            IndexDamagedError: arrays that are no such buckets, ascending.
        """
        try:
            bits, shared = cls._bits(config), _shares(config) == "global"
        except ConfigError as error:
            raise IndexFormatError(
                f"the index has residuals unknown to this version ({error}); upgrade"
            ) from None
        buckets = stored(arrays, "buckets", np.float32, (2**bits,) if shared else (dim, 2**bits))
        cutoffs = None
        if config.get("cutoffs"):
            cutoffs = stored(arrays, "cutoffs", np.float32, cls._cuts(buckets).shape)
        if not cls._are_buckets(buckets) or not _ascend(cutoffs):
            raise IndexDamagedError("the codec's buckets are not in order; restore the index from a copy")
        return cls(buckets, dim, cutoffs)

    @classmethod
    def given(cls, buckets: FloatArray, dim: int, cutoffs: FloatArray | None) -> Self:
        """Buckets that were trained elsewhere, of shapes that fit.

        Raises:
            ConfigError: they are not in order, or not of these codes.
        """
        if not cls._are_buckets(buckets):
            raise ConfigError(f"bucket_weights are not {cls._told}")
        if not _ascend(cutoffs):
            raise ConfigError("bucket_cutoffs are not ascending")
        return cls(buckets, dim, cutoffs)

    @classmethod
    def _bits(cls, options: Mapping[str, Any]) -> int:
        bits = options.get("bits", 2)
        if bits not in BITS or isinstance(bits, bool):
            raise ConfigError(f"bits={bits!r}: there are {', '.join(map(str, BITS))}")
        return int(bits)

    @staticmethod
    def _best(numbers: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
        """Lloyd's buckets of ``numbers`` ``(n,)``, ascending."""
        sums = np.concatenate([[0.0], np.cumsum(numbers)])
        buckets = np.quantile(numbers, (np.arange(2**bits) + 0.5) / 2**bits)
        # The best ones lie as thick as the cube root of the density, which for a normal one is a wider one.
        # From quantiles themselves 4 bits would take hundreds of iterations.
        buckets = np.clip((buckets - numbers.mean()) * np.sqrt(3), numbers[0] - numbers.mean(), None)
        buckets = np.minimum(buckets + numbers.mean(), numbers[-1])
        for _ in range(ITERATIONS):
            cuts = np.searchsorted(numbers, (buckets[1:] + buckets[:-1]) / 2, side="right")
            bounds = np.concatenate([[0], cuts, [len(numbers)]])
            counts = np.diff(bounds)
            means = np.diff(sums[bounds]) / np.maximum(counts, 1)
            moved = np.maximum.accumulate(np.where(counts > 0, means, buckets))
            if (moved == buckets).all():
                break
            buckets = moved
        best: NDArray[np.float64] = buckets
        return best

    @staticmethod
    def _cuts(buckets: FloatArray) -> FloatArray:
        """Numbers above ``cuts[..., i]`` have a code greater than ``i``."""
        cuts: FloatArray = (buckets[..., 1:] + buckets[..., :-1]) / np.float32(2)
        return cuts

    @staticmethod
    def _are_buckets(buckets: FloatArray) -> bool:
        return _ascend(buckets)


class TernaryResiduals(BucketResiduals):
    """`BucketResiduals` of minus b, nothing and b."""

    name: ClassVar[str] = "ternary"
    _told: ClassVar[str] = "-b, 0, b"

    @classmethod
    def _bits(cls, options: Mapping[str, Any]) -> int:  # noqa: ARG003  # whatever a recipe says of bits
        return 2

    @staticmethod
    def _best(numbers: NDArray[np.float64], bits: int) -> NDArray[np.float64]:  # noqa: ARG004
        """b is the mean size of the numbers of more than half of it."""
        sizes = np.sort(np.abs(numbers))
        sums = np.concatenate([[0.0], np.cumsum(sizes)])
        b = sizes.mean()
        for _ in range(ITERATIONS):
            first = np.searchsorted(sizes, b / 2, side="right")
            if first == len(sizes):
                break
            b = (sums[-1] - sums[first]) / (len(sizes) - first)
        return np.array([-b, 0, b, 0])

    @staticmethod
    def _cuts(buckets: FloatArray) -> FloatArray:
        cuts: FloatArray = buckets[..., [0, 2]] / np.float32(2)
        return cuts

    @staticmethod
    def _are_buckets(buckets: FloatArray) -> bool:
        low, none, high, unused = np.moveaxis(buckets, -1, 0)
        return bool((low == -high).all() and (high >= 0).all() and not none.any() and not unused.any())


def _ascend(numbers: FloatArray | None) -> bool:
    """Whether none is less than the one before; true of none."""
    return numbers is None or bool((np.diff(numbers, axis=-1) >= 0).all())


def _shares(options: Mapping[str, Any]) -> str:
    shares = options.get("buckets", "dimension")
    if shares not in SHARES:
        raise ConfigError(f"buckets={shares!r}: there are {' and '.join(SHARES)}")
    return str(shares)


def _columns(sample: FloatArray, options: Mapping[str, Any]) -> NDArray[np.float64]:
    """The numbers that get buckets of their own, a column each."""
    if _shares(options) == "dimension":
        return sample.astype(np.float64)
    numbers = sample.reshape(-1, 1)
    every = -(-len(numbers) // NUMBERS)
    # An odd stride meets all dimensions of the usual even numbers of them.
    return numbers[:: every + 1 - every % 2].astype(np.float64)
