"""1, 2, 4 or 8 bits a dimension after a random rotation, with a scale and an error for each vector.

A rotated vector x is replaced by the point ``u - c`` of a symmetric grid that lies nearest its direction:
``u`` has whole numbers from 0 to ``2**bits - 1``, ``c = (2**bits - 1) / 2``. With the scale
``s = <x, x> / <x, u - c>``, the estimate of an inner product is ``<q, x> ~ s <q, u - c>``. Over random
rotations it is unbiased, and with ``cos`` between x and ``u - c`` its standard deviation is
``|q| |x| sqrt((1 / cos**2 - 1) / (d - 1))`` (Gao and Long, RaBitQ, SIGMOD 2024, section 3; more bits:
Gao et al., Practical and asymptotically optimal quantization, SIGMOD 2025). Those of 1 / 2 / 4 / 8 bits
are .755 / .367 / .106 / .007 times ``|q| |x| / sqrt(d)``.

The highest bits of the numbers of ``u`` are a coarser point of such a grid (`NestedBitsCodec`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError, IndexFormatError
from retrieval.kernels.asymmetric.cpu import asymmetric, asymmetric_topk
from retrieval.kernels.asymmetric.reference import quantise, unpack
from retrieval.kernels.grid.cpu import grid_codes, grid_scales
from retrieval.kernels.tables.cpu import grid_tables
from retrieval.kernels.tables.prepared import Grid
from retrieval.quantize.base import Arrays, Factors
from retrieval.quantize.rotation import Rotation
from retrieval.quantize.trained import check_dim
from retrieval.types import FloatArray, IntArray

__all__ = ["BitsCodec", "BitsTableCodec", "NestedBitsCodec"]

BITS: tuple[int, ...] = get_args(RecipeConfig.model_fields["bits"].annotation)
TABLE_BITS = (1, 2, 4)
"""Whose codes fit in halves of bytes."""
FACTORS = 8
"""Bytes of a code's scale and error: two float32, little-endian."""


class _Parts(NamedTuple):
    """Codes taken apart: packed grid points ``(n, nbytes)``, scales ``(n,)``, errors ``(n,)``."""

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32]
    errors: NDArray[np.float32]


