"""Docstrings of a tree of Python source files, read with `ast`: nothing is imported or run."""

from __future__ import annotations

import ast
import inspect
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Docstring", "library_docstrings", "source_docstrings", "source_files"]

Kind = Literal["module", "class", "function", "method"]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# Tests of the library, its editor and its turtle demonstrations are not what people look up.
SKIPPED_FOLDERS = frozenset(
    {
        "dist-packages",
        "ensurepip",
        "idle_test",
        "idlelib",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)


@dataclass(frozen=True, slots=True)
class Docstring:
    """``id`` is the dotted name, ``name`` its last part; ``lines`` counts the definition's source lines."""

    id: str
    module: str
    kind: Kind
    name: str
    lines: int
    text: str


def library_docstrings(root: Path) -> Iterator[Docstring]:
    """Every public docstring below ``root``, in the order of module names and source lines.

    A name that is defined twice keeps its first docstring. Files that this Python cannot parse are left out.
    """
    seen: set[str] = set()
    for module, path in source_files(root):
        try:
            found = source_docstrings(path.read_bytes(), module)
        except (SyntaxError, ValueError):
            continue
        for docstring in found:
            if docstring.id not in seen:
                seen.add(docstring.id)
                yield docstring


def source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Public modules below ``root`` as (dotted name, file), sorted by name."""
    found = []
    for folder, names, files in os.walk(root):
        here = Path(folder)
        package = here.relative_to(root).parts
        names[:] = [name for name in names if _is_package(here / name)]
        for file in files:
            stem = file.removesuffix(".py")
            if file.endswith(".py") and ((stem == "__init__" and package) or _is_public(stem)):
                found.append((".".join((*package, *(() if stem == "__init__" else (stem,)))), here / file))
    return iter(sorted(found))


def source_docstrings(source: bytes | str, module: str) -> list[Docstring]:
    """The docstrings of one module, in the order of its lines.

    Raises:
        SyntaxError, ValueError: not Python source.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escape sequences in other people's strings
        tree = ast.parse(source)
    lines = len(source.splitlines())
    found = _docstring(tree, module, module, "module", module.rpartition(".")[2], lines)
    return [*found, *_members(tree.body, module, module, inside_class=False)]


def _members(
    body: Iterable[ast.stmt], prefix: str, module: str, *, inside_class: bool
) -> Iterator[Docstring]:
    for node in body:
        if isinstance(node, Definition):
            if _is_public(node.name):
                yield from _definition(node, prefix, module, inside_class=inside_class)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            # Definitions that depend on the platform stand in such blocks.
            yield from _members(_statements(node), prefix, module, inside_class=inside_class)


def _statements(block: ast.If | ast.Try | ast.With) -> Iterator[ast.stmt]:
    """All branches of a block, handlers included."""
    for child in ast.iter_child_nodes(block):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler):
            yield from child.body


def _definition(node: Definition, prefix: str, module: str, *, inside_class: bool) -> Iterator[Docstring]:
    name = f"{prefix}.{node.name}"
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if isinstance(node, ast.ClassDef):
        yield from _docstring(node, name, module, "class", node.name, lines)
        yield from _members(node.body, name, module, inside_class=True)
    else:
        yield from _docstring(node, name, module, "method" if inside_class else "function", node.name, lines)


def _docstring(
    node: ast.Module | Definition,
    name: str,
    module: str,
    kind: Kind,
    last: str,
    lines: int,
) -> Iterator[Docstring]:
    raw = ast.get_docstring(node, clean=False)
    text = inspect.cleandoc(raw) if raw else ""
    if text:
        yield Docstring(name, module, kind, last, lines, text)


def _is_package(folder: Path) -> bool:
    name = folder.name
    return name not in SKIPPED_FOLDERS and _is_public(name) and (folder / "__init__.py").is_file()


def _is_public(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")
