"""Stored vectors as kernels read them, checked once a segment and not at every query."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.types import FloatArray

__all__ = ["Rows", "as_rows", "prepare_rows"]

_FLOAT, _HALF, _BYTE = (np.dtype(x) for x in (np.float32, np.float16, np.uint8))


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Vectors ``(n, d)`` as they are stored; made by `prepare_rows`. A number stands for itself, or with
    ``span`` and ``low`` ``(d,)`` float32 byte ``x`` of dimension ``j`` for
    ``(x + 0.5) / 255 * span[j] + low[j]``, every operation in float32 (`Int8Codec`). Else both are empty.

    ``read`` are the rows as kernels read them, ``stride`` elements apart. ``steps`` ``span / 255`` and
    ``offsets`` (float64) ``low + 0.5 / 255 span`` are the same line, to be folded into a query.
    """

    rows: NDArray[Any]
    span: FloatArray
    low: FloatArray
    read: NDArray[Any] = field(init=False, repr=False)
    stride: int = field(init=False)
    steps: FloatArray = field(init=False, repr=False)
    offsets: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        read, stride = as_rows(self.rows, self.rows.shape[-1])
        made: dict[str, Any] = {"read": read, "stride": stride, "steps": plain(self.span / np.float32(255))}
        made["offsets"] = plain(self.low.astype(np.float64) + 0.5 / 255 * self.span.astype(np.float64))
        for name, value in made.items():
            object.__setattr__(self, name, value)


def prepare_rows(rows: NDArray[Any], span: FloatArray | None = None, low: FloatArray | None = None) -> Rows:
    """Rows as `rescore` takes them, and what their numbers stand for.

    Raises:
        ValueError: a type, shape or order that does not fit; one of span and low without the other, or
            both for numbers that are no bytes.
    """
    if (span is None) != (low is None):
        raise ValueError("give span and low together, or neither")
    if span is None or low is None:
        span = low = np.empty(0, np.float32)
    elif rows.dtype != _BYTE:
        raise ValueError(f"rows are {rows.dtype}: span and low are for uint8")
    for name, array in (("span", span), ("low", low)):
        if array.dtype != _FLOAT or array.shape not in {(0,), (rows.shape[-1],)}:
            raise ValueError(f"{name} is {array.dtype} {array.shape}: it must be float32 ({rows.shape[-1]},)")
    return Rows(rows, plain(span), plain(low))


def as_rows(rows: NDArray[Any], dim: int) -> tuple[NDArray[Any], int]:
    """Rows as kernels read them, read-only, float16 as uint16; and how many elements they are apart.

    Raises:
        ValueError: a type, shape or order that does not fit.
    """
    if rows.dtype not in (_FLOAT, _HALF, _BYTE) or rows.ndim != 2 or rows.shape[1] != dim:
        raise ValueError(
            f"rows are {rows.dtype} {rows.shape}: they must be float32, float16 or uint8 (n, {dim})"
        )
    size = rows.itemsize
    apart, along = rows.strides if len(rows) > 1 else (dim * size, rows.strides[1])
    if rows.size and (
        (along != size and dim > 1) or apart % size or apart < dim * size or not rows.flags.aligned
    ):
        raise ValueError(
            f"rows have strides {rows.strides}: a row must be contiguous, rows aligned and apart"
        )
    if rows.dtype == _HALF:
        rows = rows.view(np.uint16)
    if type(rows) is not np.ndarray or rows.flags.writeable:
        rows = rows.view(np.ndarray)
        rows.flags.writeable = False
    return rows, apart // size
