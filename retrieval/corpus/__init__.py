"""Documents in: streaming readers with one clear error per bad record, and metadata with types."""

from retrieval.corpus.arrow import arrow_rows
from retrieval.corpus.document import FieldNames, check_document, document_of
from retrieval.corpus.fields import FieldTypes, column_of, metadata_columns
from retrieval.corpus.given import line_rows, records_of
from retrieval.corpus.open import Corpus, open_corpus
from retrieval.corpus.policy import ErrorPolicy, OnError

__all__ = [
    "Corpus",
    "ErrorPolicy",
    "FieldNames",
    "FieldTypes",
    "OnError",
    "arrow_rows",
    "check_document",
    "column_of",
    "document_of",
    "line_rows",
    "metadata_columns",
    "open_corpus",
    "records_of",
]
