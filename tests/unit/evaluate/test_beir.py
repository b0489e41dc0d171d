from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from retrieval.errors import ConfigError, DataError
from retrieval.evaluate.beir import BeirDataset, load_qrels, load_queries

QUERIES = {"q1": "first question", "q2": "second question", "q3": "never judged"}
HEADER = "query-id\tcorpus-id\tscore\n"


def write_collection(folder: Path, *, gz: bool = False) -> Path:
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": "d1", "title": "", "text": "one"}, {"_id": "d2", "title": "", "text": "two"}]
    write_lines(folder / "corpus.jsonl", documents, gz=gz)
    write_lines(folder / "queries.jsonl", [{"_id": i, "text": text} for i, text in QUERIES.items()], gz=gz)
    (folder / "qrels" / "test.tsv").write_text(HEADER + "q2\td1\t2\nq2\td2\t0\nq1\td9\t1\n")
    (folder / "qrels" / "dev.tsv").write_text(HEADER + "q1\td1\t1\n")
    return folder


def write_lines(path: Path, records: list[dict[str, str]], *, gz: bool) -> None:
    text = "".join(json.dumps(record) + "\n" for record in records)
    if gz:
        with gzip.open(f"{path}.gz", "wt", encoding="utf-8") as file:
            file.write(text)
    else:
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("gz", [False, True])
def test_a_split_holds_only_its_judged_queries(tmp_path: Path, gz: bool) -> None:
    folder = write_collection(tmp_path / "mini", gz=gz)
    dataset = BeirDataset.open(folder)
    assert dataset.name == "mini"
    assert list(dataset.queries.items()) == [("q1", "first question"), ("q2", "second question")]
    assert dataset.qrels == {"q2": {"d1": 2, "d2": 0}, "q1": {"d9": 1}}
    assert dataset.unjudged_queries == 1
    assert dataset.ignore_same_id is False
    assert dataset.corpus_path == folder / ("corpus.jsonl.gz" if gz else "corpus.jsonl")
    assert BeirDataset.open(folder, "dev").queries == {"q1": "first question"}


@pytest.mark.parametrize(
    ("name", "asked", "ignores"),
    [
        ("arguana", None, True),
        ("Quora-small", None, True),
        ("scifact", None, False),
        ("scifact", True, True),
        ("arguana", False, False),
    ],
)
def test_same_id_hits_by_name_or_on_request(
    tmp_path: Path, name: str, asked: bool | None, ignores: bool
) -> None:
    folder = write_collection(tmp_path / name)
    assert BeirDataset.open(folder, ignore_same_id=asked).ignore_same_id is ignores


def test_trec_qrels_without_header_and_ids_with_blanks_in_tsv(tmp_path: Path) -> None:
    (tmp_path / "trec.txt").write_text("q1 0 d1 2\nq1\t0\td2\t-1\n\nq2 Q0  d1   0\n")
    assert load_qrels(tmp_path / "trec.txt") == {"q1": {"d1": 2, "d2": -1}, "q2": {"d1": 0}}
    (tmp_path / "beir.tsv").write_text("﻿" + HEADER + "a query\ta document\t1\r\n", encoding="utf-8")
    assert load_qrels(tmp_path / "beir.tsv") == {"a query": {"a document": 1}}
    (tmp_path / "bare.tsv").write_text("q1\td1\t1\n")
    assert load_qrels(tmp_path / "bare.tsv") == {"q1": {"d1": 1}}


def test_a_missing_split_lists_those_there_are(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "mini")
    with gzip.open(folder / "qrels" / "train.tsv.gz", "wt") as file:
        file.write("q1 0 d1 1\n")
    with pytest.raises(ConfigError, match=r"no split 'valid'; there are: dev, test, train"):
        BeirDataset.open(folder, "valid")
    assert BeirDataset.open(folder, "train").qrels == {"q1": {"d1": 1}}


@pytest.mark.parametrize("split", ["../qrels/test", "test.tsv", ""])
def test_a_split_is_a_name_not_a_path(tmp_path: Path, split: str) -> None:
    with pytest.raises(ConfigError, match="no split"):
        BeirDataset.open(write_collection(tmp_path / "mini"), split)


def test_a_judged_query_must_have_text(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "mini")
    qrels = folder / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text() + "q8\td1\t1\n")
    with pytest.raises(
        DataError, match=r"query 'q8', judged in .*test\.tsv, is missing from .*queries\.jsonl"
    ):
        BeirDataset.open(folder)
    with (folder / "queries.jsonl").open("a") as file:
        file.write('{"_id": "q8", "text": "  "}\n')
    with pytest.raises(DataError, match=r"query 'q8'.*has no text in"):
        BeirDataset.open(folder)


def test_what_is_not_a_collection(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        BeirDataset.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no judgements"):
        BeirDataset.open(tmp_path)
    folder = write_collection(tmp_path / "mini")
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(DataError, match=r"no corpus\.jsonl"):
        _ = BeirDataset.open(folder).corpus_path
    (folder / "queries.jsonl").unlink()
    with pytest.raises(DataError, match=r"no queries\.jsonl"):
        BeirDataset.open(folder)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("q1\td2", "2 columns"),
        ("q1\td2\t1.0", "grade '1.0' is not an integer"),
        ("q1\td2\t", "grade '' is not an integer"),
        ("q1\td1\t0", "query 'q1' judges document 'd1' a second time"),
        ("\td2\t1", "an id is empty"),
        ("query-id\tcorpus-id\tscore", "grade 'score'"),
    ],
)
def test_a_bad_judgement_is_named_with_file_and_line(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(f"{HEADER}q1\td1\t1\n{line}\n")
    with pytest.raises(DataError, match=told) as error:
        load_qrels(path)
    assert error.value.where == f"{path}:3"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{oops", "not JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"text": "x"}', '"_id" is missing'),
        (b'{"_id": 7, "text": "x"}', '"_id" is 7, not a string'),
        (b'{"_id": "", "text": "x"}', '"_id" is empty'),
        (b'{"_id": "q2"}', '"text" is missing'),
        (b'{"_id": "q1", "text": "again"}', "query 'q1' comes a second time"),
        (b'{"_id": "q2", "text": "\xff"}', "not UTF-8 .byte 0xff"),
    ],
)
def test_a_bad_query_is_named_with_file_and_line(tmp_path: Path, line: bytes, told: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_bytes(b'{"_id": "q1", "text": "x"}\n' + line + b"\n")
    with pytest.raises(DataError, match=told) as error:
        load_queries(path)
    assert error.value.where == f"{path}:2"


def test_empty_and_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    with pytest.raises(DataError, match="holds no queries"):
        load_queries(tmp_path / "empty")
    with pytest.raises(DataError, match="holds no judgements"):
        load_qrels(tmp_path / "empty")
    whole = gzip.compress(b'{"_id": "q1", "text": "some text that is long enough"}\n' * 3)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz:\d+: the gzip data ends too early"):
        load_queries(tmp_path / "cut.jsonl.gz")
    (tmp_path / "not.jsonl.gz").write_text("plain")
    with pytest.raises(DataError, match="damaged"):
        load_queries(tmp_path / "not.jsonl.gz")
    with pytest.raises(DataError, match="no such file"):
        load_queries(tmp_path / "none.jsonl")
