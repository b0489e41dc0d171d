"""What every reducer checks: what it is fitted on, what it is given, and what an index held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.reduce.base import Arrays
from retrieval.types import FloatArray

__all__ = ["check_fit", "check_values", "stored_dims", "stored_matrix", "unknown_options"]


def check_fit(name: str, sample: FloatArray, output_dim: int, queries: FloatArray | None) -> None:
    """Refuse what nothing can be fitted on.

    Raises:
        ConfigError, ValueError: see `FittableReducer.fit`.
    """
    if sample.ndim != 2 or not sample.size:
        raise ValueError(f"the sample is {sample.shape}: it must be (n, d) with at least one vector")
    dim = sample.shape[1]
    if not 1 <= output_dim <= dim:
        raise ConfigError(
            f"the reducer {name}:{output_dim} cannot make {output_dim} dimensions out of {dim}; "
            f"choose from 1 to {dim}"
        )
    if queries is not None and (queries.ndim != 2 or queries.shape[1] != dim):
        raise ValueError(f"the queries are {queries.shape}: they must be (m, {dim}) as the sample is")


def check_values(values: FloatArray, dim: int) -> FloatArray:
    """The vectors as float32.

    Raises:
        ValueError: they are not ``(n, dim)``.
    """
    if values.ndim != 2 or values.shape[1] != dim:
        raise ValueError(f"the vectors are {values.shape}: they must be (n, {dim})")
    return np.asarray(values, dtype=np.float32)


def stored_dims(name: str, config: Mapping[str, Any], flags: tuple[str, ...]) -> tuple[int, int]:
    """Input and output dimension out of a stored configuration, whose other keys are ``flags`` (bool).

    Raises:
        IndexFormatError: the configuration is none that this version writes.
    """
    dims = config.get("input_dim"), config.get("output_dim")
    known = set(config) == {"input_dim", "output_dim", *flags}
    if not known or any(type(dim) is not int for dim in dims) or not 1 <= dims[1] <= dims[0]:  # type: ignore[operator]
        raise unknown_options(name, config)
    if any(type(config[flag]) is not bool for flag in flags):
        raise unknown_options(name, config)
    return int(config["input_dim"]), int(config["output_dim"])


def unknown_options(name: str, config: Mapping[str, Any]) -> IndexFormatError:
    """The error for a configuration of another version."""
    return IndexFormatError(
        f"the index uses the reducer {name!r} with options {dict(config)}, unknown to this version; upgrade"
    )


def stored_matrix(name: str, arrays: Arrays, key: str, shape: tuple[int, int]) -> FloatArray:
    """A trained matrix as it was stored.

    Raises:
        IndexDamagedError: it is missing, or not float32 of this shape, or not finite.
    """
    matrix = arrays.get(key)
    if matrix is None:
        raise IndexDamagedError(
            f"the reducer {name!r} lacks its array {key!r}; restore the index from a copy"
        )
    if matrix.dtype != np.float32 or matrix.shape != shape or not np.isfinite(matrix).all():
        raise IndexDamagedError(
            f"the array {key!r} of the reducer {name!r} is {matrix.dtype} {matrix.shape}, not finite float32 "
            f"{shape}; restore the index from a copy"
        )
    return np.ascontiguousarray(matrix)
