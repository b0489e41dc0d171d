"""``retrieval doctor``: a look at an index that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lemur learns of fewer probes in a tenth of the time."""
    monkeypatch.setattr("retrieval.reduce.lemur.PROBES", 1000)
    monkeypatch.setattr("retrieval.reduce.lemur.ANCHORS", 600)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.jsonl"
    lines = [
        json.dumps({"id": str(i), "text": f"word{i} and word{i % 7} of kind{i % 11}, by name{i // 3}"})
        for i in range(60)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("encoder", "names"), [("minilm", ["fast", "graph"]), ("minilm-late", ["tokens", "muvera"])]
)
def test_recipes_are_tried_and_the_best_is_named(
    run: Run, words: Path, tmp_path: Path, encoder: str, names: list[str]
) -> None:
    index = str(tmp_path / "index")
    assert run("build", str(words), index, "--encoder", encoder).exit_code == 0
    before = run("inspect", index, "--json").out
    told = run("doctor", index)
    assert told.exit_code == 0, told.err
    assert "mean cosine" in told.out
    for name in names:
        assert any(line.startswith(name) for line in told.out.splitlines())
    report = json.loads(run("doctor", index, "--json").out)
    assert report["chosen"] in {trial["name"] for trial in report["trials"] if trial["failed"] is None}
    assert "best: --preset" in told.out
    assert run("inspect", index, "--json").out == before


def test_what_is_not_there_is_one_line(run: Run, tmp_path: Path) -> None:
    told = run("doctor", str(tmp_path / "nothing"))
    assert told.exit_code != 0
    assert "nothing" in told.err
    assert "Traceback" not in told.err
