"""Recipes from a shell: presets, single settings, real queries, and what cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cli.conftest import Run, write_jsonl

WORDS = (
    *("river", "lamp", "north", "cup", "table", "winter", "ferry", "candle"),
    *("shelf", "dusk", "kettle", "sledge", "oar", "frost", "bread", "coin"),
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    texts = [
        " ".join(WORDS[(i * step + shift) % len(WORDS)] for step, shift in ((1, 0), (3, 1), (5, 2), (7, i)))
        for i in range(300)
    ]
    rows = [{"_id": f"d{i}", "text": f"{text} {i}"} for i, text in enumerate(texts)]
    return write_jsonl(tmp_path / "corpus.jsonl", rows)


@pytest.fixture
def index(run: Run, corpus: Path, tiny_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "i"
    outcome = run("build", corpus, path, "--encoder", tiny_model, "--force", "--preset", "fast")
    assert outcome.exit_code == 0, outcome.err
    assert "trained in" in outcome.out and "recall@10 up to" in outcome.out
    return path


def test_build_trains_and_inspect_tells(run: Run, index: Path) -> None:
    told = run("inspect", index).out
    assert "ivf 1-bit codes, recall target 0.95" in told
    facts = run("inspect", index, "--json").json
    assert facts["recipe"]["index"] == "ivf"
    assert facts["quality"]["curve"]["documents"] == 300
    assert facts["quality"]["geometry"]["documents"] == 300
    assert run("verify", index).exit_code == 0


def test_search_says_how_it_went_about_it(run: Run, index: Path) -> None:
    answer = run("search", index, "river in the north", "--plan", "--json").json
    assert answer["plan"]["accepted"] == 300
    assert {"encode", "plan", "candidates", "refine"} <= set(answer["plan"]["stages_ms"])
    exact = run("search", index, "river in the north", "--exact", "--json").json
    most = run("search", index, "river in the north", "--recall-target", "1", "--json").json
    assert exact["hits"] == most["hits"]
    assert '"codes_scanned"' in run("search", index, "river", "--plan").out


def test_compact_gives_another_recipe_and_takes_it_away(run: Run, index: Path) -> None:
    before = run("search", index, "frost", "--exact", "--json").json["hits"]
    changed = ("--set", "index=flat", "--set", "codec=sign", "--precision", "int8", "--force")
    report = run("compact", index, *changed, "--json").json
    assert report["training"]["quality"]["curve"]["nlist"] == 1
    facts = run("inspect", index, "--json").json
    assert (facts["recipe"]["codec"], facts["precision"]) == ("sign", "int8")
    retrained = run("compact", index, "--retrain", "--force")
    assert retrained.exit_code == 0 and "trained in" in retrained.out
    assert run("compact", index, "--preset", "exact", "--precision", "float32").exit_code == 0
    facts = run("inspect", index, "--json").json
    assert (facts["recipe"], facts["precision"]) == (None, "float32")
    after = run("search", index, "frost", "--json").json["hits"]
    assert len(before) == len(after)


def test_a_codec_from_a_file(run: Run, index: Path, tmp_path: Path) -> None:
    path, dim = tmp_path / "codec.safetensors", run("inspect", index, "--json").json["dim"]
    for rows, told in ((dim, None), (dim + 1, f"is of {dim + 1} dimensions"), (0, "must be centroids")):
        arrays = (
            {"rotation": np.eye(rows, dtype=np.float32), "bits": np.array([4])}
            if rows
            else {"low": np.ones(3)}
        )
        save_file(arrays, path)
        outcome = run("compact", index, "--codec", path, "--threads", "1", "--force")
        assert told is None or (
            outcome.exit_code != 0 and told in outcome.err and outcome.err.count("\n") == 1
        )
    recipe = run("inspect", index, "--json").json["recipe"]
    assert (recipe["index"], recipe["codec"], recipe["bits"]) == ("ivf", "bits", 4)
    path.write_bytes(b"PK\x03\x04 no such thing")
    assert "cannot be read as a safetensors file" in run("compact", index, "--codec", path).err


def test_real_queries_train_and_measure(run: Run, index: Path, tmp_path: Path) -> None:
    plain = tmp_path / "queries.txt"
    plain.write_text("river lamp\n\nnorth cup\nwinter ferry\ncandle\n", encoding="utf-8")
    rows = [{"text": "river lamp"}, {"query": "north cup"}, {"_id": "q", "text": "candle"}]
    for path, n in ((plain, 4), (write_jsonl(tmp_path / "queries.jsonl", rows), 3)):
        report = run("compact", index, "--retrain", "--force", "--queries", path, "--json").json
        assert report["training"]["quality"]["curve"]["queries"] == n


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "holds no queries"),
        ('{"text": ""}', ":1: no query"),
        ("{", ":1: not JSON"),
        ("[1]", ":1: no query"),
    ],
)
def test_queries_that_cannot_be_read(run: Run, index: Path, tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(content, encoding="utf-8")
    outcome = run("compact", index, "--retrain", "--queries", path)
    assert outcome.exit_code == 3 and told in outcome.err and outcome.err.count("\n") == 1
    assert run("compact", index, "--retrain", "--queries", tmp_path / "none.jsonl").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--preset", "fats"], "there is no preset 'fats'; choose from exact, fast"),
        (["--set", "bits=3"], "bits=3"),
        (["--set", "bits"], "write NAME=VALUE"),
        (["--set", "bitz=1"], "with NAME one of index, reduce"),
        (["--set", "reduce=pca"], "reduce='pca': write none, a reducer and its dimensions"),
        (["--preset", "fast", "--set", "reduce=pac:8"], "pac"),
        (["--preset", "fast", "--set", "reduce=pca:4096"], "4096"),
        (["--preset", "fast", "--set", "nlist=100000"], "100000"),
        (["--precision", "int4"], "int4"),
    ],
)
def test_what_cannot_work_is_one_line(run: Run, index: Path, arguments: list[str], told: str) -> None:
    before = run("inspect", index, "--json").json
    outcome = run("compact", index, "--force", *arguments)
    assert outcome.exit_code == 2
    assert told in outcome.err
    assert "Traceback" not in outcome.err
    after = run("inspect", index, "--json").json
    assert {**after, "bytes": None} == {**before, "bytes": None}


def test_recipes_are_for_one_vector_a_document(run: Run, corpus: Path, tiny_model: Path) -> None:
    target = corpus.parent / "late"
    late = ("--encoder", tiny_model, "--kind", "late", "--projection", "none")
    outcome = run("build", corpus, target, *late, "--preset", "fast")
    assert outcome.exit_code == 2 and "one vector a document" in outcome.err
    assert not target.exists()


def test_vectors_that_hardly_differ_are_refused(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"_id": f"d{i}", "text": "the same words"} for i in range(20)]
    same = write_jsonl(tmp_path / "same.jsonl", rows)
    outcome = run("build", same, tmp_path / "same", "--encoder", tiny_model, "--preset", "fast")
    assert outcome.exit_code == 6 and "--force" in outcome.err
    assert json.loads(run("search", tmp_path / "same", "words", "--json").out)["hits"]
    resume = run(
        "build", same, tmp_path / "same", "--encoder", tiny_model, "--preset", "fast", "--resume", "--force"
    )
    assert resume.exit_code == 0
    assert run("inspect", tmp_path / "same", "--json").json["recipe"]["index"] == "ivf"
