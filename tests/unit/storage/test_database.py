"""The connection: what each of SQLite's errors becomes, and one generation while reading."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from retrieval import Document, Engine
from retrieval.errors import IndexFolderError
from retrieval.storage import Catalog
from tests.encoders import HashingDense


@pytest.fixture
def index(tmp_path: Path) -> Path:
    Engine.build(tmp_path / "i", [Document("a", "alpha")], HashingDense())
    return tmp_path / "i"


def immutable(index: Path) -> Catalog:
    """A catalog opened as on a read-only medium."""
    uri = f"{(index / 'catalog.sqlite').as_uri()}?mode=ro&immutable=1"
    return Catalog(index, sqlite3.connect(uri, uri=True, isolation_level=None))


def change(index: Path) -> None:
    os.utime(index / "catalog.sqlite", ns=(1, 1))


def test_a_read_only_medium_is_not_opened_anew_while_reading(index: Path) -> None:
    with immutable(index) as catalog:
        generation, before = catalog.generation(), catalog._connection
        with catalog.reading():
            change(index)
            assert catalog.generation() == generation
            assert catalog._connection is before and before.in_transaction
        assert catalog.generation() == generation and catalog._connection is not before


def test_what_is_closed_is_not_opened_anew(index: Path) -> None:
    catalog = immutable(index)
    catalog.close()
    change(index)
    with pytest.raises(IndexFolderError, match="is closed; open it again"):
        catalog.generation()


def test_only_a_closed_connection_is_told_to_be_closed(index: Path) -> None:
    with Catalog.open(index) as catalog:
        with pytest.raises(sqlite3.ProgrammingError, match="parameter 1"):
            catalog.rows("SELECT ?", (["a"],))
        with pytest.raises(UnicodeEncodeError):
            catalog.rows("SELECT ?", ("\ud800",))
    with pytest.raises(IndexFolderError, match="is closed; open it again"):
        catalog.rows("SELECT 1")


@pytest.mark.parametrize("size", [2_000, 1 << 31], ids=["for SQLite", "for the driver"])
def test_a_value_that_is_too_large_is_no_damage(index: Path, size: int) -> None:
    with Catalog.open(index, write=True) as catalog:
        catalog._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000)
        generation = catalog.generation()
        value = np.zeros(size, np.uint8)  # of which no page is touched
        told = pytest.raises(IndexFolderError, match="too large for one commit")
        with told as caught, catalog.transaction("add"):
            catalog.insert("meta", ("large", value.data))
        assert type(caught.value) is IndexFolderError
        assert catalog.generation() == generation
