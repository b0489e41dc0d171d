"""The reference of the command line and its settings, generated from the program itself.

    python -m index_tools.reference                     to stdout
    python -m index_tools.reference --write README.md   between the markers of the file
    python -m index_tools.reference --check README.md   exit code 1 when the file is stale

The markers are ``<!-- cli:begin -->`` and ``<!-- cli:end -->``, and so for ``settings`` and
``server-settings``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from index_tools.exit_codes import MEANINGS
from index_tools.main import app
from index_tools.settings import Settings, environment_name
from retrieval.errors import ConfigError, RetrievalError

__all__ = ["cli_reference", "main", "replace_sections", "sections", "settings_reference"]

BEFORE_THE_COMMAND = "(before the command)"
NOT_LISTED = frozenset({"install_completion", "show_completion"})


def sections() -> dict[str, str]:
    """Marker name -> the Markdown that belongs between its markers."""
    server: Any = import_module("server.settings")  # by name: the two doors do not import each other
    return {
        "cli": cli_reference(),
        "settings": settings_reference(Settings.model_fields, environment_name("")),
        "server-settings": settings_reference(server.ServerSettings.model_fields, server.ENV_PREFIX),
    }


def cli_reference() -> str:
    """Commands, the options they share, the options of their own, and the exit codes."""
    program: Any = typer.main.get_command(app)
    commands: Mapping[str, Any] = program.commands
    lines = ["| command | what it does |", "|---|---|"]
    lines += [f"| `{_usage(name, command)}` | {_cell(command.help)} |" for name, command in commands.items()]
    lines += ["", "| option | commands | what it does | default |", "|---|---|---|---|"]
    lines += list(_option_rows({BEFORE_THE_COMMAND: program, **commands}))
    lines += ["", "| exit code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(lines)


def settings_reference(fields: Mapping[str, FieldInfo], prefix: str) -> str:
    """One row a setting: its key in the TOML file, its variable, its default."""
    lines = ["| setting | environment variable | default | what it is |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = f"`{field.default}`" if field.default not in (None, PydanticUndefined) else ""
        lines.append(f"| `{name}` | `{prefix}{name.upper()}` | {default} | {_cell(field.description)} |")
    return "\n".join(lines)


def replace_sections(document: str, parts: Mapping[str, str]) -> str:
    """The document with the text between each pair of markers replaced.

    Raises:
        ConfigError: a marker is missing.
    """
    for name, text in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        head, found, rest = document.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ConfigError(f"the file has no section between {begin} and {end}; add the two lines")
        document = f"{head}{begin}\n{text}\n{end}{tail}"
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, write or check the reference; 1 when a checked file is stale."""
    parser = argparse.ArgumentParser(prog="python -m index_tools.reference", description=main.__doc__)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", type=Path, metavar="FILE", help="bring the sections of FILE up to date")
    action.add_argument("--check", type=Path, metavar="FILE", help="fail when they are not")
    given = parser.parse_args(arguments)
    path = given.write or given.check
    if path is None:
        sys.stdout.write("\n\n".join(sections().values()) + "\n")
        return 0
    try:
        old = path.read_text(encoding="utf-8")
        new = replace_sections(old, sections())
    except (RetrievalError, OSError) as error:
        sys.stderr.write(f"error: {path}: {error}\n")
        return 2
    if given.write:
        path.write_text(new, encoding="utf-8")
    elif new != old:
        sys.stderr.write(f"{path} is stale; run: python -m index_tools.reference --write {path}\n")
        return 1
    return 0


def _usage(name: str, command: Any) -> str:
    return " ".join(["retrieval", name, *map(_argument, _parameters(command, "argument"))])


def _argument(argument: Any) -> str:
    name = f"{argument.metavar}..." if argument.nargs == -1 else str(argument.metavar)
    return name if argument.required else f"[{name}]"


def _parameters(command: Any, kind: str) -> list[Any]:
    """Arguments or options; typer's own options for completion say nothing about this program."""
    found = [parameter for parameter in command.params if parameter.param_type_name == kind]
    return [parameter for parameter in found if parameter.name not in NOT_LISTED]


def _option_rows(commands: Mapping[str, Any]) -> Iterator[str]:
    """Each option once, with the commands that have it; a flag with two meanings has two rows."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for name, command in commands.items():
        for option in _parameters(command, "option"):
            key = (_flags(option), _cell(option.help), _default(option))
            rows.setdefault(key, []).append(name)
    for (flags, told, default), names in rows.items():
        yield f"| {flags} | {', '.join(names)} | {told} | {default} |"


def _flags(option: Any) -> str:
    return ", ".join(f"`{flag}`" for flag in option.opts)


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    if option.default in (None, False, ()) or callable(option.default):
        return ""
    return f"`{option.default}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).rstrip(".").replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
