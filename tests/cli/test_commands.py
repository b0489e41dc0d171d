"""Every command on a small real index, for people and for programs."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from index_tools.commands.serve import collections_of
from tests.cli.conftest import DOCUMENTS, Run, write_jsonl


@pytest.fixture
def index(tmp_path: Path, tiny_model: Path, corpus: Path, run: Run) -> Path:
    """An index of one's own, to change."""
    path = tmp_path / "index"
    assert run("build", corpus, path, "--encoder", tiny_model).exit_code == 0
    return path


def test_build(run: Run, tmp_path: Path, tiny_model: Path, corpus: Path) -> None:
    done = run("build", corpus, tmp_path / "x", "--encoder", tiny_model, "--json")
    assert done.exit_code == 0
    assert done.err == ""
    assert done.json["index"] == str(tmp_path / "x")
    assert done.json["documents"] == len(DOCUMENTS)
    assert done.json["skipped"] == 0
    human = run("build", corpus, tmp_path / "y", "--encoder", tiny_model)
    assert human.out.startswith(f"{tmp_path / 'y'}: 4 documents, 4 vectors in ")
    assert human.err == ""


def test_build_reads_settings(run: Run, tmp_path: Path, tiny_model: Path, corpus: Path) -> None:
    settings = f"encoder = {json.dumps(str(tiny_model))}\nprecision = 'float16'\nsegment_documents = 2\n"
    (tmp_path / "retrieval.toml").write_text(settings)
    assert run("build", corpus, "index", "--segment-documents", "1").exit_code == 0
    told = run("inspect", "index", "--json").json
    assert told["encoder"]["name"] == str(tiny_model)
    assert told["precision"] == "float16"
    assert told["segments"] == 4


def test_build_again_with_resume(run: Run, index: Path, tiny_model: Path, corpus: Path) -> None:
    done = run("build", corpus, index, "--encoder", tiny_model, "--resume", "--json")
    assert done.exit_code == 0
    assert done.json["resumed_documents"] == len(DOCUMENTS)


def test_interrupted_build_says_how_to_go_on(
    run: Run, tmp_path: Path, tiny_model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval import Engine

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "build", interrupted)
    done = run("build", corpus, tmp_path / "x", "--encoder", tiny_model)
    assert done.exit_code == 130
    assert done.err.startswith("error: interrupted; resume with --resume")


def test_add(run: Run, index: Path, tmp_path: Path) -> None:
    more = write_jsonl(tmp_path / "more.jsonl", [{"_id": "d5", "text": "gamma delta"}])
    done = run("add", index, more, "--json")
    assert done.exit_code == 0
    assert run("inspect", index, "--json").json["documents"] == len(DOCUMENTS) + 1
    hits = run("search", index, "gamma delta", "-k", "1", "--json").json["hits"]
    assert hits[0]["id"] == "d5"
    another = write_jsonl(tmp_path / "another.jsonl", [{"_id": "d6", "text": "beta"}])
    assert str(index) in run("add", index, another).out


def test_search_as_json(run: Run, dense_index: Path) -> None:
    done = run("search", dense_index, "zlib compress a stream of bytes", "-k", "3", "--json")
    assert done.exit_code == 0
    assert done.err == ""
    answer = done.json
    assert answer["query"] == "zlib compress a stream of bytes"
    assert len(answer["hits"]) == 3
    first = answer["hits"][0]
    assert first["id"] == "d1"
    assert first["score"] == pytest.approx(1.0, abs=1e-4)
    assert first["title"] == "zlib"
    assert first["text"] == "compress a stream of bytes"
    assert first["metadata"] == {"lang": "en", "year": 1995}
    assert answer["timings_ms"]["total"] > 0


def test_search_fields(run: Run, dense_index: Path) -> None:
    one = ("search", dense_index, "thread", "-k", "1", "--json", "--fields")
    assert set(run(*one, "title, text").json["hits"][0]) == {"id", "score", "title", "text"}
    assert set(run(*one, "none").json["hits"][0]) == {"id", "score"}


