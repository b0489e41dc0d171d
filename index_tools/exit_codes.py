"""Which exit code each kind of failure has; part of the command line's contract."""

from __future__ import annotations

from collections.abc import Mapping

from retrieval import errors

__all__ = [
    "DAMAGED",
    "EXIT_CODES",
    "INTERRUPTED",
    "MEANINGS",
    "OK",
    "UNEXPECTED",
    "USAGE",
    "exit_code",
    "exit_codes_text",
]

OK = 0
UNEXPECTED = 1
USAGE = 2
BAD_DATA = 3
INDEX = 4
DAMAGED = 5
ENCODER = 6
MISSING_EXTRA = 7
DOCUMENT_NOT_FOUND = 8
INTERRUPTED = 130

MEANINGS: Mapping[int, str] = {
    OK: "done",
    UNEXPECTED: "an unexpected failure (disk full, no permission, a defect)",
    USAGE: "a wrong option, setting or query",
    BAD_DATA: "a document, query or judgement that cannot be read",
    INDEX: "the index is missing, there already, unfinished, locked or of another format",
    DAMAGED: "the index is damaged",
    ENCODER: "the model cannot be loaded, is not the index's, or does not tell documents apart",
    MISSING_EXTRA: "an optional package is not installed",
    DOCUMENT_NOT_FOUND: "no document has this id",
    INTERRUPTED: "interrupted (Ctrl-C)",
}

EXIT_CODES: Mapping[type[Exception], int] = {
    errors.RetrievalError: UNEXPECTED,
    errors.ConfigError: USAGE,
    errors.QueryError: USAGE,
    errors.FilterError: USAGE,
    errors.MissingExtraError: MISSING_EXTRA,
    errors.DataError: BAD_DATA,
    errors.DocumentNotFoundError: DOCUMENT_NOT_FOUND,
    errors.CollapsedError: ENCODER,
    errors.EncoderError: ENCODER,
    errors.UntrainedProjectionError: ENCODER,
    errors.EncoderMismatchError: ENCODER,
    errors.IndexFolderError: INDEX,
    errors.IndexNotFoundError: INDEX,
    errors.IndexExistsError: INDEX,
    errors.IndexUnfinishedError: INDEX,
    errors.IndexFormatError: INDEX,
    errors.IndexLockedError: INDEX,
    errors.IndexDamagedError: DAMAGED,
}


def exit_code(error: BaseException) -> int:
    """The code of the error's class, or of the nearest base that has one."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), UNEXPECTED)


def exit_codes_text() -> str:
    """The table in one paragraph, for ``--help``."""
    return "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items()) + "."
