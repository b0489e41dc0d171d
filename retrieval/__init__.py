"""Dense and late-interaction retrieval: build an index, search it, explain the answers."""

from retrieval.build import BuildReport
from retrieval.checks import inspect_index, verify_index
from retrieval.config import EncoderConfig, IndexConfig, RecipeConfig, RuntimeConfig, SearchConfig
from retrieval.copies import CopyReport, export_index, import_index, restore_index, snapshot_index
from retrieval.corpus import Corpus, ErrorPolicy, open_corpus
from retrieval.encode import Encoder, GivenVectors, load_encoder
from retrieval.engine import Engine
from retrieval.errors import RetrievalError
from retrieval.filters import AnyOf, Exists, Filter, HasId, Match, Prefix, Range, parse_filter
from retrieval.hybrid import Hybrid
from retrieval.maintenance import MaintenanceReport
from retrieval.presets import PRESETS, recipe_of
from retrieval.repair import RepairReport, repair_index
from retrieval.scoring import score_texts
from retrieval.storage import IndexInfo, VerifyReport
from retrieval.types import (
    BuildProgress,
    Document,
    Explanation,
    Hit,
    Page,
    Ragged,
    Record,
    SearchResult,
    Token,
    TokenMatch,
    TrainingReport,
)

__all__ = [
    "PRESETS",
    "AnyOf",
    "BuildProgress",
    "BuildReport",
    "CopyReport",
    "Corpus",
    "Document",
    "Encoder",
    "EncoderConfig",
    "Engine",
    "ErrorPolicy",
    "Exists",
    "Explanation",
    "Filter",
    "GivenVectors",
    "HasId",
    "Hit",
    "Hybrid",
    "IndexConfig",
    "IndexInfo",
    "MaintenanceReport",
    "Match",
    "Page",
    "Prefix",
    "Ragged",
    "Range",
    "RecipeConfig",
    "Record",
    "RepairReport",
    "RetrievalError",
    "RuntimeConfig",
    "SearchConfig",
    "SearchResult",
    "Token",
    "TokenMatch",
    "TrainingReport",
    "VerifyReport",
    "export_index",
    "import_index",
    "inspect_index",
    "load_encoder",
    "open_corpus",
    "parse_filter",
    "recipe_of",
    "repair_index",
    "restore_index",
    "score_texts",
    "snapshot_index",
    "verify_index",
]
