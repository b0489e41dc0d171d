"""A learned fold: features of query tokens that predict MaxSim linearly, documents by least squares.

The problem is that of LEMUR (Learned Multi-Vector Retrieval): a feature map of one query token and a vector
of weights a document, whose inner product is near the token's best match in the document. Here nothing is
learned by gradients: features are fixed, and both sides follow in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError
from retrieval.kernels.blocks import one_blas_thread, over_blocks
from retrieval.reduce.base import Arrays
from retrieval.reduce.fold_door import check_fit, check_tokens, stored_array, stored_numbers
from retrieval.types import FloatArray, IntArray, Ragged

__all__ = ["Lemur"]

PROBES, WORK = 8192, 2**21
"""Tokens that every document is matched with, at most; and with their dimension, the numbers these hold."""
ANCHORS = 2048
"""Features that bend, at least, where there are tokens enough."""
THRESHOLD = 0.3
"""Cosine to an anchor above which its feature grows; .2 to .4 measured."""
RIDGE = 1e-3
"""What every feature weighs at least, as a share of the mean; 1e-4 to 1e-2 measure the same."""
DOCUMENTS = 2048
"""Documents whose weights tell which directions matter."""
ROWS = 256
"""Document tokens that are matched at a time: their products stay in the second-level cache."""


class _Parts(NamedTuple):
    """``center`` ``(d,)``; ``anchors`` ``(d + 1, m)``, what is added in the last row; ``weights``
    ``(m + d + 1, N)`` of a query's features; ``probes`` ``(t, d)``; ``solver`` ``(t, N)`` and ``offset``
    ``(N,)`` for a document's matches with them."""

    center: FloatArray
    anchors: FloatArray
    weights: FloatArray
    probes: FloatArray
    solver: FloatArray
    offset: FloatArray


class Lemur:
    """A token's features ``psi(q)``: ``max(0, anchor . (q - center) - threshold)`` for each anchor, the token
    itself, and 1. A query is the sum over its tokens.

    For *probes*, tokens that queries might have (those of documents, half of them of queries where there are
    any), a document's matches ``y(t) = max of t . x`` less their mean over documents are regressed on
    ``psi(t)`` with a ridge. In features that are orthonormal on the probes the coefficients are plain
    products; of these the ``N`` principal axes over a sample of documents are kept. So a document, a new one
    too, costs its MaxSim with the probes and one product with a matrix.

    Source of the problem: Jääsaari, Hyvönen & Roos, LEMUR (ICML 2026).
    """

    name: ClassVar[str] = "lemur"

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts

    @property
    def input_dim(self) -> int:
        """Dimension of the tokens it takes."""
        return len(self._parts.center)

    @property
    def output_dim(self) -> int:
        """Dimension of what it gives."""
        return len(self._parts.offset)

    @classmethod
    def fit(
        cls,
        sample: Ragged,
        output_dim: int,
        queries: Ragged | None = None,
        options: Mapping[str, Any] = {},  # noqa: ARG003
        seed: int = 0,
        threads: int = 1,
    ) -> Self:
        """See `Fold.fit`; there are no options."""
        sample, queries = check_fit(cls.name, sample, output_dim, queries)
        random = np.random.default_rng(seed)
        probes = _draw_probes(random, sample, queries)
        n_anchors = min(max(ANCHORS, output_dim - sample.dim - 1), len(probes))
        most = n_anchors + sample.dim + 1
        if output_dim > most:
            raise ConfigError(
                f"the fold lemur:{output_dim} cannot make so many dimensions out of {len(probes)} tokens of "
                f"{sample.dim}; choose {most} at most, or train on more documents"
            )
        with one_blas_thread():  # sums of fewer threads are rounded otherwise
            return cls(_learn(random, sample, probes, n_anchors, output_dim, threads))

    def transform_documents(self, documents: Ragged, threads: int = 1) -> FloatArray:
        """See `Fold.transform_documents`."""
        documents = check_tokens(documents, self.input_dim)
        out = np.zeros((len(documents), self.output_dim), np.float32)

        def work(i: int, _: int) -> None:
            if len(documents[i]):
                np.matmul(_matches(documents[i], self._parts.probes), self._parts.solver, out=out[i])
                out[i] -= self._parts.offset

        with one_blas_thread():
            over_blocks(work, len(documents), 1, threads)
        return out

    def transform_queries(self, queries: Ragged) -> FloatArray:
        """See `Fold.transform_queries`."""
        queries = check_tokens(queries, self.input_dim)
        out = np.zeros((len(queries), self.output_dim), np.float32)
        for i in range(len(queries)):
            if len(queries[i]):
                features = _features(queries[i] - self._parts.center, self._parts.anchors)
                np.matmul(features.sum(axis=0), self._parts.weights, out=out[i])
        return out

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """See `Fold.state`."""
        config = {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "anchors": self._parts.anchors.shape[1],
            "probes": len(self._parts.probes),
        }
        return config, dict(self._parts._asdict())

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """See `Fold.from_state`."""
        known = dict.fromkeys(("input_dim", "output_dim", "anchors", "probes"), (1, 2**24))
        dim, output_dim, n_anchors, n_probes = stored_numbers(cls.name, config, known)
        shapes = {
            "center": (dim,),
            "anchors": (dim + 1, n_anchors),
            "weights": (n_anchors + dim + 1, output_dim),
            "probes": (n_probes, dim),
            "solver": (n_probes, output_dim),
            "offset": (output_dim,),
        }
        read = {key: stored_array(cls.name, arrays, key, np.float32, shape) for key, shape in shapes.items()}
        return cls(_Parts(**read))


