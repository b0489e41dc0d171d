"""Changing an index and asking about its documents from a shell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from retrieval import verify_index
from tests.cli.conftest import Run, write_jsonl


@pytest.fixture
def index(dense_index: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dense_index, tmp_path / "i")


def test_add_replaces_on_request(run: Run, index: Path, tmp_path: Path) -> None:
    more = write_jsonl(
        tmp_path / "more.jsonl", [{"_id": "d1", "text": "a new text"}, {"_id": "d9", "text": "x"}]
    )
    assert run("add", index, more).exit_code == 3
    answer = run("add", index, more, "--upsert", "--json").json
    assert (answer["documents"], answer["replaced"]) == (2, 1)
    assert run("count", index, "--json").json["count"] == 5
    assert "(2 of them replaced)" in run("add", index, more, "--upsert").out
    hits = run("search", index, "a new text", "--json", "-k", 9).json["hits"]
    assert [hit["text"] for hit in hits if hit["id"] == "d1"] == ["a new text"]


def test_commands_keep_an_index_in_order(
    run: Run, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a thread in the background, whatever is due is done before the command ends."""
    monkeypatch.setattr("retrieval.storage.merge_policy.FACTOR", 2)
    more = write_jsonl(tmp_path / "more.jsonl", [{"_id": f"m{i}", "text": f"text {i}"} for i in range(1100)])
    assert run("add", index, more).exit_code == 0
    assert run("inspect", index, "--json").json["segments"] == 1
    assert run("delete", index, "--filter", '{"must_not": [{"has_id": []}]}').exit_code == 0
    assert run("inspect", index, "--json").json["deleted"] == 0


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["d1", "d3", "none"], {"d2", "d4"}),
        (["--filter", '{"lang": "en", "year": {"lt": 2000}}'], {"d2", "d3"}),
    ],
)
def test_delete(run: Run, index: Path, arguments: list[str], ids: set[str]) -> None:
    dry = run("delete", index, *arguments, "--dry-run", "--json").json
    assert dry == {"index": str(index), "deleted": 2, "documents": 2, "dry_run": True}
    assert run("count", index).out == "4\n"
    assert run("delete", index, *arguments).out == f"{index}: 2 documents deleted, 2 left\n"
    hits = run("search", index, "text", "--json").json["hits"]
    assert {hit["id"] for hit in hits} == ids
    assert run("delete", index, *arguments, "--json").json["deleted"] == 0
    assert verify_index(index).ok


def test_delete_says_what_it_needs(run: Run, index: Path) -> None:
    for arguments in ([], ["d1", "--filter", "{}"]):
        outcome = run("delete", index, *arguments)
        assert outcome.exit_code == 2 and "either" in outcome.err
    outcome = run("delete", index, "--filter", '{"yaer": 1}')
    assert outcome.exit_code == 2 and "yaer" in outcome.err
    for arguments in (["--filter", "{}"], ["--filter", '{"must": []}', "--dry-run"], ["d1", "\udcff"]):
        outcome = run("delete", index, *arguments)
        assert outcome.exit_code == 2 and outcome.err.count("\n") == 1
        assert "on purpose" in outcome.err or "is not valid Unicode" in outcome.err
    assert run("count", index).out == "4\n"


def test_inspect_tells_what_waits(run: Run, index: Path, tmp_path: Path) -> None:
    run("add", index, write_jsonl(tmp_path / "more.jsonl", [{"_id": "d9", "text": "x"}]))
    run("delete", index, "d2")
    told = run("inspect", index).out
    assert "4 in 1 segment, 1 of them pending; 1 deleted still take room" in told
    assert run("compact", index, "--json").json["segments"] == 1
    values = run("inspect", index, "--json").json
    assert (values["pending"], values["deleted"], values["documents"]) == (0, 0, 4)


def test_compact_converts(run: Run, index: Path) -> None:
    answer = run("compact", index, "--precision", "float16", "--json").json
    assert answer["merges"] == 1
    assert run("inspect", index, "--json").json["precision"] == "float16"
    assert run("compact", index, "--precision", "int3").exit_code == 2
    assert verify_index(index).ok


def test_filters_and_counts(run: Run, dense_index: Path) -> None:
    english = json.dumps({"must": [{"key": "lang", "match": {"value": "en"}}]})
    hits = run("search", dense_index, "text", "--filter", english, "--json").json["hits"]
    assert {hit["id"] for hit in hits} == {"d1", "d2", "d4"}
    assert run("count", dense_index, "--filter", english).out == "3\n"
    assert run("count", dense_index, "--filter", english, "--json").json["count"] == 3
    facets = run("facets", dense_index, "lang", "--json").json
    assert facets["values"] == [{"value": "en", "count": 3}, {"value": "de", "count": 1}]
    assert run("facets", dense_index, "year", "--filter", english, "--limit", 1, "--json").json["values"] == [
        {"value": 1995, "count": 1}
    ]
    assert run("facets", dense_index, "lang").out.split() == ["3", "en", "1", "de"]
    for wrong in ("{", '{"year": "x"}'):
        outcome = run("search", dense_index, "text", "--filter", wrong)
        assert outcome.exit_code == 2 and len(outcome.err.splitlines()) == 1


def test_what_is_whole_of_a_damaged_index_can_be_searched(run: Run, index: Path, tmp_path: Path) -> None:
    run("add", index, write_jsonl(tmp_path / "more.jsonl", [{"_id": "d9", "text": "whole"}]))
    codes = index / "segments" / "00000001" / "codes.bin"
    codes.write_bytes(codes.read_bytes()[:-1])
    assert run("search", index, "whole").exit_code == 5
    outcome = run("search", index, "whole", "--skip-damaged", "--json")
    assert outcome.json["partial"] is True and [hit["id"] for hit in outcome.json["hits"]] == ["d9"]
    assert "left out" in outcome.err and str(codes) in outcome.err


def test_repair(run: Run, index: Path) -> None:
    assert run("repair", index, "--json").json["segments"] == 0
    codes = index / "segments" / "00000001" / "codes.bin"
    before = run("search", index, "text", "--json").json["hits"]
    codes.write_bytes(codes.read_bytes()[:-1])
    assert run("verify", index).exit_code == 5
    assert run("repair", index, "--json").json["documents"] == 4
    after = run("search", index, "text", "--json").json["hits"]
    assert [hit["id"] for hit in after] == [hit["id"] for hit in before]
    (documents,) = index.glob("segments/*/documents.arrow")
    documents.unlink()
    outcome = run("repair", index)
    assert outcome.exit_code == 5 and "4 documents lost" in outcome.out and "d1, d2, d3, d4" in outcome.out
    outcome = run("repair", index, "--drop-lost", "--json")
    assert outcome.exit_code == 0 and outcome.json["lost"][0]["ids"] == ["d1", "d2", "d3", "d4"]
    assert verify_index(index).ok and run("count", index).out == "0\n"