class BitsCodec:
    """See above. A code is ``[packed grid point | scale | error]``, packed as `kernels.asymmetric` has it.

    The vector of zeros has scale and error 0. `fit` and the other makers give a `NestedBitsCodec` where
    ``scan_bits`` are asked for, else a `BitsTableCodec` where there can be one.
    """

    name: ClassVar[str] = "bits"

    def __init__(self, rotation: Rotation, bits: int) -> None:
        self._rotation, self.bits = rotation, bits
        self._nbytes = -(-rotation.dim * bits // 8)

    @classmethod
    def of(cls, rotation: Rotation, bits: Any, scan_bits: Any = None) -> BitsCodec:
        """The codec of this rotation.

        Raises:
            ConfigError: not a number of bits that there is, or not fewer ``scan_bits``.
        """
        if bits not in BITS or isinstance(bits, bool):
            raise ConfigError(f"bits={bits!r}: there are {', '.join(map(str, BITS))}")
        if scan_bits is not None:
            if scan_bits not in TABLE_BITS or isinstance(scan_bits, bool) or scan_bits >= bits:
                raise ConfigError(f"scan_bits={scan_bits!r}: there are 1, 2 and 4, fewer than bits={bits}")
            return NestedBitsCodec(rotation, bits, scan_bits)
        return (BitsTableCodec if bits in TABLE_BITS else BitsCodec)(rotation, bits)

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        options: Mapping[str, Any],
        seed: int = 0,
        threads: int = 1,  # noqa: ARG003  # nothing is trained
    ) -> BitsCodec:
        """A random rotation of ``(n, d)``; the options are ``bits`` and ``scan_bits``.

        Raises:
            ConfigError: see `of`.
        """
        rotation = Rotation.random(sample.shape[1], seed)
        return cls.of(rotation, options.get("bits", 1), options.get("scan_bits"))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes."""
        return np.dtype(np.uint8)

    @property
    def dim(self) -> int:
        """Dimension of what is coded."""
        return self._rotation.dim

    def width(self, dim: int) -> int:
        """Bytes of a code."""
        return -(-dim * self.bits // 8) + FACTORS

    def encode(self, values: FloatArray) -> NDArray[np.uint8]:
        """``(n, d)`` float32 to ``(n, width)`` codes.

        Raises:
            ValueError: another dimension; a number that is not finite.
        """
        check_dim(values, self.dim)
        packed, scales, errors = grid_codes(self._rotation.apply_to_documents(values), self.bits)
        return np.concatenate([packed, _as_bytes(scales, errors)], axis=1)

    def decode(self, codes: NDArray[np.uint8]) -> FloatArray:
        """``s (u - c)``, turned back: whose inner products are `scores`."""
        parts = self._parts(codes)
        centred = unpack(parts.packed, self.bits, self.dim).astype(np.float32) - np.float32(self._centre)
        return self._rotation.undo(centred * parts.scales[:, None])

    def scores(self, queries: FloatArray, codes: NDArray[np.uint8]) -> FloatArray:
        """Estimated inner products ``(n_queries, n)``, of the float queries."""
        return asymmetric(*self._arguments(queries, codes), self.bits, exact=True)

    def topk(
        self, queries: FloatArray, codes: NDArray[np.uint8], k: int, accept: NDArray[np.bool_] | None = None
    ) -> tuple[FloatArray, IntArray]:
        """The best ``k`` of each query, ties by ordinal; queries are rounded to bytes, so scores are within
        `kernels.asymmetric.reference.error_bound` of `scores`."""
        return asymmetric_topk(*self._arguments(queries, codes), self.bits, k, accept)

    def rounding(self, query: FloatArray, codes: NDArray[np.uint8]) -> FloatArray:
        """What the rounding of ``query`` ``(d,)`` adds to the errors of `topk`, ``(n,)``: the standard
        deviation of its product with codes, for a query of length 1.

        What a query loses, of length ``e``, points after a random rotation in no direction rather than
        another: its product with a code of length ``l`` deviates by ``e l / sqrt(d)``.
        """
        parts, turned = self._parts(codes), self._rotation.apply(query[None])
        rounded, steps = quantise(turned)
        lost = np.linalg.norm(turned - steps[:, None] * rounded) / max(float(np.linalg.norm(turned)), 1e-30)
        centred = unpack(parts.packed, self.bits, self.dim).astype(np.float32) - np.float32(self._centre)
        lengths = np.abs(parts.scales) * np.linalg.norm(centred, axis=1)
        return np.asarray(lengths * lost / np.sqrt(self.dim), dtype=np.float32)

    def factors(self, codes: NDArray[np.uint8]) -> Factors:
        """Scales and errors of codes, ``(n,)`` each."""
        _, scales, errors = self._parts(codes)
        return Factors(scales, errors)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration, and signs or a matrix."""
        return {"bits": self.bits, "dim": self.dim}, self._rotation.arrays()

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> BitsCodec:
        """The inverse of `state`.

        Raises:
            IndexFormatError: a number of bits that this version does not know.
            IndexDamagedError: arrays that make no rotation.
        """
        rotation = Rotation.from_arrays(arrays, int(config["dim"]))
        try:
            return cls.of(rotation, config.get("bits"), config.get("scan_bits"))
        except ConfigError as error:
            raise IndexFormatError(
                f"the index has codes of {config.get('bits')!r} bits, unknown to this version ({error}); "
                "upgrade"
            ) from None

    @property
    def _centre(self) -> float:
        return float(2**self.bits - 1) / 2

    def _parts(self, codes: NDArray[np.uint8]) -> _Parts:
        check_dim(codes, self.width(self.dim))
        packed, factors = np.ascontiguousarray(codes[:, : self._nbytes]), _as_floats(codes[:, self._nbytes :])
        return _Parts(packed, np.ascontiguousarray(factors[:, 0]), np.ascontiguousarray(factors[:, 1]))

    def _arguments(
        self, queries: FloatArray, codes: NDArray[np.uint8]
    ) -> tuple[FloatArray, NDArray[np.uint8], FloatArray, FloatArray]:
        """Queries, codes, scales and offsets as `kernels.asymmetric` takes them."""
        check_dim(queries, self.dim)
        parts = self._parts(codes)
        return self._rotation.apply(queries), parts.packed, parts.scales, -self._centre * parts.scales


