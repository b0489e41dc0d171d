"""Linear maps: one matrix for documents and queries, or one for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.reduce.base import Arrays
from retrieval.reduce.door import check_fit, check_values, stored_dims, stored_matrix
from retrieval.types import FloatArray

__all__ = ["LeanVec", "LinearReducer", "Pca"]

BLOCK = 8192
"""Vectors whose products are added in float32 before they go into the float64 sum."""
RIDGE = 1e-2
"""What every direction weighs in LeanVec at least, as a share of the mean weight."""
FLATTEN = 1 / 6
"""How much of its spectrum LeanVec moves from documents to queries; see `LeanVec`."""


class LinearReducer:
    """``A(q) = q @ queries`` and ``B(x) = x @ documents``, both ``(input_dim, output_dim)`` float32.

    Without ``queries`` the same matrix maps both. Last bits depend on how many vectors are given at once,
    as BLAS has other loops for other shapes: what must be equal byte for byte must be cut in equal blocks.
    """

    name: ClassVar[str]

    def __init__(self, documents: NDArray[Any], queries: NDArray[Any] | None = None) -> None:
        self._documents = np.ascontiguousarray(documents, np.float32)
        self._queries = self._documents if queries is None else np.ascontiguousarray(queries, np.float32)

    @property
    def input_dim(self) -> int:
        """Dimension of what it takes."""
        return int(self._documents.shape[0])

    @property
    def output_dim(self) -> int:
        """Dimension of what it gives."""
        return int(self._documents.shape[1])

    def transform_documents(self, values: FloatArray) -> FloatArray:
        """See `Reducer.transform_documents`."""
        reduced: FloatArray = check_values(values, self.input_dim) @ self._documents
        return reduced

    def transform_queries(self, values: FloatArray) -> FloatArray:
        """See `Reducer.transform_queries`."""
        reduced: FloatArray = check_values(values, self.input_dim) @ self._queries
        return reduced

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """See `Reducer.state`: arrays ``documents`` and, where there is a second matrix, ``queries``."""
        two = self._queries is not self._documents
        arrays = {"documents": self._documents} | ({"queries": self._queries} if two else {})
        return {"input_dim": self.input_dim, "output_dim": self.output_dim, "two_maps": two}, arrays

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """See `Reducer.from_state`."""
        shape = stored_dims(cls.name, config, ("two_maps",))
        documents = stored_matrix(cls.name, arrays, "documents", shape)
        queries = stored_matrix(cls.name, arrays, "queries", shape) if config["two_maps"] else None
        return cls(documents, queries)


class Pca(LinearReducer):
    """The top eigenvectors of the documents' second moment X'X, which is *not* centred.

    Without a mean to take off, estimates stay near ``q . x`` itself and documents that come later, with
    another mean, stay comparable. It is also the more accurate: centring would be best for queries that
    point anywhere, but where documents share a mean direction queries share it too, and a centred basis
    drops it (held-out error at 128 of 384 made-up dimensions: .396 against .502 at a mean cosine of .5).
    """

    name: ClassVar[str] = "pca"

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        output_dim: int,
        queries: FloatArray | None = None,
        seed: int = 0,  # noqa: ARG003
    ) -> Self:
        """See `FittableReducer.fit`; queries are not used."""
        check_fit(cls.name, sample, output_dim, queries)
        return cls(_eigen(_second_moment(sample))[1][:, :output_dim])


class LeanVec(LinearReducer):
    """The maps that lose least of the inner products between these documents and these queries.

    With ``M`` the queries' second moment, ``W = M^(1/2)`` and ``P`` the top eigenvectors of
    ``W X'X W``, the maps ``A = W^-1 P`` and ``B = W P`` minimise the mean squared error of
    ``A(q) . B(x)`` in closed form. Two things are added to that:

    *Prior.* A few queries say little about ``M``. ``d`` imagined queries are added to them that are spread
    as the documents are; with no queries at all this is PCA, and it never got much worse than PCA.

    *Balance.* Between A and B any invertible map can be moved, which changes no inner product but the
    loss of a coarse code afterwards. B's axes are multiplied by their variance to the power -`FLATTEN`, A's
    divided by it: 0 leaves queries without any large axis, 1/4 spreads both alike. Between them lies the
    least error of 1-bit codes, of whole vectors and, where less is left of the large axes, of residuals.

    Source of the problem: Tepper et al., LeanVec (TMLR 2024), section 3.
    """

    name: ClassVar[str] = "leanvec"

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        output_dim: int,
        queries: FloatArray | None = None,
        seed: int = 0,  # noqa: ARG003
    ) -> Self:
        """See `FittableReducer.fit`. No queries: LeanVec-ID, the same as PCA."""
        check_fit(cls.name, sample, output_dim, queries)
        moment = _second_moment(sample)
        if queries is None or not queries.size:
            return cls(_eigen(moment)[1][:, :output_dim])
        weights, axes = _eigen(_query_moment(moment, queries))
        root = (axes * np.sqrt(weights)) @ axes.T
        inverse = (axes / np.sqrt(weights)) @ axes.T
        values, vectors = _eigen(root @ moment @ root)
        values, top = values[:output_dim], vectors[:, :output_dim]
        stretch = np.maximum(values / values[0], 1e-10) ** -FLATTEN if values[0] > 0 else np.ones(output_dim)
        documents = root @ top * stretch
        # A common factor keeps the documents' mean length, so that codes of any kind see usual numbers.
        length = np.sum(documents * (moment @ documents))
        factor = np.sqrt(np.trace(moment) / length) if length > 0 else 1.0
        return cls(documents * factor, inverse @ top / stretch / factor)


def _second_moment(values: FloatArray) -> NDArray[np.float64]:
    """``X'X / n``, ``(d, d)``.

    Raises:
        ValueError: a value is not finite.
    """
    moment = np.zeros((values.shape[1],) * 2)
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(values), BLOCK):
            block = np.asarray(values[start : start + BLOCK], np.float32)
            moment += block.T @ block  # NumPy sees that it is symmetric and computes half of it
    if not np.isfinite(moment).all():
        raise ValueError("the vectors to train on hold values that are not finite, or too large")
    return moment / len(values)


def _query_moment(documents: NDArray[np.float64], queries: FloatArray) -> NDArray[np.float64]:
    """The queries' second moment with its prior, positive definite; scaled to trace 1 and a little."""
    dim, moment = len(documents), _second_moment(queries)
    mixed = len(queries) * _unit_trace(moment) + dim * _unit_trace(documents)
    mixed = mixed / (len(queries) + dim) + np.eye(dim) * (RIDGE / dim)
    return mixed


def _unit_trace(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix over its trace; zeros stay zeros."""
    trace = np.trace(moment)
    return moment / trace if trace > 0 else moment


def _eigen(moment: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues, largest first, and the eigenvectors as columns; signs do not depend on the solver."""
    values, vectors = np.linalg.eigh(moment)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return np.maximum(values, 0), vectors * np.where(largest < 0, -1, 1)
