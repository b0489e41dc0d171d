"""The catalog's tables, and which versions of them this code reads."""

from __future__ import annotations

__all__ = ["FORMAT_VERSION", "KNOWN_FEATURES", "TABLES"]

FORMAT_VERSION = 1
"""Raised when an older reader would misread; a new optional part is a feature instead."""

KNOWN_FEATURES: frozenset[str] = frozenset()
"""Features that an index may require of its reader."""

TABLES = """
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

CREATE TABLE documents (
    doc_id TEXT PRIMARY KEY,
    segment INTEGER NOT NULL REFERENCES segments,
    ordinal INTEGER NOT NULL
) WITHOUT ROWID;
"""
