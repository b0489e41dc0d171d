"""``retrieval eval`` on a collection of a few documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import DOCUMENTS, Run, write_jsonl


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-beir"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", DOCUMENTS)
    # The queries are the documents' own words, so that each finds its document first.
    queries = [(f"q{d['_id']}", f"{d['title']} {d['text']}".strip(), d["_id"]) for d in DOCUMENTS[:3]]
    write_jsonl(folder / "queries.jsonl", [{"_id": query_id, "text": text} for query_id, text, _ in queries])
    judged = "".join(f"{query_id}\t{doc_id}\t1\n" for query_id, _, doc_id in queries)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


def test_json_is_one_object(run: Run, collection: Path, tiny_model: Path, tmp_path: Path) -> None:
    done = run("eval", collection, "--encoder", tiny_model, "--run-out", tmp_path / "run.txt", "--json")
    assert done.exit_code == 0, done.err
    assert done.err == ""
    told = done.json
    assert told["measures"] == pytest.approx({"nDCG@10": 1.0, "R@100": 1.0, "MAP": 1.0, "MRR@10": 1.0})
    assert told["dataset"] == "tiny-beir"
    assert told["queries"]["judged"] == 3
    assert told["index"]["documents"] == len(DOCUMENTS)
    assert told["times"]["build_seconds"] > 0
    first = (tmp_path / "run.txt").read_text().splitlines()[0].split()
    assert (first[0], first[2], first[3]) == ("qd1", "d1", "1")


def test_for_people(run: Run, collection: Path, tiny_model: Path) -> None:
    done = run("eval", collection, "--encoder", tiny_model, "--measure", "P@1", "--measure", "RR@5")
    assert done.exit_code == 0, done.err
    values = dict(line.split() for line in done.out.splitlines() if len(line.split()) == 2)
    assert values["P@1"] == "1.0000"
    assert values["MRR@5"] == "1.0000"
    assert "index: 4 documents" in done.out
    assert "times: " in done.out


def test_only_some_documents(run: Run, collection: Path, tiny_model: Path) -> None:
    part = ["--where", "lang=en", "--where", "year=1995", "--encoder", tiny_model]
    told = run("eval", collection, *part, "--json").json
    assert told["index"]["documents"] == 1
    assert told["judgements"]["documents_not_in_index"] == 2
    assert told["measures"]["R@100"] == pytest.approx(1 / 3)
    assert "2 judged documents are not in the index" in run("eval", collection, *part).err


def test_index_is_kept_and_used_again(run: Run, collection: Path, tiny_model: Path, tmp_path: Path) -> None:
    one = ("eval", collection, "--encoder", tiny_model, "--index", tmp_path / "kept", "--json")
    assert run(*one).json["index"]["reused"] is False
    assert run(*one).json["index"]["reused"] is True
    assert run("inspect", tmp_path / "kept", "--json").json["documents"] == len(DOCUMENTS)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--split", "train"], 2, "no split 'train'"),
        (["--measure", "nDGC@10"], 2, "unknown measure 'nDGC@10'"),
        (["--where", "lang"], 2, "'lang'"),
    ],
)
def test_bad_options(
    run: Run, collection: Path, tiny_model: Path, options: list[str], code: int, message: str
) -> None:
    done = run("eval", collection, "--encoder", tiny_model, *options)
    assert done.exit_code == code
    assert message in done.err
    assert done.err.count("\n") == 1


def test_an_existing_run_needs_no_model(run: Run, collection: Path, tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("qd1 Q0 d1 1 2.0 x\nqd2 Q0 d1 1 2.0 x\nqd2 Q0 d2 2 1.0 x\n")
    done = run("eval", collection, "--run", tmp_path / "run.txt", "--measure", "RR@10", "--json")
    assert done.exit_code == 0, done.err
    assert done.json["measures"] == pytest.approx({"MRR@10": (1 + 1 / 2 + 0) / 3})
    assert done.json["queries"]["answered"] == 2
