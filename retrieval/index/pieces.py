"""Arrays that come in pieces, so that none has to fit into memory whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pieces", "in_memory"]

Pieces = Iterator[tuple[str, NDArray[Any]]]
"""Pieces of named arrays: those of one name, back to back, make it."""


def in_memory(pieces: Pieces) -> dict[str, NDArray[Any]]:
    """The arrays that pieces make."""
    parts: dict[str, list[NDArray[Any]]] = {}
    for name, piece in pieces:
        parts.setdefault(name, []).append(piece)
    return {name: np.concatenate(some) if len(some) > 1 else some[0] for name, some in parts.items()}
