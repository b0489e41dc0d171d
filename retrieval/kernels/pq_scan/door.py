"""What the scans accept, on every processor."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.pq_scan.reference import BLOCK

__all__ = ["MAX_TOTAL", "check_accept", "check_scan", "check_tables", "refuse_entries"]

MAX_TOTAL = 2**24
"""Integers below are exact in float32."""
_ALL = np.empty(0, np.uint8)


def check_tables(tables: NDArray[Any], ksub: int, entries: bool = True) -> None:
    """Whether the tables are ``(n_queries, m, ksub)`` finite floats.

    Raises:
        ValueError: they are not.
    """
    if tables.dtype != np.float32 or tables.ndim != 3 or tables.shape[2] != ksub or 0 in tables.shape[1:]:
        needed = f"float32 (n_queries, m, {ksub})"
        raise ValueError(f"tables are {tables.dtype} {tables.shape}: they must be {needed}")
    if tables.shape[1] * 255 >= MAX_TOTAL:
        raise ValueError(f"tables have {tables.shape[1]} subquantisers: there may be {MAX_TOTAL // 255}")
    if entries and not np.isfinite(tables).all():
        refuse_entries()


def refuse_entries() -> NoReturn:
    """Say that a table has an infinity or a NaN."""
    raise ValueError("an entry of the tables is not finite")


def check_scan(
    tables: NDArray[Any], codes: NDArray[Any], nbits: int, n: int | None, entries: bool = True
) -> int:
    """The number of vectors; the tables' ``entries`` are left to a kernel that looks at all of them anyway.

    Raises:
        ValueError: a shape, a type or a number that does not fit; a table entry that is not finite.
    """
    if nbits not in {4, 8}:
        raise ValueError(f"nbits is {nbits}: it must be 4 or 8")
    check_tables(tables, 2**nbits, entries)
    m = tables.shape[1]
    shape = (codes.shape[0], m) if nbits == 8 else (codes.shape[0], -(-m // 8), 2, 64)
    if codes.dtype != np.uint8 or codes.shape != shape:
        raise ValueError(f"codes are {codes.dtype} {codes.shape}: the tables need uint8 {shape}")
    stored = codes.shape[0] * (BLOCK if nbits == 4 else 1)
    count = stored if n is None else n
    if count > stored or count < 0 or (nbits == 8 and count != stored) or stored >= 2**31 - 64:
        raise ValueError(f"n is {count}: the codes have {stored} vectors, and there must be less than 2**31")
    return count


def check_accept(accept: NDArray[Any] | None, n: int, k: int) -> NDArray[np.uint8]:
    """The mask as bytes; empty for all.

    Raises:
        ValueError: ``k`` is negative, or the mask is not bool ``(n,)``.
    """
    if k < 0:
        raise ValueError(f"k is {k}: it must not be negative")
    if accept is None:
        return _ALL
    if accept.dtype != np.bool_ or accept.shape != (n,):
        raise ValueError(f"accept is {accept.dtype} {accept.shape}: it must be bool {(n,)}")
    return np.ascontiguousarray(accept).view(np.uint8)
