"""Copies of an index from the command line: what they say, and how they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from index_tools.main import main
from tests.cli.conftest import DOCUMENTS, Run


def documents(run: Run, index: Path) -> int:
    assert run("verify", index, "--json").json["ok"]
    return int(run("inspect", index, "--json").json["documents"])


def test_there_and_back(run: Run, dense_index: Path, tmp_path: Path) -> None:
    steps = (
        ("snapshot", dense_index, tmp_path / "snapshot"),
        ("restore", tmp_path / "snapshot", tmp_path / "restored"),
        ("export", tmp_path / "restored", tmp_path / "index.tar"),
        ("import", tmp_path / "index.tar", tmp_path / "imported"),
    )
    for command, source, target in steps:
        done = run(command, source, target, "--json")
        assert (done.exit_code, done.err) == (0, "")
        assert done.json["path"] == str(target)
        assert done.json["files"] == 4
        assert done.json["generation"] == run("inspect", dense_index, "--json").json["generation"]
        assert done.json["bytes"] > 0
    query = ("search", "zlib compress", "--json")
    for index in (tmp_path / "snapshot", tmp_path / "restored", tmp_path / "imported"):
        assert documents(run, index) == len(DOCUMENTS)
        copied, original = (run(query[0], path, *query[1:]).json["hits"] for path in (index, dense_index))
        assert copied == original


def test_for_a_person(run: Run, dense_index: Path, tmp_path: Path) -> None:
    done = run("snapshot", dense_index, "copy")
    assert done.out.startswith(f"{tmp_path / 'copy'}: generation ")
    assert "4 files, " in done.out and done.err == ""
    assert "100%" not in run("export", dense_index, "copy.tar").out


def test_progress_on_request(run: Run, dense_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index_tools.progress.LINE_EVERY_SECONDS", -1.0)
    done = run("--verbose", "snapshot", dense_index, "copy")
    assert f"copying {dense_index}: 100%" in done.err


def test_restore_in_the_place_of_another(
    run: Run, dense_index: Path, late_index: Path, tmp_path: Path
) -> None:
    assert run("restore", late_index, tmp_path / "index").exit_code == 0
    refused = run("restore", dense_index, tmp_path / "index", "--json")
    assert refused.exit_code == 4
    assert refused.json["error"]["code"] == "index_exists"
    assert run("inspect", tmp_path / "index", "--json").json["kind"] == "late"
    assert run("restore", dense_index, tmp_path / "index", "--replace").exit_code == 0
    assert run("inspect", tmp_path / "index", "--json").json["kind"] == "dense"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    assert run("restore", dense_index, tmp_path / "mine", "--replace").exit_code == 4
    assert (tmp_path / "mine" / "file").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("snapshot", "none", "copy"), 4, "no index at"),
        (("restore", "none", "copy"), 4, "to restore from"),
        (("export", "none", "copy.tar"), 4, "no index at"),
        (("import", "none.tar", "copy"), 4, "no archive at"),
        (("import", "bad.tar", "copy"), 5, "no whole export"),
        (("snapshot", "index", "index/copy"), 4, "lie in one another"),
        (("export", "index", "bad.tar"), 4, "exists already"),
        (("snapshot", "index"), 2, "TARGET"),
    ],
)
def test_failures(
    run: Run, dense_index: Path, tmp_path: Path, arguments: tuple[str, ...], exit_code: int, told: str
) -> None:
    assert main(["snapshot", str(dense_index), "index"]) == 0
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    done = run(*arguments)
    assert done.exit_code == exit_code
    assert done.err.startswith("error: ") and told in done.err and done.err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"index", "bad.tar"}


def test_damage_is_not_copied(run: Run, dense_index: Path, tmp_path: Path) -> None:
    assert run("restore", dense_index, "index").exit_code == 0
    codes = next((tmp_path / "index" / "segments").rglob("codes.bin"))
    codes.write_bytes(bytes(codes.stat().st_size))
    for command in ("snapshot", "restore", "export"):
        done = run(command, "index", "copy", "--json")
        assert done.exit_code == 5
        assert str(codes) in done.json["error"]["message"]
        assert not (tmp_path / "copy").exists()
