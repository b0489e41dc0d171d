"""Vectors beside documents: a ``.npy`` file whose rows stand in the order of the documents."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.corpus.source import Rows, reading
from retrieval.errors import DataError

__all__ = ["VectorFile"]


class VectorFile:
    """A mapped array ``(n, d)`` of numbers: a row a document, or with ``lengths``, a file of ``(documents,)``
    integers, so many rows each (one vector a token). Memory holds what is being read.

    Raises:
        DataError: no such arrays, or lengths that do not add up to the rows.
    """

    def __init__(self, path: str | os.PathLike[str], lengths: str | os.PathLike[str] | None = None) -> None:
        self.name = str(path)
        self._array, self._ends = _mapped(Path(path)), None
        if self._array.ndim != 2 or self._array.dtype.kind not in "fiu":
            told = f"holds {self._array.dtype} of shape {self._array.shape}; vectors are numbers (n, d)"
            raise DataError(told, self.name)
        if lengths is not None:
            self._ends = _ends_of(Path(lengths), len(self._array), self.name)

    def beside(self, rows: Rows, coming: Iterator[NDArray[Any]]) -> Rows:
        """The rows of documents, each with its vectors from `each`, bad ones too.

        Raises:
            DataError: there are more documents than vectors.
        """
        for where, row in rows:
            vectors = next(coming, None)
            if vectors is None:
                raise DataError(f"{self.name} has no vectors left for this document", where)
            if not isinstance(row, DataError):
                row["vectors"] = vectors
            yield where, row

    def each(self) -> Iterator[NDArray[Any]]:
        """The vectors of each document: ``(d,)``, or with lengths ``(n_tokens, d)``."""
        if self._ends is None:
            yield from self._array
            return
        start = 0
        for end in self._ends:
            yield self._array[start:end]
            start = int(end)

    def check_spent(self, coming: Iterator[NDArray[Any]]) -> None:
        """Refuse vectors that no document is left for.

        Raises:
            DataError: there are some.
        """
        if (left := sum(1 for _ in coming)) > 0:
            raise DataError(f"has vectors for {left} documents more than there are", self.name)


def _mapped(path: Path) -> NDArray[Any]:
    with reading(str(path)):
        try:
            return np.lib.format.open_memmap(path, mode="r")
        except ValueError as error:  # another format, cut off, or objects
            raise DataError(f"is no array of numbers in NumPy's format ({error})", str(path)) from None


def _ends_of(path: Path, rows: int, name: str) -> NDArray[np.int64]:
    lengths = _mapped(path)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        told = f"holds {lengths.dtype} of shape {lengths.shape}; lengths are integers (documents,)"
        raise DataError(told, str(path))
    counts = lengths.astype(np.int64)
    if (counts < 0).any() or int(counts.sum()) != rows:
        raise DataError(f"adds up to {int(counts.sum())} vectors; {name} has {rows}", str(path))
    ends: NDArray[np.int64] = np.cumsum(counts)
    return ends
