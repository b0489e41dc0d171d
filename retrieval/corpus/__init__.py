"""Documents in: streaming readers with one clear error per bad record, and metadata with types."""

from retrieval.corpus.document import check_document
from retrieval.corpus.fields import FieldTypes, column_of, metadata_columns
from retrieval.corpus.open import Corpus, open_corpus
from retrieval.corpus.policy import ErrorPolicy

__all__ = [
    "Corpus",
    "ErrorPolicy",
    "FieldTypes",
    "check_document",
    "column_of",
    "metadata_columns",
    "open_corpus",
]
