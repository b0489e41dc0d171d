"""Docstrings are read from source files alone, in a fixed order, by a rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from index_tools.demo.corpus import MAX_CHARACTERS, kept, write_corpus
from index_tools.demo.docstrings import Docstring, library_docstrings, source_docstrings
from retrieval.errors import DataError

SOURCE = '''"""Module doc."""
import os
raise RuntimeError("never run")

def plain():
    """Plain
    function.
    """
    def inner():
        """Not shown."""

async def waiting():
    """Async."""

def silent(): pass

def _private():
    """Hidden."""

if os.name == "nt":
    def where():
        """First."""
else:
    def where():
        """Second."""

try:
    pass
except ImportError:
    class Fallback:
        """Fallback class."""

class Thing:
    """A thing."""
    def method(self):
        """A method."""
        return 1
    def __init__(self):
        """Hidden too."""
    class Part:
        """Nested."""
'''


def test_one_module() -> None:
    found = [(d.id, d.kind, d.text) for d in source_docstrings(SOURCE, "pkg.mod")]
    assert found == [
        ("pkg.mod", "module", "Module doc."),
        ("pkg.mod.plain", "function", "Plain\nfunction."),
        ("pkg.mod.waiting", "function", "Async."),
        ("pkg.mod.where", "function", "First."),
        ("pkg.mod.where", "function", "Second."),
        ("pkg.mod.Fallback", "class", "Fallback class."),
        ("pkg.mod.Thing", "class", "A thing."),
        ("pkg.mod.Thing.method", "method", "A method."),
        ("pkg.mod.Thing.Part", "class", "Nested."),
    ]


def test_metadata_of_a_definition() -> None:
    method = next(d for d in source_docstrings(SOURCE, "pkg.mod") if d.kind == "method")
    assert (method.module, method.name, method.lines) == ("pkg.mod", "method", 3)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "lib"
    files = {
        "zebra.py": '"""Last."""',
        "mod.py": SOURCE,
        "broken.py": "def (",
        "latin.py": b'# -*- coding: latin-1 -*-\n"""caf\xe9"""',
        "_hidden.py": '"""No."""',
        "pkg/__init__.py": '"""Package."""\ndef mod():\n    """Shadowed by the module of the name."""\n',
        "pkg/mod.py": '"""Submodule."""',
        "pkg/tests/__init__.py": '"""No."""',
        "test/__init__.py": '"""No."""',
        "site-packages/other/__init__.py": '"""No."""',
        "not_a_package/mod.py": '"""No."""',
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_a_tree_of_files(library: Path) -> None:
    found = list(library_docstrings(library))
    ids = [docstring.id for docstring in found]
    assert len(ids) == len(set(ids))
    modules = [docstring.id for docstring in found if docstring.kind == "module"]
    assert modules == ["latin", "mod", "pkg", "zebra"]
    assert next(d.text for d in found if d.id == "latin") == "café"
    assert next(d.text for d in found if d.id == "pkg.mod") == "Shadowed by the module of the name."
    assert found == list(library_docstrings(library))


def test_rule_and_file(tmp_path: Path) -> None:
    long = "word " * 300
    found = [
        Docstring("a", "a", "module", "a", 3, "too short"),
        Docstring("b", "b", "module", "b", 3, "x" * 50),
        Docstring("b.m", "b", "method", "m", 3, "x" * 50),
        Docstring("b.n", "b", "method", "n", 4, long),
    ]
    path = tmp_path / "new" / "corpus.jsonl"
    assert write_corpus(kept(found), path) == 2
    first, second = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    assert first == {
        "_id": "b",
        "title": "b",
        "text": "x" * 50,
        "metadata": {"module": "b", "kind": "module", "name": "b", "lines": 3},
    }
    assert len(second["text"]) <= MAX_CHARACTERS
    assert second["text"].endswith("word")
    assert [entry.name for entry in path.parent.iterdir()] == ["corpus.jsonl"]


def test_no_docstrings_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no source files"):
        write_corpus([], tmp_path / "corpus.jsonl")
    assert not list(tmp_path.iterdir())
