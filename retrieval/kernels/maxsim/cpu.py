"""MaxSim on the processor: arguments are checked here, and the level of the machine does the work.

Everything runs without the GIL and may be called from many threads at once; what takes no ``threads`` is
serial.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels import host
from retrieval.kernels.maxsim.arguments import check_documents, check_float_query, check_i8_query
from retrieval.kernels.maxsim.blas import maxsim_batch
from retrieval.kernels.maxsim.packing import to_bf16
from retrieval.kernels.maxsim.reference import from_bf16
from retrieval.types import FloatArray, IntArray

__all__ = ["maxsim", "maxsim_batch", "maxsim_bf16", "maxsim_i8", "to_bf16"]

ROW_BYTES = 32
"""Shorter rows than this are left to the portable kernels: they are less than a vector's load."""


def maxsim(
    query: FloatArray, values: NDArray[Any], offsets: IntArray, ordinals: IntArray | None = None
) -> FloatArray:
    """See `retrieval.kernels.maxsim.reference.maxsim`; the same up to rounding.

    Raises:
        ValueError: a shape, dtype or range does not fit, or the query is not finite.
    """
    query = check_float_query(query)
    offsets, ordinals, n = check_documents(values, ("float32", "float16"), query.shape[1], offsets, ordinals)
    scores = np.empty(n, dtype=np.float32)
    _level(values).maxsim(query, values, offsets, ordinals, scores)
    return scores


def maxsim_bf16(
    query: FloatArray, values_bits: NDArray[np.uint16], offsets: IntArray, ordinals: IntArray | None = None
) -> FloatArray:
    """See `retrieval.kernels.maxsim.reference.maxsim_bf16`; the same up to rounding.

    Raises:
        ValueError: a shape, dtype or range does not fit, or the query is not finite.
    """
    query = from_bf16(to_bf16(check_float_query(query)))
    offsets, ordinals, n = check_documents(values_bits, ("uint16",), query.shape[1], offsets, ordinals)
    scores = np.empty(n, dtype=np.float32)
    _level(values_bits).maxsim_bf16(query, values_bits, offsets, ordinals, scores)
    return scores


def maxsim_i8(
    query_i8: NDArray[np.int8],
    values_u8: NDArray[np.uint8],
    offsets: IntArray,
    ordinals: IntArray | None = None,
    threads: int = 1,
) -> NDArray[np.int32]:
    """See `retrieval.kernels.maxsim.reference.maxsim_i8`; equal. So many ``threads`` may share it.

    Raises:
        ValueError: a shape, dtype or range does not fit, or a score may leave int32.
    """
    query_i8 = check_i8_query(query_i8)
    offsets, ordinals, n = check_documents(values_u8, ("uint8",), query_i8.shape[1], offsets, ordinals)
    scores = np.empty(n, dtype=np.int32)
    _level(values_u8).maxsim_i8(query_i8, values_u8, offsets, ordinals, scores, threads)
    return scores


def _level(values: NDArray[Any]) -> Any:
    """The module for this machine and rows of this length; importing it imports Numba."""
    return _module("portable" if values.shape[1] * values.itemsize < ROW_BYTES else host.simd_level())


@cache
def _module(level: host.SimdLevel) -> Any:
    return import_module(f"retrieval.kernels.maxsim.{level}")
