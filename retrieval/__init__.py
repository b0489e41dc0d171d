"""Dense and late-interaction retrieval: build an index, search it, explain the answers."""

from retrieval.build import BuildReport
from retrieval.checks import inspect_index, verify_index
from retrieval.config import EncoderConfig, IndexConfig, RuntimeConfig
from retrieval.corpus import Corpus, ErrorPolicy, open_corpus
from retrieval.encode import Encoder, load_encoder
from retrieval.engine import Engine
from retrieval.errors import RetrievalError
from retrieval.storage import IndexInfo, VerifyReport
from retrieval.types import (
    BuildProgress,
    Document,
    Explanation,
    Hit,
    Ragged,
    Record,
    SearchResult,
    Token,
    TokenMatch,
)

__all__ = [
    "BuildProgress",
    "BuildReport",
    "Corpus",
    "Document",
    "Encoder",
    "EncoderConfig",
    "Engine",
    "ErrorPolicy",
    "Explanation",
    "Hit",
    "IndexConfig",
    "IndexInfo",
    "Ragged",
    "Record",
    "RetrievalError",
    "RuntimeConfig",
    "SearchResult",
    "Token",
    "TokenMatch",
    "VerifyReport",
    "inspect_index",
    "load_encoder",
    "open_corpus",
    "verify_index",
]
