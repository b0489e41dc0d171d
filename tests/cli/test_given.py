"""Vectors that documents and queries bring along, from a shell."""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Run, write_jsonl

VECTORS = (
    np.eye(4, dtype=np.float32)[[0, 1, 2, 0]] + np.float32(0.125) * np.arange(4, dtype=np.float32)[:, None]
)
ROWS: list[dict[str, Any]] = [{"id": f"d{i}", "text": f"text {i}", "year": i} for i in range(4)]


def parquet(path: Path) -> Path:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.ravel()), 4)
    table = pa.table(
        {"id": [row["id"] for row in ROWS], "text": [row["text"] for row in ROWS], "vector": vectors}
    )
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("form", ["jsonl", "parquet", "npy"])
def test_every_form_gives_the_same_answers(run: Run, tmp_path: Path, form: str) -> None:
    options: list[object] = []
    if form == "parquet":
        source = parquet(tmp_path / "docs.parquet")
    elif form == "jsonl":
        rows = [{**row, "vector": list(map(float, one))} for row, one in zip(ROWS, VECTORS, strict=True)]
        source = write_jsonl(tmp_path / "docs.jsonl", rows)
    else:
        source = write_jsonl(tmp_path / "docs.jsonl", ROWS)
        np.save(tmp_path / "v.npy", VECTORS)
        options = ["--vectors", tmp_path / "v.npy"]
    built = run("build", source, tmp_path / "i", "--encoder", "given", "--metric", "dot", *options)
    assert built.exit_code == 0, built.err
    facts = run("inspect", tmp_path / "i", "--json").json
    assert (facts["dim"], facts["metric"], facts["fields"]) == (
        4,
        "dot",
        {} if form == "parquet" else {"year": "int64"},
    )
    assert "bring their vectors" in run("inspect", tmp_path / "i").out
    np.save(tmp_path / "q.npy", VECTORS[2])
    answer = run("search", tmp_path / "i", "--vector", tmp_path / "q.npy", "--json", "--fields", "none").json
    expected = VECTORS @ VECTORS[2]
    assert answer["query"] == str(tmp_path / "q.npy")
    assert [(hit["id"], hit["score"]) for hit in answer["hits"]] == [
        (f"d{i}", pytest.approx(float(expected[i]), rel=1e-6)) for i in np.argsort(-expected)
    ]
    assert run("add", tmp_path / "i", source, "--upsert", *options, "--json").json["replaced"] == 4
    why = run("explain", tmp_path / "i", "d1", "--vector", tmp_path / "q.npy", "--json").json
    assert why["score"] == pytest.approx(float(expected[1]), rel=1e-6)
    assert run("explain", tmp_path / "i", "d1").exit_code == 2
    for wrong in (["text"], [], ["text", "--vector", tmp_path / "q.npy"], ["--vector", source]):
        asked = run("search", tmp_path / "i", *wrong)
        assert asked.exit_code == 2 and ("--vector" in asked.err or "NumPy" in asked.err)


def test_one_vector_a_token(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_jsonl(tmp_path / "docs.jsonl", ROWS[:2])
    np.save(tmp_path / "v.npy", VECTORS)
    np.save(tmp_path / "n.npy", np.array([1, 3]))
    files = ["--vectors", tmp_path / "v.npy", "--lengths", tmp_path / "n.npy"]
    assert run("build", source, tmp_path / "i", "--encoder", "given", *files).exit_code == 0
    facts = run("inspect", tmp_path / "i", "--json").json
    assert (facts["kind"], facts["tokens"], facts["metric"]) == ("late", 4, "maxsim")
    monkeypatch.setattr(sys, "stdin", StringIO("[[0, 0, 1, 0], [0, 1, 0, 0]]\n[1, 0, 0, 0]\n"))
    lines = run("search", tmp_path / "i", "--vector", "-", "--json").out.splitlines()
    assert [json.loads(line)["hits"][0]["id"] for line in lines] == ["d1", "d1"]
    np.save(tmp_path / "q.npy", VECTORS[:1])
    both = run(
        "search", tmp_path / "i", "text", "--hybrid", "--stemmer", "none", "--vector", tmp_path / "q.npy"
    )
    assert both.exit_code == 0, both.err


REFUSED: list[tuple[list[str], int, str]] = [
    (["--vectors", "v.npy"], 2, "add --encoder given"),
    (["--encoder", "given"], 3, "no document has vectors"),
    (["--encoder", "given", "--vectors", "few.npy"], 3, "docs.jsonl:4: few.npy has no vectors left"),
    (["--encoder", "given", "--vectors", "more.npy", "--on-error", "skip"], 3, "1 documents more"),
    (["--encoder", "given", "--vectors", "docs.jsonl"], 3, "NumPy's format"),
    (["--encoder", "given", "--lengths", "n.npy"], 2, "give that too"),
    (["--encoder", "given", "--vectors", "v.npy", "--lengths", "v.npy"], 3, "lengths are integers"),
    (["--encoder", "given", "--vectors", "v.npy", "--lengths", "n.npy"], 3, "adds up to 5 vectors"),
    (["--encoder", "given", "--vectors", "v.npy", "--metric", "maxsim"], 2, "has one of dot"),
    (["--encoder", "given", "--vectors", "v.npy", "--queries", "z.npy"], 3, "cannot read queries"),
]


@pytest.mark.parametrize(("options", "code", "told"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_go_together(run: Run, options: list[str], code: int, told: str) -> None:
    write_jsonl(Path("docs.jsonl"), ROWS)
    arrays = {"v": VECTORS, "few": VECTORS[:3], "more": np.ones((5, 4)), "n": np.array([5])}
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    np.savez("z.npz", queries=VECTORS)
    Path("z.npz").rename("z.npy")
    outcome = run("build", "docs.jsonl", "i", *options)
    assert outcome.exit_code == code and told in outcome.err.replace("\n", " "), outcome.err
    assert not Path("i").exists()


def test_an_empty_vector_says_nothing_of_the_others(run: Run, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{**ROWS[0], "vector": []}, {**ROWS[1], "vector": [1, 0]}]
    source = write_jsonl(tmp_path / "docs.jsonl", rows)
    built = run("build", source, tmp_path / "i", "--encoder", "given", "--on-error", "skip")
    assert built.exit_code == 0, built.err
    asked = run("search", tmp_path / "i", "text", "--encoder", "given")
    assert asked.exit_code != 0 and "'given' is no model" in asked.err.replace("\n", " ")
