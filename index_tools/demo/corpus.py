"""The demonstration's corpus: docstrings of the standard library as a JSONL file.

The rule keeps the two builds near two minutes on two cores: docstrings of at least 40 characters
(methods 80, so that the thousands of one-line ones do not drown the rest), each cut after 600.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from index_tools.demo.docstrings import Docstring
from retrieval.errors import DataError

__all__ = ["MAX_CHARACTERS", "MIN_CHARACTERS", "MIN_CHARACTERS_OF_METHODS", "kept", "write_corpus"]

MIN_CHARACTERS = 40
MIN_CHARACTERS_OF_METHODS = 80
MAX_CHARACTERS = 600


def kept(docstrings: Iterable[Docstring]) -> Iterator[Docstring]:
    """Those that the rule keeps, in the order given."""
    for docstring in docstrings:
        needed = MIN_CHARACTERS_OF_METHODS if docstring.kind == "method" else MIN_CHARACTERS
        if len(docstring.text) >= needed:
            yield docstring


def write_corpus(docstrings: Iterable[Docstring], path: Path) -> int:
    """Write one JSON object a line and return their number; the file appears only when complete.

    Raises:
        DataError: there are no docstrings (this Python came without its source files).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    count = 0
    with unfinished.open("w", encoding="utf-8", newline="\n") as file:
        for docstring in docstrings:
            file.write(json.dumps(_document(docstring), ensure_ascii=False) + "\n")
            count += 1
    if not count:
        unfinished.unlink()
        raise DataError("the standard library of this Python has no source files with docstrings to search")
    unfinished.replace(path)
    return count


def _document(docstring: Docstring) -> dict[str, Any]:
    return {
        "_id": docstring.id,
        "title": docstring.id,
        "text": _cut(docstring.text),
        "metadata": {
            "module": docstring.module,
            "kind": docstring.kind,
            "name": docstring.name,
            "lines": docstring.lines,
        },
    }


def _cut(text: str) -> str:
    """At most `MAX_CHARACTERS`, ending with a word."""
    if len(text) <= MAX_CHARACTERS:
        return text
    head = text[:MAX_CHARACTERS]
    return head[: max(head.rfind(" "), head.rfind("\n"), MAX_CHARACTERS // 2)].rstrip()
