"""The benchmark over collections: its table, its JSON, its exit codes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import bench.beir
from bench.machine import describe_machine
from retrieval.config import EncoderConfig
from retrieval.errors import EncoderError
from retrieval.types import FloatArray

pytest.importorskip("pytrec_eval")


class Hashing:
    kind, metric, dim = "dense", "cosine", 64

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config

    def fingerprint(self) -> dict[str, Any]:
        return self.config.model_dump()

    def encode_document(self, texts: Sequence[str], *, progress: object = None) -> FloatArray:
        rows = [np.random.default_rng(zlib.crc32(text.split()[0].encode())).normal(size=64) for text in texts]
        return np.array(rows, dtype=np.float32)

    encode_query = encode_document


def load(config: EncoderConfig, runtime: object) -> Hashing:
    if config.name == "broken":
        raise EncoderError("no encoder named broken")
    return Hashing(config)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench.beir, "load_encoder", load)
    folder = tmp_path / "mini"
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": f"d{i}", "text": f"word{i}", "metadata": {"lang": "en" if i < 2 else "de"}} for i in range(4)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in corpus))
    (folder / "queries.jsonl").write_text('{"_id": "q0", "text": "word0"}\n{"_id": "q3", "text": "word3"}\n')
    (folder / "qrels" / "test.tsv").write_text("q0\td0\t1\nq3\td3\t1\n")
    return folder


def run(*arguments: object) -> Any:
    return CliRunner().invoke(bench.beir.app, [str(argument) for argument in arguments])


def test_every_encoder_on_every_collection_with_the_machine(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run(folder, "--encoder", "one", "--encoder", "two", "--json", out, "--measure", "RR@10")
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert [(r["dataset"], r["encoder"], r["measures"]) for r in report["results"]] == [
        ("mini", "one", {"MRR@10": 1.0}),
        ("mini", "two", {"MRR@10": 1.0}),
    ]
    assert report["failures"] == []
    assert {"cpu", "cpus", "ram_gib", "python", "libraries", "threads"} <= report["machine"].keys()
    assert "1.0000" in done.output
    assert "MRR@10" in done.output


def test_what_cannot_be_read_is_told_and_the_rest_is_done(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run(tmp_path / "nowhere", folder, "--encoder", "broken", "--encoder", "one", "--json", out)
    assert done.exit_code == 1
    assert "skipped nowhere with one" in done.stderr
    assert "no encoder named broken" in done.stderr
    report = json.loads(out.read_text())
    assert len(report["results"]) == 1
    assert [failure["encoder"] for failure in report["failures"]] == ["broken", "one"]


def test_indexes_are_kept_apart_by_filter_and_used_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    kept = ["--encoder", "one", "--index-root", tmp_path / "kept", "--json", out]
    seen = []
    for extra in ([], ["--where", "lang=en"], []):
        assert run(folder, *kept, *extra).exit_code == 0
        (result,) = json.loads(out.read_text())["results"]
        missing = result["judgements"]["documents_not_in_index"]
        seen.append((result["index"]["documents"], result["index"]["reused"], missing))
    assert seen == [(4, False, 0), (2, False, 1), (4, True, 0)]


@pytest.mark.parametrize("bad", [["--measure", "nope"], ["--where", "lang"], ["--precision", "int3"]])
def test_a_bad_option_is_one_line_and_exit_code_two(folder: Path, bad: list[str]) -> None:
    done = run(folder, "--encoder", "one", *bad)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert bad[1] in done.stderr


def test_the_machine_is_plain_json() -> None:
    machine = describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert machine["libraries"]["numpy"] == np.__version__
    assert machine["cpus"] >= 1


def test_with_words_each_encoder_comes_twice(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("Stemmer")
    out = tmp_path / "out.json"
    done = run(folder, "--encoder", "one", "--hybrid", "--json", out, "--measure", "RR@10")
    assert done.exit_code == 0, done.output
    alone, both = json.loads(out.read_text())["results"]
    assert (alone["encoder"], both["encoder"]) == ("one", "one + BM25")
    assert both["index"]["reused"] and not alone["index"]["reused"]
    assert both["measures"] == {"MRR@10": 1.0}