def _draw_probes(random: np.random.Generator, sample: Ragged, queries: Ragged | None) -> FloatArray:
    """Tokens of documents, and half of them of queries where there are so many."""
    wanted = max(1, min(PROBES, WORK // sample.dim))
    parts = []
    if queries is not None and len(queries.values):
        parts.append(_drawn(random, queries.values, wanted // 2))
        wanted -= len(parts[0])
    parts.append(_drawn(random, sample.values, wanted))
    return np.concatenate(parts)


def _drawn(random: np.random.Generator, values: FloatArray, n: int) -> FloatArray:
    """Up to ``n`` rows, without repetition."""
    if len(values) <= n:
        return values
    return values[np.sort(random.choice(len(values), n, replace=False))]


def _learn(
    random: np.random.Generator, sample: Ragged, probes: FloatArray, n_anchors: int, dim: int, threads: int
) -> _Parts:
    """Everything, from the probes."""
    center = probes.mean(axis=0, dtype=np.float64).astype(np.float32)
    moved = probes - center
    length = np.sqrt(np.mean(np.sum(moved.astype(np.float64) ** 2, axis=1))) or 1.0
    moved = (moved / length).astype(np.float32)
    anchors = _drawn(random, moved, n_anchors)
    anchors = anchors / np.maximum(np.linalg.norm(anchors, axis=1, keepdims=True), 1e-12)
    added = np.full((1, n_anchors), -THRESHOLD, np.float32)
    anchors = np.ascontiguousarray(np.concatenate([anchors.T, added]))
    features = _features(moved, anchors)
    white = _whitening(features)
    chosen = np.sort(random.permutation(np.flatnonzero(sample.doclens))[:DOCUMENTS])
    matches, mean = _sample_matches(sample, chosen, probes, threads)
    axes = _principal_axes(matches @ features @ white.astype(np.float32), dim)
    weights = (white @ axes).astype(np.float32)
    solver = features @ weights
    offset = mean @ solver
    # The unit of length goes into what is stored.
    anchors[:-1] /= length
    weights[n_anchors:-1] /= length
    return _Parts(center, anchors, weights, probes, solver, offset)


def _features(moved: FloatArray, anchors: FloatArray) -> FloatArray:
    """``psi`` of centred tokens ``(n, d)``: ``(n, m + d + 1)``."""
    n_anchors, dim = anchors.shape[1], moved.shape[1]
    features = np.ones((len(moved), n_anchors + dim + 1), np.float32)
    bent = features[:, :n_anchors]
    np.maximum(moved @ anchors[:-1] + anchors[-1], 0, out=bent)
    features[:, n_anchors:-1] = moved
    return features


def _whitening(features: FloatArray) -> NDArray[np.float64]:
    """The matrix that makes features orthonormal, but for the ridge."""
    gram = (features.T @ features).astype(np.float64)
    weights, axes = np.linalg.eigh(gram)
    whitening: NDArray[np.float64] = axes / np.sqrt(np.maximum(weights, 0) + RIDGE * weights.mean())
    return whitening


def _sample_matches(
    sample: Ragged, chosen: IntArray, probes: FloatArray, threads: int
) -> tuple[FloatArray, FloatArray]:
    """Matches of documents with the probes ``(n, t)`` less their mean, and that mean."""
    matches = np.empty((len(chosen), len(probes)), np.float32)

    def work(i: int, _: int) -> None:
        matches[i] = _matches(sample[int(chosen[i])], probes)

    over_blocks(work, len(chosen), 1, threads)
    mean = matches.mean(axis=0, dtype=np.float64).astype(np.float32)
    return matches - mean, mean


def _matches(tokens: FloatArray, probes: FloatArray) -> FloatArray:
    """The best match of every probe among a document's tokens, one at least: ``(t,)``."""
    best = (tokens[:ROWS] @ probes.T).max(axis=0)
    for start in range(ROWS, len(tokens), ROWS):
        np.maximum(best, (tokens[start : start + ROWS] @ probes.T).max(axis=0), out=best)
    found: FloatArray = best
    return found


def _principal_axes(weights: FloatArray, dim: int) -> NDArray[np.float64]:
    """The ``dim`` axes along which documents ``(n, m)`` differ most, as columns."""
    moment = (weights.T @ weights).astype(np.float64)
    axes: NDArray[np.float64] = np.linalg.eigh(moment)[1][:, ::-1][:, :dim]
    return axes
