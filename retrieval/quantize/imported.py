"""Codecs trained elsewhere, from their arrays: checked as strictly as what comes from a user must be.

`Engine.build` and `Engine.compact` take one in place of training their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError
from retrieval.quantize.bits import BitsCodec
from retrieval.quantize.int8 import Int8Codec
from retrieval.quantize.opq import OPQCodec
from retrieval.quantize.pq import PQCodec
from retrieval.quantize.rotation import Rotation
from retrieval.quantize.trained import given

__all__ = [
    "GivenCodec",
    "bits_from_arrays",
    "check_given",
    "codec_from_file",
    "codec_settings",
    "int8_from_arrays",
    "pq_from_arrays",
]

GivenCodec = BitsCodec | Int8Codec | PQCodec
"""What can come from elsewhere (`OPQCodec` is a `PQCodec`)."""
NUMBERS = ("bits", "dim")
"""Arrays of a file that hold one number."""


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


def codec_settings(codec: GivenCodec) -> dict[str, Any]:
    """The settings of a recipe (`RecipeConfig`) whose codes this codec makes."""
    if isinstance(codec, BitsCodec):
        return {"codec": codec.name, "bits": codec.bits, "scan_bits": None}
    if isinstance(codec, PQCodec):
        return {"codec": codec.name, "m": codec.m, "nbits": codec.nbits, "scan_bits": None}
    return {"codec": codec.name, "scan_bits": None}


def check_given(codec: GivenCodec, dim: int) -> None:
    """Refuse a codec of other vectors than those of ``dim``.

    Raises:
        ConfigError: it is one.
    """
    if not isinstance(codec, GivenCodec):
        raise ConfigError(
            f"codec is a {type(codec).__name__}: give what pq_from_arrays, int8_from_arrays or "
            "bits_from_arrays makes"
        )
    if codec.dim != dim:
        raise ConfigError(
            f"the given codec {codec.name} is of {codec.dim} dimensions, and what it is to code has {dim}"
        )


def codec_from_file(path: str | Path) -> GivenCodec:
    """A codec of the arrays in a safetensors file, named as the arguments of the functions above are:
    ``centroids`` (with ``rotation`` and ``dim``, if need be), ``low`` and ``step``, or ``rotation`` and
    ``bits``.

    Raises:
        ConfigError: no such file, other arrays, or such as the functions above refuse.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (OSError, SafetensorError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"{path} cannot be read as a safetensors file of numbers: {error}") from None
    try:
        return _codec_of(arrays)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _codec_of(arrays: Mapping[str, NDArray[Any]]) -> GivenCodec:
    values: dict[str, Any] = {
        name: _number(name, one) if name in NUMBERS else one for name, one in arrays.items()
    }
    if "centroids" in values and values.keys() <= {"centroids", "rotation", "dim"}:
        return pq_from_arrays(**values)
    if values.keys() == {"low", "step"}:
        return int8_from_arrays(**values)
    if values.keys() == {"rotation", "bits"}:
        return bits_from_arrays(**values)
    raise ConfigError(
        f"it has {', '.join(sorted(values)) or 'no arrays'}: there must be centroids (with rotation and dim, "
        "if need be), or low and step, or rotation and bits"
    )


def _number(name: str, array: NDArray[Any]) -> int:
    if array.size != 1 or array.dtype.kind not in "iu":
        raise ConfigError(f"{name} is {array.dtype}{array.shape}: there must be one integer")
    return int(array.reshape(-1)[0])
