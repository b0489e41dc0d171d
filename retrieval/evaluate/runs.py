"""Runs: what a search answered to each query, and their files in TREC form.

trec_eval reads a run as a set of (document, score): it compares scores as float32 and breaks
ties by document id, descending. So a run keeps its order only when its scores strictly decrease
as float32; `strictly_decreasing` makes them so.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from retrieval.errors import ConfigError, DataError
from retrieval.evaluate.lines import numbered_lines
from retrieval.types import FloatArray

__all__ = ["Run", "read_run", "strictly_decreasing", "trec_order", "write_run"]

Run = dict[str, list[tuple[str, float]]]
"""Query id -> (document id, score), best first."""

_MAX_KEY = 0x7F7FFFFF  # the largest finite float32


def strictly_decreasing(scores: Sequence[float] | FloatArray) -> FloatArray:
    """Scores as float32, each at least one float32 step below the one before.

    A score that is low enough already is only rounded; the order given is kept, whatever it is.

    Raises:
        DataError: a score is not finite, or none is left below the last.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(scores, dtype=np.float32)
    if not np.isfinite(rounded).all():
        raise DataError(f"score {scores[int(np.argmin(np.isfinite(rounded)))]} is not a finite float32")
    # Float32 in order as integers, one apart for neighbours: y[i] = min(x[i], y[i-1] - 1)
    # is a running minimum of x[i] + i, less i.
    steps = np.arange(len(rounded))
    keys = np.minimum.accumulate(_float_to_key(rounded) + steps) - steps
    if len(keys) and keys[-1] < -_MAX_KEY:
        raise DataError(f"{len(rounded)} scores down to {rounded.min()} leave no room for a strict order")
    return _key_to_float(keys)


def trec_order(ranking: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Sort as trec_eval does: float32 score descending, then document id descending."""
    return sorted(ranking, key=lambda hit: (np.float32(hit[1]), hit[0]), reverse=True)


def write_run(path: str | Path, run: Run, tag: str = "retrieval") -> None:
    """Write ``query-id Q0 document-id rank score tag`` lines, ranks from 1.

    Scores are printed with just the digits that give the same float32 back.

    Raises:
        ConfigError: the file cannot be written.
        DataError: an id (or the tag) is empty or holds white space, which the format cannot carry.
    """
    _check_word(tag, "tag")
    for query_id, ranking in run.items():
        _check_word(query_id, "query id")
        for doc_id, _ in ranking:
            _check_word(doc_id, "document id")
    try:
        with Path(path).open("w", encoding="utf-8", newline="\n") as file:
            for query_id, ranking in run.items():
                for rank, (doc_id, score) in enumerate(ranking, start=1):
                    file.write(f"{query_id} Q0 {doc_id} {rank} {np.float32(score)!s} {tag}\n")
    except OSError as error:
        raise ConfigError(f"cannot write the run file {path}: {error.strerror or error}") from None


def read_run(path: str | Path) -> Run:
    """Read a TREC run file (plain or .gz), each query's hits in trec_eval's order.

    As in trec_eval, scores count and the rank column does not.

    Raises:
        DataError: a line has not six columns, a score is not a finite float32, or a document
            comes twice for a query (``file:line`` told).
    """
    found: dict[str, dict[str, float]] = {}
    for where, line in numbered_lines(Path(path)):
        columns = line.split()
        if len(columns) != 6:
            raise DataError(
                f"{len(columns)} columns; a TREC run line has six: query-id Q0 document-id rank score tag",
                where,
            )
        query_id, _, doc_id, _, score, _ = columns
        ranking = found.setdefault(query_id, {})
        if doc_id in ranking:
            raise DataError(f"document {doc_id!r} comes a second time for query {query_id!r}", where)
        ranking[doc_id] = _parse_score(score, where)
    if not found:
        raise DataError(f"{path} holds no run lines")
    return {query_id: trec_order(ranking.items()) for query_id, ranking in found.items()}


def _parse_score(text: str, where: str) -> float:
    """Text to double to float32, the way trec_eval does."""
    try:
        (score,) = struct.unpack("f", struct.pack("f", float(text)))
    except (ValueError, OverflowError):
        raise DataError(f"score {text!r} is not a float32 number", where) from None
    if not math.isfinite(score):
        raise DataError(f"score {text!r} is not finite", where)
    return float(score)


def _check_word(word: str, what: str) -> None:
    if len(word.split()) != 1 or word != word.strip():
        raise DataError(f"{what} {word!r} is empty or holds white space, which a TREC run file cannot carry")


def _float_to_key(values: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _key_to_float(keys: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
    bits = np.where(keys < 0, -keys | 0x80000000, keys)
    return bits.astype(np.uint32).view(np.float32)
