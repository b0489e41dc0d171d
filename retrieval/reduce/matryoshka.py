"""Matryoshka: the first dimensions of a model that was trained so that they suffice.

Source: Kusupati et al., Matryoshka Representation Learning (NeurIPS 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.reduce.base import Arrays
from retrieval.reduce.door import check_fit, check_values, stored_dims
from retrieval.types import FloatArray

__all__ = ["LayerNormMatryoshka", "Matryoshka"]

UNIT = 1e-2
"""How far a length may be from 1 for vectors that are called normalised: storing as int8 moves it by 2e-3."""
LAYER_NORM_EPS = np.float32(1e-5)
"""Added to the variance, as models do. It only guards constant vectors: lengths are set after it."""


class Matryoshka:
    """Keep the first ``output_dim`` of ``input_dim`` dimensions; ``normalise`` sets lengths to 1 again.

    Where the full vectors have length 1, the shortened ones must get it back: a cosine of the first
    dimensions is what such a model was trained for. Where lengths mean something, they stay.
    """

    name: ClassVar[str] = "matryoshka"
    layer_norm: ClassVar[bool] = False

    def __init__(self, input_dim: int, output_dim: int, normalise: bool) -> None:
        self.input_dim, self.output_dim = input_dim, output_dim
        self.normalise = normalise

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        output_dim: int,
        queries: FloatArray | None = None,
        seed: int = 0,  # noqa: ARG003
    ) -> Self:
        """See `FittableReducer.fit`. Normalises if all of the sample is normalised, zeros apart."""
        check_fit(cls.name, sample, output_dim, queries)
        lengths = np.linalg.norm(np.asarray(sample, np.float32), axis=1)
        if not np.isfinite(lengths).all():
            raise ValueError("the sample holds values that are not finite")
        lengths = lengths[lengths > 0]
        unit = len(lengths) > 0 and bool((np.abs(lengths - 1) <= UNIT).all())
        # LayerNorm gives every vector one length, so there is none left to keep.
        return cls(sample.shape[1], output_dim, unit or cls.layer_norm)

    def transform_documents(self, values: FloatArray) -> FloatArray:
        """See `Reducer.transform_documents`."""
        values = check_values(values, self.input_dim)
        if self.layer_norm:
            values = _layer_norm(values)
        short = values[:, : self.output_dim]
        if not self.normalise:
            return np.ascontiguousarray(short)
        lengths = np.linalg.norm(short, axis=1, keepdims=True)
        lengths[lengths == 0] = 1
        unit: FloatArray = short / lengths
        return unit

    def transform_queries(self, values: FloatArray) -> FloatArray:
        """The same map as for documents."""
        return self.transform_documents(values)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration and (no) arrays."""
        return {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "normalise": self.normalise,
        }, {}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:  # noqa: ARG003
        """See `Reducer.from_state`."""
        dims = stored_dims(cls.name, config, ("normalise",))
        return cls(*dims, config["normalise"])


class LayerNormMatryoshka(Matryoshka):
    """As `Matryoshka`, for models that want a LayerNorm without weights before the cut.

    Each vector's mean is taken off and its variance made 1. Source: Ba et al., Layer Normalization (2016).
    """

    name: ClassVar[str] = "matryoshka-layernorm"
    layer_norm: ClassVar[bool] = True


def _layer_norm(values: FloatArray) -> FloatArray:
    centred = values - values.mean(axis=1, keepdims=True)
    variance = np.einsum("nd,nd->n", centred, centred) / np.float32(values.shape[1])
    normal: FloatArray = centred / np.sqrt(variance + LAYER_NORM_EPS)[:, None]
    return normal
