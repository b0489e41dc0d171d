"""Vectors on the wire: lists of numbers, or the bytes of an array in base64.

    [0.25, -1, 3]                                                    a vector
    [[0.25, -1, 3], [1, 0, 0]]                                       vectors, one a row
    {"base64": "AACAPgAAgL8AAEBA"}                                   the vector above
    {"base64": "...", "dtype": "float16", "shape": [2, 3]}           vectors

Numbers of JSON cost about 20 bytes and a Python object each; a late-interaction query has thousands. Base64
alone, without a shape, is what OpenAI's ``encoding_format: "base64"`` answers.
"""

from __future__ import annotations

import binascii
import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from retrieval.encode.base import LARGEST
from retrieval.types import FloatArray
from server.schemas.base import WHOLE, Strict, Vector

__all__ = [
    "PackedVectors",
    "UnfitVectors",
    "VectorValue",
    "VectorsValue",
    "number_of",
    "vector_of",
    "vectors_of",
]

MAX_SIDE = (1 << 31) - 1
"""Of a shape: a number of JSON may have thousands of digits, and a product more than Python writes."""
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}


class UnfitVectors(ValueError):
    """What was sent is no vectors. ``pointer`` (JSON pointer) is where, within the value; ``told`` what."""

    def __init__(self, pointer: str, told: str) -> None:
        super().__init__(f"{pointer}: {told}" if pointer else told)
        self.pointer, self.told = pointer, told


class PackedVectors(Strict):
    """A vector, or vectors one after the other, as the bytes of their numbers: little-endian, in base64."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"base64": "AACAPgAAgL8AAEBA"},
                {"base64": "ADQAvAA8ADwAAAAA", "dtype": "float16", "shape": [2, 3]},
            ]
        },
    )

    base64: str = Field(min_length=1, description="with + and /, padded")
    dtype: Literal["float32", "float16"] = Field("float32", description="what a number is; little-endian")
    shape: list[Annotated[int, Field(ge=1, le=MAX_SIDE), WHOLE]] | None = Field(
        None,
        min_length=1,
        max_length=2,
        description="[dimensions] of a vector, [vectors, dimensions] of several; left out: it is one vector",
    )

    @property
    def numbers(self) -> int:
        """How many the base64 holds, if it is whole."""
        return (len(self.base64) // 4 * 3 - self.base64[-2:].count("=")) // DTYPES[self.dtype].itemsize

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape, of one vector as it follows from the length."""
        return (self.numbers,) if self.shape is None else tuple(self.shape)


Numbers = Annotated[Vector, Field(min_length=1)]
Rows = Annotated[list[Numbers], Field(min_length=1, fail_fast=True)]
_NUMBERS, _ROWS = TypeAdapter(Numbers), TypeAdapter(Rows)


def _one(value: Any, _: ValidatorFunctionWrapHandler) -> Any:
    """What is wrong is told of the form that was sent, and not of the other one too."""
    return _checked(value, _NUMBERS)


def _several(value: Any, _: ValidatorFunctionWrapHandler) -> Any:
    return _checked(value, _ROWS)


def _checked(value: Any, listed: TypeAdapter[Any]) -> Any:
    if isinstance(value, dict | PackedVectors):
        return PackedVectors.model_validate(value)
    return listed.validate_python(value, strict=True)


VectorValue = Annotated[Numbers | PackedVectors, WrapValidator(_one)]
VectorsValue = Annotated[Rows | PackedVectors, WrapValidator(_several)]


def number_of(vectors: list[list[float]] | PackedVectors) -> int:
    """How many vectors there are, as their shape says; 1 where it says nothing of that."""
    if isinstance(vectors, list):
        return len(vectors)
    return 1 if len(vectors.dims) == 1 else vectors.dims[0]


def vector_of(value: Any, dim: int | None = None) -> FloatArray:
    """A vector ``(1, d)`` float32, the caller's own: from a list of numbers or from base64, as parsed from
    JSON, or as a model of the wire has it. ``dim`` is the d that it must have, None for any.

    Raises:
        UnfitVectors: it is something else, empty, of another dimension, not finite or beyond `LARGEST`.
    """
    given = _read(value, _NUMBERS)
    if isinstance(given, PackedVectors):
        if len(given.dims) != 1:
            raise UnfitVectors(
                "/shape", f"{list(given.dims)} is not the shape of one vector; give [dimensions]"
            )
        return _unpacked(given, dim)
    return _array([given], [""], dim)


def vectors_of(value: Any, dim: int | None = None, most: int | None = None) -> FloatArray:
    """Vectors ``(n, d)`` float32, the caller's own: from a list of lists of numbers, or base64 with a shape.
    ``most`` is how many there may be, None for any number; the rest as of `vector_of`.

    Raises:
        UnfitVectors: as of `vector_of`; more than ``most``; rows of different lengths.
    """
    given = _read(value, _ROWS)
    is_packed = isinstance(given, PackedVectors)
    if is_packed and len(given.dims) != 2:
        raise UnfitVectors("/shape", "give the shape of several vectors: [vectors, dimensions]")
    n = number_of(given)
    if most is not None and n > most:
        raise UnfitVectors("", f"{n} vectors; the most is {most}")
    return _unpacked(given, dim) if is_packed else _array(given, [f"/{i}" for i in range(n)], dim)


def _read(value: Any, listed: TypeAdapter[Any]) -> Any:
    try:
        return _checked(value, listed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UnfitVectors("".join(f"/{part}" for part in first["loc"]), first["msg"]) from None


def _array(rows: list[list[float]], places: list[str], dim: int | None) -> FloatArray:
    wanted = len(rows[0]) if dim is None else dim
    for row, place in zip(rows, places, strict=True):
        if len(row) != wanted:
            raise UnfitVectors(place, _other_dim(len(row), wanted))
    array = np.array(rows, dtype=np.float64)
    _check_size(array, places)
    return array.astype(np.float32)


def _unpacked(given: PackedVectors, dim: int | None) -> FloatArray:
    shape = given.dims
    if dim is not None and shape[-1] != dim:
        raise UnfitVectors("/base64" if given.shape is None else "/shape", _other_dim(shape[-1], dim))
    try:
        content = binascii.a2b_base64(given.base64, strict_mode=True)
    except ValueError:  # also where it is not ASCII
        raise UnfitVectors("/base64", "is not base64 (with + and /, padded, no line breaks)") from None
    size = DTYPES[given.dtype].itemsize
    if len(content) != size * math.prod(shape):
        told = (
            f"holds {len(content)} bytes; {given.dtype} of shape {list(shape)} has {size * math.prod(shape)}"
        )
        raise UnfitVectors("/base64", told)
    array = np.frombuffer(content, DTYPES[given.dtype]).reshape(shape[0] if len(shape) == 2 else 1, -1)
    # A copy: what lies in bytes cannot be written to, and kernels are compiled for what can.
    array = array.astype(np.float32)
    _check_size(array, ["/base64"] * len(array))
    return array


def _check_size(array: NDArray[Any], places: list[str]) -> None:
    if not np.abs(array).max() <= LARGEST:  # also when one is NaN
        place = places[int(np.argmin(np.abs(array).max(axis=1) <= LARGEST))]
        raise UnfitVectors(place, f"holds NaN, infinity or values beyond {LARGEST:g}")


def _other_dim(found: int, wanted: int) -> str:
    return f"{found} numbers; there must be {wanted}"
