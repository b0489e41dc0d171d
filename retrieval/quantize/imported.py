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
from retrieval.quantize.residual import ResidualCodec
from retrieval.quantize.residual.base import NoResiduals, ResidualCoder
from retrieval.quantize.residual.buckets import BucketResiduals, TernaryResiduals
from retrieval.quantize.residual.cells import Centroids
from retrieval.quantize.residual.product import ProductResiduals
from retrieval.quantize.rotation import Rotation
from retrieval.quantize.trained import given

__all__ = [
    "GivenCodec",
    "VectorCodec",
    "bits_from_arrays",
    "check_given",
    "codec_from_file",
    "codec_settings",
    "int8_from_arrays",
    "pq_from_arrays",
    "residual_from_arrays",
]

VectorCodec = BitsCodec | Int8Codec | PQCodec
"""What can come from elsewhere for single vectors (`OPQCodec` is a `PQCodec`)."""
GivenCodec = VectorCodec | ResidualCodec
"""What can come from elsewhere."""
PRODUCT = {"centroids", "rotation", "dim"}
RESIDUAL = {"centroids", "codebooks", "bucket_weights", "bucket_cutoffs"}
CALIBRATION = {"low", "step"}
BITS = {"rotation", "bits"}
"""Arrays of a file, by what is made of them."""
NUMBERS = ("bits", "dim")
"""Those that hold one number."""


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


def residual_from_arrays(
    centroids: Any, codebooks: Any = None, bucket_weights: Any = None, bucket_cutoffs: Any = None
) -> ResidualCodec:
    """Codes of tokens: the nearest of ``centroids`` ``(K, d)`` by l2 (of 8-bit products, with all of them),
    and what it leaves, by codebooks or in a few bits a dimension; with neither, the centroid alone.

    Args:
        centroids: of any lengths; a token keeps its own length beside its code.
        codebooks: ``(m, 16 or 256, dsub)`` of the residuals' parts: part p has the dimensions from
            ``p * d // m`` to ``(p + 1) * d // m``, and zeros up to ``dsub``, the length of the longest.
        bucket_weights: what codes of 1, 2 or 4 bits stand for, ascending: ``(2**bits,)`` for all dimensions,
            or ``(d, 2**bits)``; three of them, ``-b, 0, b``, are ternary codes.
        bucket_cutoffs: one less; a number has the code i where it is above i of them (ColBERT's
            ``bucketize``). Default: in the middle between two weights.

    Raises:
        ConfigError: arrays that do not fit each other, are not in order, or not finite.
    """
    checked = given(centroids, "centroids", np.float32, (None, None))
    dim = checked.shape[1]
    if bucket_weights is None and bucket_cutoffs is not None:
        raise ConfigError("bucket_cutoffs are of no use without bucket_weights; give both")
    if codebooks is not None and bucket_weights is not None:
        raise ConfigError("residuals are coded by codebooks or by bucket_weights; give one of them")
    coder: ResidualCoder = NoResiduals(dim)
    if codebooks is not None:
        coder = ProductResiduals.given(given(codebooks, "codebooks", np.float32, (None, None, None)), dim)
    elif bucket_weights is not None:
        coder = _buckets(bucket_weights, bucket_cutoffs, dim)
    return ResidualCodec(Centroids(checked), coder)


def _buckets(weights: Any, cutoffs: Any, dim: int) -> BucketResiduals:
    each = (dim,) if np.ndim(weights) == 2 else ()
    checked = given(weights, "bucket_weights", np.float32, (*each, None))
    n = checked.shape[-1]
    if n not in (2, 3, 4, 16):
        raise ConfigError(f"there are {n} bucket_weights: give 2, 4 or 16, or 3 for ternary codes")
    cuts = None if cutoffs is None else given(cutoffs, "bucket_cutoffs", np.float32, (*each, n - 1))
    if n != 3:
        return BucketResiduals.given(checked, dim, cuts)
    unused = np.zeros((*each, 1), np.float32)
    return TernaryResiduals.given(np.concatenate([checked, unused], axis=-1), dim, cuts)


