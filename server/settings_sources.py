"""Where settings come from besides keyword values: a TOML file, and variables that must exist."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from retrieval.errors import ConfigError
from server.security.keys import key_problem, redact

__all__ = ["ENV_PREFIX", "file_values", "first_problem", "refuse_unknown_variables"]

ENV_PREFIX = "RETRIEVAL_SERVER_"
CONFIG_VARIABLE = "RETRIEVAL_CONFIG"
DEFAULT_FILE = "retrieval.toml"
TABLE = "server"


def file_values() -> dict[str, Any]:
    """The ``[server]`` table of the file that ``RETRIEVAL_CONFIG`` names, or of ``retrieval.toml`` here.

    Raises:
        ConfigError: the named file does not exist, or cannot be read.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named or DEFAULT_FILE)
    if not path.is_file():
        if named:
            raise ConfigError(f"{CONFIG_VARIABLE}={named}: there is no such file")
        return {}
    try:
        with path.open("rb") as file:
            table = tomllib.load(file).get(TABLE, {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: '{TABLE}' must be a table: [{TABLE}]")
    return table


def refuse_unknown_variables(known: Collection[str]) -> None:
    """A misspelt variable would be ignored in silence otherwise.

    Raises:
        ConfigError: there is one.
    """
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(ENV_PREFIX).lower()
        if variable.upper().startswith(ENV_PREFIX) and name not in known:
            raise ConfigError(f"{variable}: there is no such setting; known: {', '.join(sorted(known))}")


def first_problem(error: ValidationError, known: Collection[str]) -> str:
    """The first thing that is wrong, in one sentence that names the setting."""
    first = error.errors()[0]
    parts = [redact(str(part)) for part in first["loc"] if part != "[key]"]
    message = first["msg"].removeprefix("Value error, ")
    if parts[0] == "keys":
        return f"server setting keys: {key_problem(first)}"
    if first["type"] == "extra_forbidden" and len(parts) == 1:
        return f"server setting '{parts[0]}': there is no such setting; known: {', '.join(sorted(known))}"
    if first["type"] == "extra_forbidden":
        return f"server setting {'.'.join(parts[:-1])}: there is no member '{parts[-1]}'"
    if "[key]" in first["loc"]:
        return f"server setting {parts[0]}: {parts[-1]!r} cannot be a name: {message}"
    return f"server setting {'.'.join(parts)}={redact(repr(first['input']))}: {message}"
