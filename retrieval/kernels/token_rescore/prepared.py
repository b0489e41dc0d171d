"""Stored token vectors as kernels read them, checked once a segment and not at every query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.types import FloatArray, IntArray

__all__ = ["Tokens", "decode", "prepare_tokens"]

_FLOAT, _BYTE = np.dtype(np.float32), np.dtype(np.uint8)
_DTYPES = (_FLOAT, np.dtype(np.float16), _BYTE)
SAMPLED = 16
"""Places of a segment where bytes are looked at, `RUN` tokens each: few, as they come from disk."""
RUN = 64
BLOCK = 8192
"""Tokens decoded at a time to find the longest."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of a segment's documents; made by `prepare_tokens`.

    ``codes`` ``(n_tokens, d)`` are float32, float16 or uint8; document ``j`` owns ``offsets[j]`` to
    ``offsets[j + 1]``. A byte ``x`` of dimension ``j`` stands for ``(x + 0.5) / 255 * span[j] + low[j]``,
    every operation in float32 (`Int8Codec`); both are empty for floats, which stand for themselves.
    ``given_norm`` bounds the norms of all vectors, None where nobody knows.
    """

    codes: NDArray[Any]
    offsets: IntArray
    span: FloatArray
    low: FloatArray
    given_norm: float | None = None

    @property
    def is_bytes(self) -> bool:
        """Whether numbers are calibrated bytes."""
        return len(self.span) > 0

    @cached_property
    def steps(self) -> NDArray[np.float64]:
        """What one more in a byte adds, ``(d,)``; empty for floats."""
        return plain(self.span.astype(np.float64) / 255)

    @cached_property
    def middles(self) -> NDArray[np.float64]:
        """What byte 128 stands for, ``(d,)``; empty for floats."""
        return plain(self.low.astype(np.float64) + 128.5 * self.steps)

    @cached_property
    def doubts(self) -> NDArray[np.float64]:
        """How far the float32 of a byte may lie from the line ``middle + (byte - 128) * step``, ``(d,)``.

        Three roundings, of at most span, span and span + low; doubled. They also cover what sums in
        float64 round.
        """
        low, span = np.abs(self.low.astype(np.float64)), self.span.astype(np.float64)
        return plain((3 * span + low) * 2.0**-23 + 2.0**-147)

    @cached_property
    def norm(self) -> float:
        """At least the norm of the longest vector; where it was not given, all are read."""
        if self.given_norm is not None:
            return self.given_norm
        largest = 0.0
        for first in range(0, len(self.codes), BLOCK):
            values = decode(self, self.codes[first : first + BLOCK]).astype(np.float64)
            largest = float(np.maximum(largest, np.linalg.norm(values, axis=1).max()))
        return largest

    @cached_property
    def usual(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean of ``byte - 128`` and its variance in some of the tokens, ``(d,)`` each."""
        places = np.linspace(0, max(len(self.codes) - RUN, 0), SAMPLED).astype(np.int64)
        runs = [self.codes[place : place + RUN] for place in places]
        sample = np.concatenate(runs).astype(np.float64) - 128
        if not len(sample):
            sample = np.zeros((1, self.codes.shape[1]))
        return plain(sample.mean(axis=0)), plain(sample.var(axis=0))


def prepare_tokens(
    codes: NDArray[Any],
    offsets: IntArray,
    span: FloatArray | None = None,
    low: FloatArray | None = None,
    max_norm: float | None = None,
) -> Tokens:
    """Tokens ``(n_tokens, d)`` of documents between ``offsets`` ``(n + 1,)`` int64, and what their numbers
    stand for: ``span`` and ``low`` ``(d,)`` float32 come with uint8 and with nothing else.

    ``max_norm`` bounds the norm of what any token stands for; without it the first exact scoring reads
    all tokens to know.

    Raises:
        ValueError: a type, shape or order that does not fit; offsets that fall or leave the tokens.
    """
    if codes.dtype not in _DTYPES or codes.ndim != 2 or not codes.shape[1]:
        raise ValueError(
            f"tokens are {codes.dtype} {codes.shape}: they must be float32, float16 or uint8 (n_tokens, d)"
        )
    if not codes.flags["C_CONTIGUOUS"] or not codes.flags.aligned:
        raise ValueError(f"tokens have strides {codes.strides}: they must be C-contiguous and aligned")
    if (codes.dtype == _BYTE) != (span is not None) or (span is None) != (low is None):
        raise ValueError(f"tokens are {codes.dtype}: give span and low with uint8, and with nothing else")
    low, span = (_calibration(name, array, codes) for name, array in (("low", low), ("span", span)))
    _check_offsets(offsets, len(codes))
    if max_norm is not None and not max_norm >= 0:
        raise ValueError(f"max_norm is {max_norm}: no vector is that long")
    read = codes.view(np.ndarray)
    read.flags.writeable = False
    return Tokens(read, plain(offsets.view(np.ndarray)), span, low, max_norm)


def decode(tokens: Tokens, codes: NDArray[Any]) -> FloatArray:
    """What numbers of ``tokens`` stand for, float32: as `Int8Codec.decode`, bit for bit."""
    values: FloatArray = codes.astype(np.float32)
    if tokens.is_bytes:
        values = (values + np.float32(0.5)) / np.float32(255) * tokens.span + tokens.low
    return values


def _calibration(name: str, array: FloatArray | None, codes: NDArray[Any]) -> FloatArray:
    """What goes with bytes, empty for none."""
    if array is None:
        return plain(np.empty(0, np.float32))
    dim = codes.shape[1]
    if array.dtype != _FLOAT or array.shape != (dim,) or not np.isfinite(array).all():
        raise ValueError(f"{name} is {array.dtype} {array.shape}: it must be float32 ({dim},), all finite")
    return plain(array)


def _check_offsets(offsets: IntArray, n_tokens: int) -> None:
    if offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
        raise ValueError(f"offsets are {offsets.dtype} {offsets.shape}: they must be int64 (n + 1,)")
    if offsets[0] < 0 or offsets[-1] > n_tokens or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"offsets must grow from 0 at least to {n_tokens} tokens at most")
