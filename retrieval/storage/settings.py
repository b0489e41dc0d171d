"""What a catalog says of the index as a whole: its settings, and the codec generations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from operator import index
from typing import Any

from retrieval.corpus import FieldTypes
from retrieval.storage.database import Database
from retrieval.storage.records import CodecRecord

__all__ = ["Settings", "checksum_of"]


class Settings(Database):
    """The tables ``meta`` and ``codecs``."""

    def meta(self, key: str) -> Any:
        """A stored JSON value.

        Raises:
            IndexDamagedError: there is none, or it is no JSON.
        """
        rows = self.rows("SELECT value FROM meta WHERE key = ?", (key,))
        with self.decoding(f"the value {key!r}"):
            return json.loads(rows[0][0])

    def set_meta(self, key: str, value: Any) -> None:
        """Store a JSON value; inside a transaction."""
        self.insert("meta", (key, json.dumps(value, sort_keys=True)), replace=True)

    def identity(self) -> str:
        """A random word that was chosen when the index was made, and that only copies of it share; of an
        index of an earlier version the time when it was made."""
        rows = self.rows(
            "SELECT value FROM meta WHERE key IN ('identity', 'created_at') ORDER BY key DESC LIMIT 1"
        )
        with self.decoding("the identity"):
            return str(json.loads(rows[0][0]))

    def fields(self) -> FieldTypes:
        """The metadata fields and their types."""
        stored = self.meta("fields")
        with self.decoding("the metadata fields"):
            return FieldTypes.from_json(stored)

    def pooling(self) -> str:
        """How the tokens of documents are pooled (`IndexConfig.pooling`): decided when the index was made.

        Raises:
            IndexDamagedError: what is stored says nothing of the kind.
        """
        stored = self.meta("config")
        with self.decoding("the configuration"):
            pooling = stored.get("pooling", "none")
            if not isinstance(pooling, str):
                raise TypeError(f"pooling is {pooling!r}")
            return pooling

    def take_number(self) -> int:
        """A number for a segment or a buffer that no other ever had; inside a transaction."""
        number = int(self.meta("next_number"))
        self.set_meta("next_number", number + 1)
        return number

    def codec(self) -> CodecRecord:
        """The codec generation in use.

        Raises:
            IndexDamagedError: there is none, or it is not what was committed.
        """
        rows = self.rows("SELECT * FROM codecs ORDER BY codec DESC LIMIT 1")
        with self.decoding("the codec"):
            if checksum_of(rows[0][:-1]) != rows[0][-1]:
                raise ValueError("not what was committed")
            return CodecRecord.from_row(rows[0])

    def codec_folders(self) -> set[str]:
        """Names of the folders of codec generations."""
        with self.decoding("the codecs"):
            return {f"{index(row[0]):08d}" for row in self.rows("SELECT codec FROM codecs")}

    def replace_codecs(self, codec: CodecRecord, features: Sequence[str]) -> None:
        """Register a codec generation in place of all earlier ones, whose segments are gone, and what
        it requires of a reader; inside a transaction."""
        self.execute("DELETE FROM codecs")
        self.add_codec(codec)
        self.set_meta("required_features", list(features))

    def change_codec(self, codec: CodecRecord, features: Sequence[str]) -> None:
        """Register another description of a codec generation, whose segments stay; inside a transaction."""
        self.insert("codecs", (*codec.as_row(), checksum_of(codec.as_row())), replace=True)
        self.set_meta("required_features", list(features))

    def add_codec(self, codec: CodecRecord) -> None:
        """Register a codec generation; inside a transaction."""
        self.insert("codecs", (*codec.as_row(), checksum_of(codec.as_row())))

    def codec_problems(self) -> list[str]:
        """Codec generations that are not what was committed."""
        return [
            f"catalog: codec {codec} is not what was committed; restore the index from a copy"
            for codec, *row, stored in self.rows("SELECT * FROM codecs")
            if checksum_of([codec, *row]) != stored
        ]


def checksum_of(rows: Sequence[Any]) -> str:
    """SHA-256 of catalog rows: nothing else notices a changed byte inside a valid row."""
    return hashlib.sha256(json.dumps(rows, default=repr).encode()).hexdigest()
