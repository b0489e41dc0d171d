"""Each kind of bad input: its exit code, one clear line, no traceback, no folder left half made."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrieval.storage import writer_lock
from tests.cli.conftest import Run, write_jsonl

GOOD = {"_id": "a", "text": "alpha beta"}


@dataclass(frozen=True)
class Place:
    """Where a case may write, and what it may use."""

    tmp: Path
    model: Path
    other: Path
    dense: Path

    def build(self, source: Path, *more: object) -> list[object]:
        return ["build", source, self.tmp / "index", "--encoder", self.model, *more]

    def lines(self, *records: object) -> Path:
        return write_jsonl(self.tmp / "docs.jsonl", records)

    def raw(self, content: bytes, name: str = "docs.jsonl") -> Path:
        (self.tmp / name).write_bytes(content)
        return self.tmp / name


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path, other_model: Path, dense_index: Path) -> Place:
    return Place(tmp_path, tiny_model, other_model, dense_index)


Case = Callable[[Place], list[object]]

BAD: dict[str, tuple[Case, int, str]] = {
    "duplicate id": (lambda p: p.build(p.lines(GOOD, GOOD)), 3, r"docs\.jsonl:2: duplicate id 'a'"),
    "missing id": (lambda p: p.build(p.lines({"text": "alpha"})), 3, r"docs\.jsonl:1: .*_id"),
    "bad JSON": (
        lambda p: p.build(p.raw(json.dumps(GOOD).encode() + b'\n{"_id": ')),
        3,
        r"docs\.jsonl:2: .*JSON",
    ),
    "empty text": (lambda p: p.build(p.lines({"_id": "a", "text": " "})), 3, r"docs\.jsonl:1: .*empty"),
    "wrong encoding": (
        lambda p: p.build(p.raw(b'{"_id": "a", "text": "caf\xe9"}\n')),
        3,
        r"docs\.jsonl:1: .*UTF-8",
    ),
    "unknown kind of file": (lambda p: p.build(p.raw(b"x", "docs.xyz")), 3, r"docs\.xyz.*understood"),
    "unknown format": (lambda p: p.build(p.lines(GOOD), "--format", "xml"), 2, r"'xml'.*jsonl"),
    "missing source": (lambda p: p.build(p.tmp / "none.jsonl"), 3, r"none\.jsonl.*no such file"),
    "no documents": (lambda p: p.build(p.raw(b"")), 3, r"no documents"),
    "missing column": (lambda p: p.build(p.lines(GOOD), "--text-field", "body"), 3, r"docs\.jsonl:1: .*body"),
    "missing model": (
        lambda p: ["build", p.lines(GOOD), p.tmp / "index", "--encoder", p.tmp / "no-model"],
        6,
        r"no-model",
    ),
    "bad model option": (lambda p: p.build(p.lines(GOOD), "--truncate-dim", "0"), 2, r"truncate_dim=0"),
    "bad setting": (lambda p: p.build(p.lines(GOOD), "--token-budget", "1"), 2, r"--token-budget 1: "),
    "index exists": (
        lambda p: ["build", p.lines(GOOD), p.dense, "--encoder", p.model],
        4,
        r"index at .*dense already",
    ),
    "folder is something else": (
        lambda p: ["build", p.lines(GOOD), p.tmp, "--encoder", p.model],
        4,
        r"not an index",
    ),
    "known id": (
        lambda p: ["add", p.dense, p.lines({"_id": "d1", "text": "again"})],
        3,
        r"docs\.jsonl:1: duplicate id 'd1'",
    ),
    "other encoder": (
        lambda p: ["search", p.dense, "alpha", "--encoder", p.other],
        6,
        r"not the encoder that the index was built with",
    ),
    "no index": (lambda p: ["search", p.tmp / "none", "alpha"], 4, r"none"),
    "unknown field": (lambda p: ["search", p.dense, "alpha", "--fields", "body"], 2, r"'body'.*title"),
    "bad k": (lambda p: ["search", p.dense, "alpha", "-k", "0"], 2, r"k must be .*0"),
    "empty query": (lambda p: ["search", p.dense, " "], 2, r"query is empty"),
    "unknown document": (lambda p: ["explain", p.dense, "d9", "alpha"], 8, r"'d9'"),
    "nothing to serve": (lambda p: ["serve"], 2, r"nothing to serve"),
    "serve no index": (lambda p: ["serve", p.tmp / "none"], 4, r"none"),
    "serve one name twice": (lambda p: ["serve", p.dense, p.dense], 2, r"'dense'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input(kind: str, place: Place, run: Run) -> None:
    case, code, message = BAD[kind]
    arguments = case(place)
    before = sorted(place.tmp.iterdir())
    done = run(*arguments)
    assert done.exit_code == code, done.err
    assert re.match(r"error: .*(" + message + ")", done.err), done.err
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    assert done.out == ""
    assert sorted(place.tmp.iterdir()) == before


@pytest.mark.parametrize("name", ["bad JSON", "no index"])
def test_bad_input_as_json(name: str, place: Place, run: Run) -> None:
    case, code, message = BAD[name]
    done = run(*case(place), "--json")
    assert done.exit_code == code
    assert re.search(message, done.json["error"]["message"])


def test_skip_counts_and_names(place: Place, run: Run) -> None:
    source = place.lines(GOOD, GOOD, {"_id": "b", "text": ""}, {"_id": "c", "text": "gamma"})
    done = run(*place.build(source, "--on-error", "skip"))
    assert done.exit_code == 0
    assert "2 documents" in done.out
    assert "skipped 2 documents" in done.err
    assert "docs.jsonl:2: duplicate id 'a'" in done.err
    assert "docs.jsonl:3: " in done.err


def test_damage_is_found(place: Place, run: Run) -> None:
    index = _copy(place)
    largest = max((index / "segments").rglob("*.*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.chmod(0o644)
    largest.write_bytes(content)
    done = run("verify", index, "--json")
    assert done.exit_code == 5
    assert done.json["ok"] is False
    assert any(largest.name in problem for problem in done.json["problems"])
    human = run("verify", index)
    assert human.exit_code == 5
    assert largest.name in human.out
    assert "damaged, " in human.out


def _copy(place: Place) -> Path:
    index = place.tmp / "copy"
    shutil.copytree(place.dense, index)
    return index


def test_newer_format_is_refused(place: Place, run: Run) -> None:
    index = _copy(place)
    with closing(sqlite3.connect(index / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("UPDATE meta SET value = '99' WHERE key = 'format_version'")
    done = run("search", index, "alpha")
    assert done.exit_code == 4
    assert "99" in done.err
    assert done.err.count("\n") == 1


def test_locked_index_is_refused(place: Place, run: Run) -> None:
    index = _copy(place)
    source = place.lines({"_id": "new", "text": "gamma"})
    with writer_lock(index):
        done = run("add", index, source)
    assert done.exit_code == 4
    assert str(index) in done.err
    assert run("add", index, source).exit_code == 0
