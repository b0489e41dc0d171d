"""What every fold checks: what it is fitted on, what it is given, and what an index held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.reduce.base import Arrays
from retrieval.types import Ragged

__all__ = ["check_fit", "check_tokens", "option", "stored_array", "stored_numbers", "unknown_fold"]


def check_fit(
    name: str, sample: Ragged, output_dim: int, queries: Ragged | None
) -> tuple[Ragged, Ragged | None]:
    """Sample and queries as float32.

    Raises:
        ConfigError, ValueError: see `Fold.fit`.
    """
    if output_dim < 1:
        raise ConfigError(f"the fold {name}:{output_dim} must give 1 dimension at least")
    if sample.values.ndim != 2 or not sample.values.size:
        raise ValueError(
            f"the sample is {sample.values.shape}: it must be (n_tokens, d) with at least one token"
        )
    sample = check_tokens(sample, sample.dim)
    return sample, None if queries is None else check_tokens(queries, sample.dim)


def check_tokens(texts: Ragged, dim: int) -> Ragged:
    """The texts with float32 tokens.

    Raises:
        ValueError: tokens that are not ``(n_tokens, dim)`` or not finite, or offsets that do not fit.
    """
    values, offsets = texts.values, texts.offsets
    if values.ndim != 2 or values.shape[1] != dim:
        raise ValueError(f"the tokens are {values.shape}: they must be (n_tokens, {dim})")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets must rise from 0 to the {len(values)} tokens")
    if not np.isfinite(values).all():
        raise ValueError("the tokens hold values that are not finite")
    return Ragged(np.ascontiguousarray(values, np.float32), np.asarray(offsets, np.int64))


def option(options: Mapping[str, Any], name: str, default: int, lowest: int, highest: int) -> int:
    """A whole number out of a recipe's options.

    Raises:
        ConfigError: it is none, or out of range.
    """
    value = options.get(name)
    if value is None:
        return default
    if type(value) is not int or not lowest <= value <= highest:
        raise ConfigError(f"{name} is {value!r}; write a whole number from {lowest} to {highest}")
    return value


def stored_numbers(
    name: str, config: Mapping[str, Any], known: Mapping[str, tuple[int, int]]
) -> tuple[int, ...]:
    """The whole numbers of a stored configuration, each within its lowest and highest, in the order given.

    Raises:
        IndexFormatError: the configuration is none that this version writes.
    """
    fits = set(config) == set(known) and all(
        type(config[key]) is int and lowest <= config[key] <= highest
        for key, (lowest, highest) in known.items()
    )
    if not fits:
        raise unknown_fold(name, config)
    return tuple(config[key] for key in known)


def unknown_fold(name: str, config: Mapping[str, Any]) -> IndexFormatError:
    """The error for a configuration of another version."""
    return IndexFormatError(
        f"the index uses the fold {name!r} with options {dict(config)}, unknown to this version; upgrade"
    )


def stored_array(name: str, arrays: Arrays, key: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A trained array as it was stored.

    Raises:
        IndexDamagedError: it is missing, or not of this type and shape, or not finite.
    """
    array = arrays.get(key)
    if array is None:
        raise IndexDamagedError(f"the fold {name!r} lacks its array {key!r}; restore the index from a copy")
    if array.dtype != np.dtype(dtype) or array.shape != shape or not np.isfinite(array).all():
        raise IndexDamagedError(
            f"the array {key!r} of the fold {name!r} is {array.dtype} {array.shape}, not finite "
            f"{np.dtype(dtype)} {shape}; restore the index from a copy"
        )
    return np.ascontiguousarray(array)
