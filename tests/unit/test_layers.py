"""Imports point one way: each room may use only rooms on lines below its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

LAYERS = [
    ["server", "index_tools", "bench"],
    ["retrieval.client", "retrieval.evaluate"],
    ["retrieval"],  # the public names
    ["retrieval.hybrid"],
    ["retrieval.engine", "retrieval.repair"],
    ["retrieval.lifecycle", "retrieval.maintenance", "retrieval.reencoding"],
    ["retrieval.conversion", "retrieval.trainable"],
    ["retrieval.writer"],
    ["retrieval.reader", "retrieval.scoring"],
    ["retrieval.bulk", "retrieval.contents", "retrieval.small"],
    ["retrieval.training"],
    [
        "retrieval.asked",
        "retrieval.build",
        "retrieval.checks",
        "retrieval.copies",
        "retrieval.queries",
        "retrieval.registering",
        "retrieval.warming",
    ],
    ["retrieval.search"],
    ["retrieval.storage"],
    ["retrieval.index"],
    ["retrieval.encode", "retrieval.corpus", "retrieval.filters"],
    ["retrieval.presets"],
    ["retrieval.quantize", "retrieval.reduce"],
    ["retrieval.kernels"],
    ["retrieval.building", "retrieval.config"],
    ["retrieval.types", "retrieval.errors", "retrieval.jsonable"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def room_of(module: str) -> str | None:
    """The longest room name that the module lies in."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if (name := ".".join(parts[:end])) in LEVEL and (name != "retrieval" or module == "retrieval"):
            return name
    return None


def imports_of(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def sources() -> list[Path]:
    return [
        p
        for top in ("retrieval", "server", "index_tools", "bench")
        for p in sorted((ROOT / top).rglob("*.py"))
    ]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_module_belongs_to_a_room() -> None:
    assert [str(path) for path in sources() if room_of(module_name(path)) is None] == []


def test_imports_point_down() -> None:
    wrong = []
    for path in sources():
        mine = room_of(module_name(path))
        for imported in imports_of(path):
            other = room_of(imported)
            if other is not None and mine is not None and other != mine and LEVEL[other] <= LEVEL[mine]:
                wrong.append(f"{module_name(path)} imports {imported}")
    assert wrong == []


def test_nothing_unpickles() -> None:
    forbidden = ("pickle", "torch.load", "allow_pickle", "joblib", "marshal")
    wrong = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for word in forbidden
        if (isinstance(node, ast.Import) and any(word in alias.name for alias in node.names))
        or (isinstance(node, ast.Attribute) and ast.unparse(node).startswith(word))
        or (isinstance(node, ast.keyword) and node.arg == word)
    ]
    assert wrong == []
