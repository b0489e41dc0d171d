"""Token vectors centred, and turned so that documents and queries are spread alike.

Models exist whose tokens nearly all point one way. What they share says nothing, yet it fills random
projections with noise and puts all tokens on one side of every random hyperplane.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, Ragged

__all__ = ["TokenMaps", "fit_maps", "mapped"]

BLOCK = 8192
"""Vectors whose products are added in float32 before they go into the float64 sum."""
RIDGE = 1e-4
"""What every direction weighs at least, as a share of the documents' mean weight."""


class TokenMaps(NamedTuple):
    """``(q @ queries) . ((x - center) @ documents) = q . x - q . center``, for all q and x.

    ``center`` is ``(d,)``, the maps ``(d, d)``, all float32. MaxSim loses ``sum of q . center``, the same for
    every document: the ranking stays.
    """

    center: FloatArray
    queries: FloatArray
    documents: FloatArray


def fit_maps(documents: FloatArray, queries: FloatArray | None, texts: int) -> TokenMaps:
    """Learn from tokens of documents ``(n, d)`` and, where there are any, of so many queries ``(m, d)``.

    With M the second moment of queries, C the documents' covariance and ``W C W = V L V'`` for
    ``W = M^(1/2)``, the maps ``A = W^-1 V L^(1/4)`` and ``B = W V L^(-1/4)`` keep all inner products
    (``A B' = 1``) and give both sides the moment ``L^(1/2)``. The noise of a random projection goes with
    ``E|Aq|^2 E|B(x - c)|^2``, and this is the least that it can be (Cauchy-Schwarz). What all tokens share is
    large in queries and, being constant, next to nothing in centred documents: it all but vanishes from both.

    Where queries are few, M leans on imagined ones spread as the documents are, as many as dimensions.

    Raises:
        ValueError: a value is not finite.
    """
    moment = _moment(documents)
    center = documents.mean(axis=0, dtype=np.float64)
    covariance = moment - np.outer(center, center)
    floor = np.trace(moment) * RIDGE / len(moment) or 1.0
    asked = _unit_trace(moment)
    if queries is not None and queries.size:
        share = texts / (texts + len(moment))
        asked = share * _unit_trace(_moment(queries)) + (1 - share) * asked
    ridge = np.eye(len(moment))
    weights, axes = np.linalg.eigh(asked + ridge * RIDGE / len(moment))
    root, inverse = (axes * np.sqrt(weights)) @ axes.T, (axes / np.sqrt(weights)) @ axes.T
    spread, turn = np.linalg.eigh(root @ (covariance + floor * ridge) @ root)
    spread = np.maximum(spread, spread[-1] * 1e-12) ** 0.25
    maps = inverse @ turn * spread, root @ turn / spread
    # A common factor keeps the documents' mean length, so that codes of any kind see usual numbers.
    length = np.sum(maps[1] * (covariance @ maps[1]))
    factor = np.sqrt(np.trace(covariance) / length) if length > 0 else 1.0
    return TokenMaps(_float32(center), _float32(maps[0] / factor), _float32(maps[1] * factor))


def mapped(texts: Ragged, matrix: FloatArray, center: FloatArray | None = None) -> FloatArray:
    """``(tokens - center) @ matrix``, ``(n_tokens, m)``.

    Text by text: BLAS has other loops for other shapes, and what becomes of a text must not hang on what
    comes with it.
    """
    out = np.empty((len(texts.values), matrix.shape[1]), np.float32)
    for i in range(len(texts)):
        tokens = texts[i] if center is None else texts[i] - center
        np.matmul(tokens, matrix, out=out[texts.offsets[i] : texts.offsets[i + 1]])
    return out


def _moment(values: FloatArray) -> NDArray[np.float64]:
    """``X'X / n``, ``(d, d)``."""
    moment = np.zeros((values.shape[1],) * 2)
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        moment += block.T @ block
    return moment / len(values)


def _unit_trace(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix over its trace; zeros stay zeros."""
    trace = np.trace(moment)
    return moment / trace if trace > 0 else moment


def _float32(array: NDArray[Any]) -> FloatArray:
    return np.ascontiguousarray(array, np.float32)
