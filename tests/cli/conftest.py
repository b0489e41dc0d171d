"""The program run in this process, and small indexes that it built with a tiny checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from index_tools.main import main
from tests.tiny_models import save_dense

DOCUMENTS = [
    {
        "_id": "d1",
        "title": "zlib",
        "text": "compress a stream of bytes",
        "metadata": {"lang": "en", "year": 1995},
    },
    {
        "_id": "d2",
        "title": "threading",
        "text": "wait for a thread",
        "metadata": {"lang": "en", "year": 2001},
    },
    {"_id": "d3", "title": "", "text": "parse a date from text", "metadata": {"lang": "de", "year": 2003}},
    {
        "_id": "d4",
        "title": "os",
        "text": "remove a file \x1b[31mat once",
        "metadata": {"lang": "en", "year": 1999},
    },
]


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        lines = self.out.splitlines()
        assert len(lines) == 1, f"not one line of JSON: {self.out!r}"
        return json.loads(lines[0])


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from the outside: no variables, no retrieval.toml in the current folder."""
    for name in [name for name in os.environ if name.startswith("RETRIEVAL_")]:
        monkeypatch.delenv(name)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def write_jsonl(path: Path, records: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dense(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dense(tmp_path_factory.mktemp("other") / "model", seed=1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "docs.jsonl", DOCUMENTS)


@pytest.fixture(scope="session")
def dense_index(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, corpus: Path) -> Path:
    index = tmp_path_factory.mktemp("indexes") / "dense"
    assert main(["build", str(corpus), str(index), "--encoder", str(tiny_model)]) == 0
    return index


@pytest.fixture(scope="session")
def late_index(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, corpus: Path) -> Path:
    index = tmp_path_factory.mktemp("indexes") / "late"
    late = ["--encoder", str(tiny_model), "--kind", "late", "--projection", "none"]
    assert main(["build", str(corpus), str(index), *late]) == 0
    return index