def test_search_for_people(run: Run, dense_index: Path) -> None:
    done = run("search", dense_index, "remove a file")
    lines = done.out.splitlines()
    assert lines[0].split()[0] == "1"
    assert any("lang=en · year=1995" in line for line in lines)
    assert "query:" not in done.out
    assert "\x1b" not in done.out, "a document's escape sequence reached the terminal"
    assert "query: thread" in run("search", dense_index, "thread", "file").out


def test_search_from_stdin(run: Run, dense_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("thread\n\nparse a date\n"))
    done = run("search", dense_index, "file", "-", "-k", "2", "--json")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["query"] for answer in answers] == ["file", "thread", "parse a date"]
    assert all(len(answer["hits"]) == 2 for answer in answers)


def test_explain_late(run: Run, late_index: Path) -> None:
    told = run("explain", late_index, "d1", "compress bytes", "--json").json
    assert told["id"] == "d1"
    assert sum(match["contribution"] for match in told["matches"]) == pytest.approx(told["score"], abs=1e-4)
    pieces = [match["query_token"]["text"].removeprefix("##") for match in told["matches"]]
    assert "compressbytes" in "".join(pieces)
    assert {"similarity", "contribution", "document_token", "document_position"} <= set(told["matches"][0])
    human = run("explain", late_index, "d1", "compress bytes")
    assert human.exit_code == 0
    for words in ("query token", "in context", "contribution", f"{told['score']:.4f}"):
        assert words in human.out


def test_explain_dense(run: Run, dense_index: Path) -> None:
    told = run("explain", dense_index, "d2", "thread", "--json").json
    assert len(told["matches"]) == 1
    assert run("explain", dense_index, "d2", "thread").exit_code == 0


def test_inspect(run: Run, late_index: Path) -> None:
    told = run("inspect", late_index, "--json").json
    assert told["documents"] == len(DOCUMENTS)
    assert told["tokens"] > len(DOCUMENTS)
    assert told["kind"] == "late"
    assert set(told["fields"]) == {"lang", "year"}
    assert all(count > 0 for count in told["bytes"].values())
    human = run("inspect", late_index).out
    for words in ("documents", "4 in 1 segment", "float16", "lang: ", "codes", "a document)", "kind=late"):
        assert words in human


def test_verify(run: Run, dense_index: Path) -> None:
    told = run("verify", dense_index, "--json")
    assert told.exit_code == 0
    assert told.json["ok"] is True
    assert told.json["files"] > 0
    assert run("verify", dense_index).out.startswith("ok: ")


def test_version(run: Run) -> None:
    done = run("--version")
    assert done.exit_code == 0
    assert done.out.startswith("retrieval ")


def test_serve_gives_the_server_its_settings(
    run: Run, dense_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = []
    monkeypatch.setattr("server.__main__.serve", served.append)
    monkeypatch.setenv("RETRIEVAL_SERVER_PORT", "1")
    assert run("serve", dense_index, "--port", "9123", "--device", "cpu").exit_code == 0
    [settings] = served
    assert settings.collection_paths() == {"dense": dense_index}
    assert (settings.port, settings.host, settings.device) == (9123, "127.0.0.1", "cpu")


def test_serve_without_its_extra(run: Run, dense_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "server.process", raising=False)  # it may have been imported before
    done = run("serve", dense_index)
    assert done.exit_code == 7
    assert "pip install 'retrieval-engine[server]'" in done.err


def test_eval_without_its_extra(
    run: Run, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    done = run("eval", tmp_path, "--encoder", tiny_model)
    assert done.exit_code == 7
    assert "pip install 'retrieval-engine[eval]'" in done.err


def test_names_of_served_indexes(dense_index: Path, late_index: Path) -> None:
    served = collections_of([str(dense_index), f"other={late_index}"])
    assert served == {"dense": dense_index, "other": late_index}
