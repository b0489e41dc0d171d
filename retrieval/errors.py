"""Every error this engine raises on purpose.

    RetrievalError
    ├── ConfigError                an option or setting that cannot work
    ├── MissingExtraError          a package that an optional feature needs is not installed
    ├── DataError                  a document, query or judgement that cannot be read
    ├── CollapsedError             vectors that do not tell documents apart
    ├── QueryError                 a search request that cannot be answered
    │   └── FilterError            a filter that is malformed or does not fit the index's fields
    ├── DocumentNotFoundError      no document has this id
    ├── EncoderError               a model that cannot be loaded, or that gave unusable vectors
    │   ├── UntrainedProjectionError   the checkpoint has no trained token projection
    │   └── EncoderMismatchError       not the encoder that the index was built with
    └── IndexFolderError                something about an index folder
        ├── IndexNotFoundError         there is none
        ├── IndexExistsError           there is one already
        ├── IndexUnfinishedError       its build was interrupted; resume it
        ├── IndexFormatError           written by a newer version, or needs an unknown feature
        ├── IndexLockedError           another process is writing
        └── IndexDamagedError          bytes are not what was committed

A message names the offending value and says what to do. ``code`` is a stable word for programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "CollapsedError",
    "ConfigError",
    "DataError",
    "DocumentNotFoundError",
    "EncoderError",
    "EncoderMismatchError",
    "FilterError",
    "IndexDamagedError",
    "IndexExistsError",
    "IndexFolderError",
    "IndexFormatError",
    "IndexLockedError",
    "IndexNotFoundError",
    "IndexUnfinishedError",
    "MissingExtraError",
    "QueryError",
    "RetrievalError",
    "UntrainedProjectionError",
]


class RetrievalError(Exception):
    """Base of all errors raised on purpose; ``str(error)`` is one sentence for a person."""

    code: ClassVar[str] = "error"


class ConfigError(RetrievalError):
    """An option or setting that cannot work."""

    code = "bad_config"


class MissingExtraError(RetrievalError):
    """A package that an optional feature needs is not installed."""

    code = "missing_extra"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}': pip install 'retrieval-engine[{extra}]'")
        self.extra = extra


class DataError(RetrievalError):
    """A document, query or judgement that cannot be read; ``where`` is ``file:line``, ``detail`` the
    message without it. Where several documents were refused together (`ErrorPolicy` ``collect``),
    ``errors`` has one for each."""

    code = "bad_data"

    def __init__(self, message: str, where: str | None = None, errors: Sequence[DataError] = ()) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where, self.detail = where, message
        self.errors = tuple(errors)


class CollapsedError(RetrievalError):
    """The vectors do not tell documents apart."""

    code = "collapsed"


class QueryError(RetrievalError):
    """A search request that cannot be answered."""

    code = "bad_query"


class FilterError(QueryError):
    """A filter that is malformed or does not fit the index's fields."""

    code = "bad_filter"


class DocumentNotFoundError(RetrievalError):
    """No document has this id."""

    code = "document_not_found"


class EncoderError(RetrievalError):
    """A model that cannot be loaded, or that gave unusable vectors."""

    code = "encoder"


class UntrainedProjectionError(EncoderError):
    """The checkpoint has no trained token projection."""

    code = "untrained_projection"


class EncoderMismatchError(EncoderError):
    """Not the encoder that the index was built with."""

    code = "encoder_mismatch"


class IndexFolderError(RetrievalError):
    """Something about an index folder."""

    code = "index"


class IndexNotFoundError(IndexFolderError):
    """There is no index at this path."""

    code = "index_not_found"


class IndexExistsError(IndexFolderError):
    """There is an index at this path already."""

    code = "index_exists"


class IndexUnfinishedError(IndexFolderError):
    """The index's build was interrupted."""

    code = "index_unfinished"


class IndexFormatError(IndexFolderError):
    """Written by a newer version, or needs a feature this version does not have."""

    code = "index_format"


class IndexLockedError(IndexFolderError):
    """Another process is writing to the index."""

    code = "index_locked"


class IndexDamagedError(IndexFolderError):
    """Bytes are not what was committed."""

    code = "index_damaged"
