"""Real queries from a file, to train and measure a recipe with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_queries"]


def read_queries(path: Path) -> list[str] | list[NDArray[Any]]:
    """One query a line; of a ``.jsonl`` file the field ``text`` (or ``query``) of each line; of a ``.npy``
    file the vectors of each, ``(n, d)`` or ``(n, n_tokens, d)``.

    Raises:
        DataError: a line that holds no query, or a file that cannot be read.
    """
    if path.suffix == ".npy":
        return _arrays(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"cannot read queries: {told}; give a text file with one a line", str(path)) from None
    queries = list(_queries(path, lines))
    if not queries:
        raise DataError("the file holds no queries", str(path))
    return queries


def _arrays(path: Path) -> list[NDArray[Any]]:
    import numpy as np

    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read queries: {error}", str(path)) from None
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiu":
        told = (
            f"holds {array.dtype} of shape {array.shape}; vectors of queries are (n, d) or (n, n_tokens, d)"
        )
        raise DataError(told, str(path))
    return list(array)


def _queries(path: Path, lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        yield _of_json(line, f"{path}:{number}") if path.suffix == ".jsonl" else line.strip()


def _of_json(line: str, where: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error})", where) from None
    text = row.get("text", row.get("query")) if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError("no query: the field 'text' is missing or empty", where)
    return text