def codec_settings(codec: GivenCodec) -> dict[str, Any]:
    """The settings of a recipe (`RecipeConfig`) whose codes this codec makes."""
    if isinstance(codec, BitsCodec):
        return {"codec": codec.name, "bits": codec.bits, "scan_bits": None}
    if isinstance(codec, PQCodec):
        return {"codec": codec.name, "m": codec.m, "nbits": codec.nbits, "scan_bits": None}
    if isinstance(codec, ResidualCodec):
        return {"codec": codec.coder.name, "ncentroids": codec.ncentroids, **_coder_settings(codec.coder)}
    return {"codec": codec.name, "scan_bits": None}


def _coder_settings(coder: ResidualCoder) -> dict[str, Any]:
    if isinstance(coder, ProductResiduals):
        return {"m": coder.m, "nbits": coder.nbits}
    if isinstance(coder, BucketResiduals):
        return {"bits": coder.bits, "buckets": "global" if coder.buckets.ndim == 1 else "dimension"}
    return {}


def check_given(codec: GivenCodec, dim: int) -> None:
    """Refuse a codec of other vectors than those of ``dim``.

    Raises:
        ConfigError: it is one.
    """
    if not isinstance(codec, GivenCodec):
        raise ConfigError(
            f"codec is a {type(codec).__name__}: give what pq_from_arrays, int8_from_arrays, "
            "bits_from_arrays or residual_from_arrays makes"
        )
    if codec.dim != dim:
        raise ConfigError(
            f"the given codec {codec.name} is of {codec.dim} dimensions, and what it is to code has {dim}"
        )


def codec_from_file(path: str | Path) -> GivenCodec:
    """A codec of the arrays in a safetensors file, named as the arguments of the functions above are:
    ``centroids`` (with ``rotation`` and ``dim``, if need be), ``low`` and ``step``, ``rotation`` and
    ``bits``, or of tokens ``centroids`` (with ``codebooks``, or ``bucket_weights`` and ``bucket_cutoffs``).
    Of a folder, the files of these names that end in ``.npy``: one of an index of PLAID's kind is such.

    Raises:
        ConfigError: no such file, other arrays, or such as the functions above refuse.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = _arrays_in(Path(path)) if Path(path).is_dir() else load_file(path)
    except (OSError, SafetensorError, TypeError, ValueError, KeyError, EOFError) as error:
        told = "a folder of .npy files" if Path(path).is_dir() else "a safetensors file"
        raise ConfigError(f"{path} cannot be read as {told} of numbers: {error}") from None
    try:
        return _codec_of(arrays)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _arrays_in(folder: Path) -> dict[str, NDArray[Any]]:
    names = sorted(PRODUCT | RESIDUAL | CALIBRATION | BITS)
    return {name: np.load(file) for name in names if (file := folder / f"{name}.npy").is_file()}


def _codec_of(arrays: Mapping[str, NDArray[Any]]) -> GivenCodec:
    values: dict[str, Any] = {
        name: _number(name, one) if name in NUMBERS else one for name, one in arrays.items()
    }
    of_tokens = "centroids" in values and np.ndim(values["centroids"]) == 2
    if of_tokens and values.keys() <= RESIDUAL:
        return residual_from_arrays(**values)
    if "centroids" in values and values.keys() <= PRODUCT:
        return pq_from_arrays(**values)
    if values.keys() == CALIBRATION:
        return int8_from_arrays(**values)
    if values.keys() == BITS:
        return bits_from_arrays(**values)
    raise ConfigError(
        f"it has {', '.join(sorted(values)) or 'no arrays'}: there must be centroids (with rotation and dim, "
        "if need be; of tokens with codebooks, or bucket_weights and bucket_cutoffs), or low and step, or "
        "rotation and bits"
    )


def _number(name: str, array: NDArray[Any]) -> int:
    if array.size != 1 or array.dtype.kind not in "iu":
        raise ConfigError(f"{name} is {array.dtype}{array.shape}: there must be one integer")
    return int(array.reshape(-1)[0])
