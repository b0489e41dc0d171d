"""Product quantisation of vectors turned so that it loses least.

Ge, He, Ke and Sun, Optimized product quantization, CVPR 2013; the matrix is trained by faiss's ``OPQMatrix``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval.quantize.base import Arrays
from retrieval.quantize.pq import (
    PQCodec,
    TableMethods,
    make_quantizer,
    one_faiss_thread,
    pad,
    parts_of,
    stored_centroids,
    train,
)
from retrieval.quantize.rotation import Rotation
from retrieval.types import FloatArray

__all__ = ["OPQCodec", "OPQTableCodec"]

POINTS = 64
"""Documents a centroid to train the matrix on, and at least `FEWEST`."""
FEWEST = 8192
ITERATIONS = 20


class OPQCodec(PQCodec):
    """`PQCodec` after a rotation of the filled-up vectors, ``(m * dsub, m * dsub)``."""

    name: ClassVar[str] = "opq"

    @classmethod
    def turned(cls, centroids: FloatArray, dim: int, rotation: Rotation) -> OPQCodec:
        """The codec of these centroids and this rotation."""
        return (OPQTableCodec if centroids.shape[1] == 16 else OPQCodec)(centroids, dim, rotation)

    @classmethod
    def fit(cls, sample: FloatArray, options: Mapping[str, Any], seed: int = 0, threads: int = 1) -> OPQCodec:
        """Train matrix and centroids on ``(n, d)``; options and errors are those of `PQCodec.fit`."""
        m, nbits = parts_of(sample, options)
        padded = pad(sample, -(-sample.shape[1] // m) * m)
        rotation = Rotation(_matrix(padded, m, nbits, seed))
        centroids = train(rotation.apply_to_documents(padded), m, nbits, seed, threads)
        return cls.turned(centroids, sample.shape[1], rotation)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Dimension, centroids and matrix."""
        config, arrays = super().state()
        return config, arrays | (self._rotation.arrays() if self._rotation is not None else {})

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> OPQCodec:
        """The inverse of `state`; raises as `PQCodec.from_state`."""
        centroids, dim = stored_centroids(config, arrays)
        m, _, dsub = centroids.shape
        return cls.turned(centroids, dim, Rotation.from_arrays(arrays, m * dsub))


class OPQTableCodec(TableMethods, OPQCodec):
    """`OPQCodec` of 4 bits."""


def _matrix(sample: FloatArray, m: int, nbits: int, seed: int) -> FloatArray:
    """The rotation ``(d, d)`` of ``(n, d)``."""
    import faiss

    dim = sample.shape[1]
    quantizer = make_quantizer(dim, m, nbits, seed)  # the trainer only points to it
    trainer = faiss.OPQMatrix(dim, m)
    trainer.pq, trainer.niter = quantizer, ITERATIONS
    trainer.max_train_points = max(POINTS << nbits, FEWEST)
    with one_faiss_thread():
        trainer.train(np.ascontiguousarray(sample))
    matrix: FloatArray = faiss.vector_to_array(trainer.A).reshape(dim, dim)
    return matrix
