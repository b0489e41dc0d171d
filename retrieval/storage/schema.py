"""The catalog's tables, which versions of them this code reads, and how an older one is upgraded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

__all__ = [
    "FORMAT_VERSION",
    "KNOWN_FEATURES",
    "TABLES",
    "expected_columns",
    "odd_values",
    "statements",
    "table_columns",
    "upgrade",
]

FORMAT_VERSION = 2
"""Raised when an older reader would misread; a new optional part is a feature instead.

1: documents stay where they were added. 2: pending documents, tombstones, merged segments.
"""

KNOWN_FEATURES: frozenset[str] = frozenset({"trained"})
"""Features that an index may require of its reader."""

_DOCUMENTS = """
CREATE TABLE documents (             -- where each living document was born, which never changes
    doc_id TEXT PRIMARY KEY,
    origin INTEGER NOT NULL,         -- number of the segment or buffer it came to the index in
    ordinal INTEGER NOT NULL
) WITHOUT ROWID;
"""

_CHANGES = """
CREATE TABLE origins (               -- which segment holds the documents born in an origin
    origin INTEGER PRIMARY KEY,
    segment INTEGER NOT NULL REFERENCES segments
);

CREATE INDEX origins_by_segment ON origins (segment);

CREATE TABLE pending (               -- documents not yet in a segment, one row a commit
    generation INTEGER PRIMARY KEY REFERENCES commits,
    buffer INTEGER NOT NULL,         -- the rows of one buffer share its ordinals
    first INTEGER NOT NULL,          -- ordinal of the first document
    n_documents INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL,
    max_norm REAL NOT NULL,
    documents BLOB NOT NULL,         -- Arrow IPC, as in a segment's file
    doclens BLOB NOT NULL,           -- int64
    codes BLOB NOT NULL,
    sha256 TEXT NOT NULL             -- over the row
);

CREATE TABLE tombstones (            -- deleted documents whose codes are still there, by birth
    origin INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    checksum INTEGER NOT NULL,       -- over the row
    PRIMARY KEY (origin, ordinal)
) WITHOUT ROWID;

CREATE INDEX tombstones_by_generation ON tombstones (generation);
"""

TABLES = f"""
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL              -- JSON
) WITHOUT ROWID;

CREATE TABLE commits (
    generation INTEGER PRIMARY KEY,
    operation TEXT NOT NULL,
    created_at TEXT NOT NULL
);

CREATE TABLE codecs (                -- what is trained, once, and frozen
    codec INTEGER PRIMARY KEY,
    name TEXT NOT NULL,              -- word in the codec registry
    config TEXT NOT NULL,            -- JSON
    kind TEXT NOT NULL,
    metric TEXT NOT NULL,
    dim INTEGER NOT NULL,
    encoder TEXT,                    -- JSON EncoderConfig, null for a caller's own encoder
    encoder_fingerprint TEXT NOT NULL,
    fingerprint TEXT NOT NULL,       -- SHA-256 over what decides how codes are made and scored
    sha256 TEXT NOT NULL             -- over the row
);

CREATE TABLE segments (              -- what belongs to documents
    segment INTEGER PRIMARY KEY,
    codec INTEGER NOT NULL REFERENCES codecs,
    generation INTEGER NOT NULL REFERENCES commits,
    n_documents INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL,
    max_norm REAL NOT NULL,
    records_read INTEGER NOT NULL,   -- records of the source that went into it, for --resume
    records_sha256 TEXT NOT NULL,
    skipped INTEGER NOT NULL,        -- records left out, up to and with this segment
    sha256 TEXT NOT NULL             -- over the row and the rows of its files
);

CREATE TABLE files (
    path TEXT PRIMARY KEY,           -- relative to the index folder
    segment INTEGER NOT NULL REFERENCES segments,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    dtype TEXT,
    shape TEXT                       -- JSON
) WITHOUT ROWID;

CREATE INDEX files_by_segment ON files (segment);
{_DOCUMENTS}{_CHANGES}"""


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables from ``version`` to `FORMAT_VERSION`; inside a transaction."""
    if version < 2:
        script = f"""
        ALTER TABLE documents RENAME TO documents_before;
        {_DOCUMENTS}
        INSERT INTO documents SELECT doc_id, segment, ordinal FROM documents_before;
        DROP TABLE documents_before;
        CREATE INDEX files_by_segment ON files (segment);
        {_CHANGES}
        INSERT INTO origins SELECT segment, segment FROM segments;
        """
        for statement in statements(script):
            connection.execute(statement)


def table_columns(rows: Callable[[str], list[Any]]) -> list[tuple[Any, ...]]:
    """The columns of each table: names, types and constraints, not the comments beside them.
    ``rows`` runs a query."""
    return rows(
        "SELECT one.name, column.* FROM sqlite_master AS one, pragma_table_info(one.name) AS column "
        "WHERE one.type = 'table' ORDER BY one.name, column.cid"
    )


def odd_values(rows: Callable[[str], list[Any]]) -> list[str]:
    """Tables with values of another type than their column's, which SQLite itself lets pass."""
    tests: dict[str, list[str]] = {}
    for table, _, column, kind, *_ in table_columns(rows):
        tests.setdefault(table, []).append(f"typeof({column}) NOT IN ('{kind.lower()}', 'null')")
    counts = {
        table: rows(f"SELECT count(*) FROM {table} WHERE {' OR '.join(t)}") for table, t in tests.items()
    }
    return [
        f"{count[0][0]} rows of {table} hold values of another type"
        for table, count in counts.items()
        if count[0][0]
    ]


def expected_columns() -> list[tuple[Any, ...]]:
    """What `table_columns` gives for a catalog of this format."""
    connection = sqlite3.connect(":memory:")
    try:
        for statement in statements(TABLES):
            connection.execute(statement)
        return table_columns(lambda query: connection.execute(query).fetchall())
    finally:
        connection.close()


def statements(script: str) -> list[str]:
    """A script cut at its semicolons: `executescript` would commit the transaction it runs in."""
    return [statement for statement in script.split(";") if statement.strip()]
