"""Keys of clients: how one is made, what is kept of it (its hash), and how a table of them is read.

A key is 256 random bits, so its SHA-256 needs neither salt nor stretching. Nothing here repeats a key, or
what may be one, in an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_core import ErrorDetails

from retrieval.errors import ConfigError

__all__ = [
    "KEY_PREFIX",
    "MAX_KEY_LENGTH",
    "REDACTED",
    "KeyName",
    "KeySettings",
    "Scope",
    "check_key",
    "check_keys",
    "hash_of",
    "is_readable_by_others",
    "key_problem",
    "new_key",
    "read_keys",
    "redact",
]

Scope = Literal["read", "write", "admin"]

KEY_PREFIX = "rk_"
KEY_BYTES = 32
MAX_KEY_LENGTH = 512
KEY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
REDACTED = "[redacted]"

KeyName = Annotated[str, Field(pattern=KEY_NAME)]

_SIGNS = (KEY_PREFIX, "bearer", "basic", "authorization", "api-key", "api_key")
# A key of ours wherever it stands; after the name of a scheme or of a header, whatever follows.
_SECRETS = re.compile(
    rf"{KEY_PREFIX}[a-z0-9_\-]{{8,}}"
    r"|\b(?:bearer|basic)\s+[a-z0-9._~+/=\-]{8,}"
    r"""|\b(?:(?:proxy-)?authorization|api[-_]key)["']?\s*[:=,]\s*(?:b?["'])?(?:(?:bearer|basic)\s+)?[^\s"'&,;)\]}]+""",
    re.IGNORECASE,
)


class KeySettings(BaseModel):
    """What the server knows of a key: not the key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # Out of repr and dumps: it says nothing of a random key, but a chosen one could be guessed from it.
    sha256: str = Field(repr=False, exclude=True, description="SHA-256 of the key, 64 hexadecimal digits")
    scope: Scope = Field(description="read, write (and read) or admin (all)")
    collections: tuple[str, ...] = Field(("*",), min_length=1, description="patterns of collection names")

    @field_validator("sha256")
    @classmethod
    def _is_a_hash(cls, value: str) -> str:
        if not SHA256.fullmatch(value):
            raise ValueError(
                "not a SHA-256 in 64 hexadecimal digits (perhaps it is the key itself: "
                "'retrieval key --hash' reads a key and prints its hash)"
            )
        return value.lower()


_TABLE: TypeAdapter[dict[str, KeySettings]] = TypeAdapter(dict[KeyName, KeySettings])


def new_key() -> tuple[str, str]:
    """A new random key and its SHA-256; only the second may be stored."""
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """SHA-256 of the key, in hexadecimal."""
    # Whatever a header held can be hashed, also what is no valid Unicode.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def redact(text: str) -> str:
    """The text without anything that looks like a key or the value of an ``Authorization`` header."""
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):  # nearly always, and a hundred times as fast
        return text
    return _SECRETS.sub(REDACTED, text)


def read_keys(path: Path) -> dict[str, KeySettings]:
    """The keys of a TOML or JSON file: name -> values of `KeySettings`.

    Raises:
        ConfigError: it cannot be read, others may change it, or it holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        told = getattr(error, "strerror", None) or "not a text file in UTF-8"
        raise ConfigError(f"keys_file={path}: {told}") from None
    if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"keys_file={path}: other users may write to it; run: chmod 600 {path}")
    try:
        return _TABLE.validate_python(_parsed(text))
    except ValidationError as error:
        raise ConfigError(f"keys_file={path}: {key_problem(error.errors()[0])}") from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError):
        # The parser's own words may quote the line.
        raise ConfigError(f"keys_file={path}: neither a TOML nor a JSON file") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"keys_file={path}: {redact(str(error))}") from None


def is_readable_by_others(path: Path) -> bool:
    """Whether other users of the machine may read the file. Hashes of random keys give nothing away, and
    containers mount secrets so; hashes of keys that a person chose do."""
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def check_key(name: str, values: Mapping[str, Any]) -> None:
    """Refuse an entry that a table of keys could not have.

    Raises:
        ConfigError: the name or a value.
    """
    try:
        check_keys([("key", _TABLE.validate_python({name: values}))])
    except ValidationError as error:
        raise ConfigError(f"key: {key_problem(error.errors()[0])}") from None


def check_keys(tables: Iterable[tuple[str, Mapping[str, KeySettings]]]) -> dict[str, KeySettings]:
    """All keys in one table; ``tables`` are (where it is from, the table).

    Raises:
        ConfigError: a name or a key twice, or a name that looks like a key.
    """
    found: dict[str, KeySettings] = {}
    by_hash: dict[str, str] = {}
    for origin, table in tables:
        for name, key in table.items():
            if name.startswith(KEY_PREFIX) or SHA256.fullmatch(name):
                raise ConfigError(f"{origin}: a name looks like a key; names are for people: 'ci', 'alice'")
            if name in found:
                raise ConfigError(f"{origin}: the name '{name}' is there twice; keep one")
            if key.sha256 in by_hash:
                told = f"'{by_hash[key.sha256]}' and '{name}' are the same key; keep one"
                raise ConfigError(f"{origin}: {told}")
            found[name] = key
            by_hash[key.sha256] = name
    return found


def key_problem(problem: ErrorDetails) -> str:
    """What is wrong with a table of keys, without the value."""
    place = [redact(str(part)) for part in problem["loc"] if part not in {"keys", "[key]"}]
    told = problem["msg"].removeprefix("Value error, ")
    if "[key]" in problem["loc"]:
        return f"a name of a key cannot be one: {told}"
    if problem["type"] == "extra_forbidden":
        # The member's name may be the key: it is the last part, and not told.
        return f"{'.'.join(place[:-1])} has a member too many; known: {', '.join(KeySettings.model_fields)}"
    return f"{'.'.join(place) or 'the table'}: {told}"


def _parsed(text: str) -> Any:
    """No TOML begins with a brace; a mounted secret has no suffix to go by."""
    if text.lstrip().startswith("{"):
        return json.loads(text, object_pairs_hook=_once)
    return tomllib.loads(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a member is there twice; keep one")
    return table
