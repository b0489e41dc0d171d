"""Vectors that documents and queries bring along."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from retrieval.errors import ConfigError, DataError, QueryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from retrieval import GivenVectors

__all__ = ["Asked", "check_options", "encoder_for", "queries_of", "query_of"]


def encoder_for(source: Path, kind: str, metric: Any, **reading: Any) -> GivenVectors:
    """The encoder for a source's vectors, as the first document that has some shows them. ``kind`` and
    ``metric`` (None: the kind's own) are the options, ``reading`` those of `open_corpus`.

    Raises:
        DataError: no document has vectors.
        ConfigError: a metric that this kind has not.
    """
    from retrieval import ErrorPolicy, GivenVectors, open_corpus
    from retrieval.encode.given import as_numbers

    # A look of its own: whatever is wrong is told when all of it is read.
    for record in open_corpus(source, policy=ErrorPolicy("skip"), **reading):
        found = None if record.document.vectors is None else as_numbers(record.document.vectors)
        if found is not None and found.size and found.ndim in (1, 2):
            own = "late" if found.ndim == 2 else "dense"
            return GivenVectors(found.shape[-1], own if kind == "auto" else kind, metric)  # type: ignore[arg-type]
    raise DataError(
        "no document has vectors: give --vectors FILE, or the field 'vector' or 'vectors'", str(source)
    )


class Asked(NamedTuple):
    """A query: its vectors, and what to call it."""

    name: str
    vectors: NDArray[Any]


def queries_of(file: str, kind: str) -> Iterator[Asked]:
    """The queries in a ``.npy`` file: one ``(d,)`` or several ``(n, d)``, of one vector a token one
    ``(n_tokens, d)`` or several ``(n, n_tokens, d)``. ``-``: one a line of stdin, as JSON.

    Raises:
        QueryError: no array of numbers.
    """
    import numpy as np

    if file == "-":
        for number, line in enumerate(sys.stdin, 1):
            if line.strip():
                yield Asked(f"line {number}", _of_json(line, number))
        return
    array = _mapped(file)
    one = 2 if kind == "late" else 1
    if array.ndim <= one:
        yield Asked(file, np.asarray(array))
        return
    for number, vectors in enumerate(array):
        yield Asked(f"{file}[{number}]", np.asarray(vectors))


def query_of(text: str | None, file: str | None, kind: str) -> str | NDArray[Any]:
    """The one query that is asked: a text, or its vectors.

    Raises:
        ConfigError: both or none of them.
        QueryError: no vectors, or those of several queries.
    """
    if (text is None) == (file is None):
        raise ConfigError("give either the query in quotes or its vectors with --vector FILE")
    if text is not None or file is None:
        return text or ""
    found = list(queries_of(file, kind))
    if len(found) != 1:
        raise QueryError(f"{file} holds vectors of {len(found)} queries; give one")
    return found[0].vectors


def _mapped(file: str) -> NDArray[Any]:
    import numpy as np

    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError) as error:
        raise QueryError(f"{file} is no array of numbers in NumPy's format ({error})") from None
    if not 1 <= array.ndim <= 3 or array.dtype.kind not in "fiu":
        raise QueryError(f"{file} holds {array.dtype} of shape {array.shape}, not vectors of queries")
    return array


def _of_json(line: str, number: int) -> NDArray[np.float32]:
    from retrieval.encode.given import as_numbers

    try:
        found = as_numbers(json.loads(line))
    except json.JSONDecodeError as error:
        raise QueryError(f"line {number} is not JSON ({error})") from None
    if found is None:
        raise QueryError(f"line {number} is no list of numbers, nor a list of such lists")
    return found


def check_options(encoder: str, **only_given: Any) -> bool:
    """Whether documents bring their vectors.

    Raises:
        ConfigError: options for that, and they do not.
    """
    from retrieval.encode import GIVEN

    if encoder == GIVEN:
        return True
    told = [name for name, value in only_given.items() if value is not None]
    if told:
        raise ConfigError(f"--{told[0]} is for vectors that documents bring; add --encoder {GIVEN}")
    return False
