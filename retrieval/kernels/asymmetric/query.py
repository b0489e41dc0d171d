"""Queries and documents made ready for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.asymmetric.reference import quantise
from retrieval.types import FloatArray

__all__ = ["Documents", "IntegerQuery", "Scorer", "by_parts", "frozen"]


class Documents(NamedTuple):
    """``(n, nbytes)`` codes with their scales and offsets ``(n,)``, all read-only."""

    codes: NDArray[np.uint8]
    scales: FloatArray
    offsets: FloatArray

    def rows(self, first: int, last: int | None = None) -> Documents:
        """Some of them."""
        return Documents(self.codes[first:last], self.scales[first:last], self.offsets[first:last])


class Scorer(Protocol):
    """Queries made ready for one way of scoring."""

    def __init__(self, queries: FloatArray, bits: int) -> None: ...

    def score(self, documents: Documents, first: int, last: int, out: FloatArray) -> None:
        """Scores of documents ``first`` to ``last`` into ``out[:, : last - first]``."""


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view: one compiled kernel serves memory maps and arrays alike."""
    view = array.view()
    view.flags.writeable = False
    return view


def by_parts(queries: NDArray[Any], bits: int) -> NDArray[Any]:
    """``(n_queries, d)`` to ``(n_queries, 8 / bits, nbytes)``, zeros beyond ``d``.

    Part p holds the dimensions whose codes are at bit ``p * bits`` of their byte, by byte.
    """
    n_queries, dim = queries.shape
    parts = 8 // bits
    padded = np.pad(queries, ((0, 0), (0, -dim % parts)))
    return np.ascontiguousarray(padded.reshape(n_queries, -1, parts).transpose(0, 2, 1))


@dataclass(frozen=True)
class IntegerQuery:
    """Queries rounded to signed bytes.

    ``factors`` ``(n_queries, 3)`` float32: the step, what rounding lost times the mean code, and the
    sum of the query, so that a score is ``offset * sum + scale * (step * dot + lost)``.
    """

    packed: NDArray[np.int8]
    factors: FloatArray

    @classmethod
    def of(cls, queries: FloatArray, bits: int) -> IntegerQuery:
        """Round ``(n_queries, d)`` float32."""
        codes, steps = quantise(queries)
        sums = queries.sum(axis=1, dtype=np.float64)
        lost = (2**bits - 1) / 2 * (sums - steps * codes.sum(axis=1, dtype=np.int64))
        return cls(by_parts(codes, bits), np.stack([steps, lost, sums], axis=1).astype(np.float32))
