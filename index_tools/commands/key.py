"""``retrieval key``: a new key for a client of the server, and what the server is told of it.

The server's module is loaded by name when this command runs: the two packages do not import each other.
"""

from __future__ import annotations

import getpass
import json
import sys
from importlib import import_module
from typing import Annotated, Any, Literal

import typer

from index_tools import options as opt
from index_tools.output import Output
from retrieval.errors import ConfigError

__all__ = ["key"]

MIN_CHOSEN = 20

Name = Annotated[str, typer.Option("--name", help="whose key it is", show_default="client")]
KeyScope = Annotated[
    Literal["read", "write", "admin"],
    typer.Option("--scope", help="what it allows; write includes read, admin all"),
]
Collections = Annotated[
    list[str] | None,
    typer.Option(
        "--collection",
        help="pattern of the collections it is for, as papers-*; may be given again",
        metavar="PATTERN",
        show_default="*",
    ),
]
Hash = Annotated[bool, typer.Option("--hash", help="take an existing key from stdin instead of a new one")]


def key(
    context: typer.Context,
    name: Name = "client",
    scope: KeyScope = "read",
    collection: Collections = None,
    hash_only: Hash = False,
    as_json: opt.Json = False,
) -> None:
    """Make a key for a client of `retrieval serve`. It is shown once; the server's settings get its hash."""
    output = Output.of(context, as_json)
    keys: Any = import_module("server.security.keys")
    made, sha256 = (None, keys.hash_of(_given_key(keys.MAX_KEY_LENGTH))) if hash_only else keys.new_key()
    values = {"sha256": sha256, "scope": scope, "collections": collection or ["*"]}
    keys.check_key(name, values)
    shown = {"name": name, **({} if made is None else {"key": made}), **values}
    output.data(shown, lambda: _show(output, made, f"{json.dumps(name)} = {_inline(values)}"))


def _show(output: Output, made: str | None, line: str) -> None:
    if made is not None:
        output.show(made)
        output.note("The key, shown this once: keep it where the client finds it. For the server:")
    output.note("a line in [server.security.keys] of retrieval.toml, or in the file that 'keys_file' names")
    output.show(line)


def _inline(values: dict[str, Any]) -> str:
    """A TOML inline table; texts and lists of texts are written as in JSON."""
    return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items()) + " }"


def _given_key(longest: int) -> str:
    """The key on stdin; a terminal does not show it."""
    line = getpass.getpass("key: ") if sys.stdin.isatty() else sys.stdin.readline(longest + 2)
    given = line.rstrip("\r\n")
    if not given.isascii() or not given.isprintable() or " " in given:
        raise ConfigError("the key on stdin must be printable ASCII without spaces: it travels in a header")
    if not MIN_CHOSEN <= len(given) <= longest:
        raise ConfigError(
            f"the key on stdin has {len(given)} characters, and needs {MIN_CHOSEN} to {longest}: what is "
            "short can be guessed; 'retrieval key' makes one"
        )
    return given
