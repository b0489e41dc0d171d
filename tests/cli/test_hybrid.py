"""Hybrid search and its evaluation from a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import DOCUMENTS, Run, write_jsonl
from tests.cli.test_eval import collection

pytest.importorskip("Stemmer")
__all__ = ["collection"]


def test_words_find_what_the_model_does_not(run: Run, late_index: Path, dense_index: Path) -> None:
    alone = ["search", late_index, "threads waiting", "-k", 2, "--json", "--plan"]
    for more in (["--hybrid"], ["--hybrid", "--hybrid-dense", dense_index, "--fuse", "rrf"]):
        done = run(*alone, *more)
        assert done.exit_code == 0, done.err
        assert done.json["hits"][0]["id"] == "d2"  # the only one with a stem of the query
        plan = done.json["plan"]
        assert plan["generators"]["bm25"]["found"] == 1
        assert ("dense" in plan["generators"]) == (len(more) > 1)
        assert plan["hits"][0]["bm25"] == 1
    assert run(*alone).json["plan"].get("generators") is None


def test_the_engine_may_keep_the_score(run: Run, late_index: Path, dense_index: Path) -> None:
    query = ["search", late_index, "wait for a date", "--json"]
    both = run(*query, "--hybrid-dense", dense_index, "--fuse", "engine")
    assert both.exit_code == 0, both.err
    assert both.json["hits"] == run(*query).json["hits"]


def test_words_as_they_are_written(run: Run, late_index: Path) -> None:
    query = ["search", late_index, "threads waiting", "--hybrid", "--json", "--plan"]
    assert run(*query, "--stemmer", "none").json["plan"]["generators"]["bm25"]["found"] == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fuse", "rrf"], "add --hybrid or --hybrid-dense"),
        (["--stemmer", "german"], "--stemmer is for BM25; add --hybrid"),
        (["--hybrid", "--fuse", "sum"], "fuse='sum' is not known; there are: rrf"),
        (["--hybrid", "--stemmer", "klingon"], "language='klingon' is not known"),
        (["--hybrid-dense", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be(run: Run, late_index: Path, options: list[str], told: str) -> None:
    done = run("search", late_index, "thread", *options)
    assert done.exit_code != 0
    assert told in done.err


def test_eval_tells_what_answered(run: Run, collection: Path, tiny_model: Path, tmp_path: Path) -> None:
    done = run("eval", collection, "--encoder", tiny_model, "--index", tmp_path / "i", "--hybrid", "--json")
    assert done.exit_code == 0, done.err
    assert done.json["encoder"].endswith(" + BM25")
    assert done.json["measures"]["nDCG@10"] == pytest.approx(1.0)
    assert done.json["times"]["query_encode_seconds"] > 0
    corpus = write_jsonl(tmp_path / "docs.jsonl", DOCUMENTS)
    assert run("build", corpus, tmp_path / "second", "--encoder", tiny_model).exit_code == 0
    dense = ["--index", tmp_path / "i", "--hybrid-dense", tmp_path / "second"]
    told = run("eval", collection, "--encoder", tiny_model, *dense).out
    assert " + second: 3 queries" in told