class BitsTableCodec(BitsCodec):
    """`BitsCodec` of 1, 2 or 4 bits: half a byte holds 4, 2 or 1 dimensions.

    ``grid`` is how its tables are made where a kernel can make them; None where it takes `tables`.
    """

    def __init__(self, rotation: Rotation, bits: int) -> None:
        super().__init__(rotation, bits)
        self.grid = None if rotation.signs is None else Grid(bits, rotation.signs)

    def nibbles(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """``(n, ceil(d * bits / 4))`` numbers from 0 to 15, low half of a byte first."""
        packed = codes[:, : self._nbytes]
        halves = np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=2)
        numbers = halves.reshape(len(codes), 2 * self._nbytes)
        return np.ascontiguousarray(numbers[:, : -(-self.dim * self.bits // 4)])

    def tables(self, queries: FloatArray) -> FloatArray:
        """``(n_queries, m, 16)``: ``<q, u - c>`` of the dimensions of each half byte."""
        check_dim(queries, self.dim)
        if self._rotation.signs is not None:
            return grid_tables(queries, self.bits, self._rotation.signs)
        return grid_tables(self._rotation.apply(queries), self.bits)


class NestedBitsCodec(BitsCodec):
    """`BitsCodec` whose highest ``scan_bits`` are codes of their own, with look-ups: those are scanned, and
    the whole codes of the best read. A code is ``[packed grid point | scale | error | scanned scale]``.

    The scanned code's scale is that of the vector. Taking the whole code for the vector would save a
    microsecond, and make estimates 2 % too small for 2 bits and 0.5 % for 4. ``grid`` is as in
    `BitsTableCodec`.
    """

    def __init__(self, rotation: Rotation, bits: int, scan_bits: int) -> None:
        super().__init__(rotation, bits)
        self.scan_bits, self._scanned = scan_bits, BitsTableCodec(rotation, scan_bits)
        self.grid = self._scanned.grid

    def width(self, dim: int) -> int:
        """Bytes of a code."""
        return super().width(dim) + FACTORS // 2

    def encode(self, values: FloatArray) -> NDArray[np.uint8]:
        """See `BitsCodec.encode`."""
        check_dim(values, self.dim)
        turned = self._rotation.apply_to_documents(values)
        packed, scales, errors = grid_codes(turned, self.bits)
        scanned = grid_scales(turned, packed, self.bits, self.scan_bits)
        return np.concatenate([packed, _as_bytes(scales, errors, scanned)], axis=1)

    def nibbles(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """``(n, ceil(d * scan_bits / 4))`` numbers from 0 to 15: the scanned codes."""
        levels = unpack(codes[:, : self._nbytes], self.bits, self.dim) >> np.uint8(self.bits - self.scan_bits)
        pieces = 4 // self.scan_bits
        levels = np.pad(levels, ((0, 0), (0, -self.dim % pieces)))
        shifts = np.arange(0, 4, self.scan_bits, dtype=np.uint8)
        parts = levels.reshape(len(codes), -(-self.dim // pieces), pieces) << shifts
        numbers: NDArray[np.uint8] = np.bitwise_or.reduce(parts, axis=2)
        return numbers

    def factors(self, codes: NDArray[np.uint8]) -> Factors:
        """Scales of the scanned codes, ``(n,)``. Nothing is bounded by them, so their errors are not kept."""
        check_dim(codes, self.width(self.dim))
        return Factors(np.ascontiguousarray(_as_floats(codes[:, self._nbytes :])[:, 2]), None)

    def tables(self, queries: FloatArray) -> FloatArray:
        """See `BitsTableCodec.tables`; of the scanned codes."""
        return self._scanned.tables(queries)

    def whole(self, codes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], FloatArray]:
        """All bits ``(n, nbytes)``, and scale and error of each ``(n, 2)``, for `kernels.sharpen`."""
        parts = self._parts(codes)
        return parts.packed, np.stack([parts.scales, parts.errors], axis=1)

    def turned(self, queries: FloatArray) -> FloatArray:
        """Queries ``(n_q, d)`` as whole codes are multiplied with."""
        check_dim(queries, self.dim)
        return self._rotation.apply(queries)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """See `BitsCodec.state`."""
        config, arrays = super().state()
        return {**config, "scan_bits": self.scan_bits}, arrays


def _as_bytes(*numbers: FloatArray) -> NDArray[np.uint8]:
    """Some numbers of each vector ``(n,)``, side by side ``(n, 4 * len(numbers))``."""
    return np.stack(numbers, axis=1).astype("<f4").view(np.uint8)


def _as_floats(columns: NDArray[np.uint8]) -> FloatArray:
    """The inverse of `_as_bytes`."""
    return np.ascontiguousarray(columns).view("<f4").astype(np.float32, copy=False)
