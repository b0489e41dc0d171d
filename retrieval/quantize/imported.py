"""Codecs trained elsewhere, from their arrays: checked as strictly as what comes from a user must be."""

from __future__ import annotations

from typing import Any

import numpy as np

from retrieval.errors import ConfigError
from retrieval.quantize.bits import BitsCodec
from retrieval.quantize.int8 import Int8Codec
from retrieval.quantize.opq import OPQCodec
from retrieval.quantize.pq import PQCodec
from retrieval.quantize.rotation import Rotation
from retrieval.quantize.trained import given

__all__ = ["bits_from_arrays", "int8_from_arrays", "pq_from_arrays"]


def pq_from_arrays(centroids: Any, rotation: Any = None, dim: int | None = None) -> PQCodec:
    """A product quantiser of ``centroids`` ``(m, 16 or 256, dsub)``, behind a ``rotation`` if there is one.

    Args:
        centroids: of each part, in the order of their codes.
        rotation: ``(m * dsub, m * dsub)``, orthonormal, ``y = R x``: faiss's ``OPQMatrix.A``.
        dim: of the vectors, where it is less than ``m * dsub``: they are filled up with zeros.

    Raises:
        ConfigError: arrays that do not fit, numbers that are not finite, a matrix that is no rotation.
    """
    checked = given(centroids, "centroids", np.float32, (None, None, None))
    m, ksub, dsub = checked.shape
    if ksub not in (16, 256):
        raise ConfigError(f"centroids has {ksub} a part: there must be 16 or 256")
    full = m * dsub
    dim = full if dim is None else dim
    if not full - m < dim <= full:
        raise ConfigError(f"dim={dim}: centroids of {m} parts of {dsub} serve {full - m + 1} to {full}")
    if rotation is None:
        return PQCodec.of(checked, dim)
    turned = Rotation.of(given(rotation, "rotation", np.float32, (full, full)))
    return OPQCodec.turned(checked, dim, turned)


def int8_from_arrays(low: Any, step: Any) -> Int8Codec:
    """Bytes whose code c stands for ``low + (c + 0.5) * step``, ``(d,)`` each.

    Raises:
        ConfigError: arrays of different lengths, a negative step, numbers that are not finite.
    """
    lowest = given(low, "low", np.float32, (None,))
    steps = given(step, "step", np.float32, lowest.shape)
    if (steps < 0).any():
        raise ConfigError(f"step is negative in dimension {int(np.argmax(steps < 0))}")
    with np.errstate(over="ignore"):
        span = given(steps * np.float32(255), "255 * step", np.float32, lowest.shape)
    return Int8Codec(lowest, span)


def bits_from_arrays(rotation: Any, bits: int) -> BitsCodec:
    """Codes of ``bits`` bits after a given rotation: ``signs`` ``(rounds, d)`` int8 for `kernels.rotate`,
    or an orthonormal matrix ``(d, d)``, ``y = R x``.

    Raises:
        ConfigError: no such rotation, or another number of bits than 1, 2, 4 or 8.
    """
    return BitsCodec.of(Rotation.of(rotation), bits)
