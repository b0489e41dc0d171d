"""Readers in other processes never see half a commit; see `tests.crash.reading` for more."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from retrieval.types import Hit
from tests.crash.reading import PARTS, batch, campaign, check_batches


def test_readers_never_see_half_a_commit(tmp_path: Path) -> None:
    seed = int(os.environ.get("RETRIEVAL_TEST_SEED", "1"))
    print("seed", seed)
    done = campaign(tmp_path / "i", 15, seed)
    assert done["readers"]["searches"] > 100 and done["readers"]["generations"] > 10
    assert done["writer"]["trainings"] > 0 and done["readers"]["probed"] > 10
    assert done["generation"] > 30 and done["writer"]["put"] > 10


def test_half_a_commit_would_be_noticed() -> None:
    old, new = (
        [Hit(d.id, 1.0, d.title, d.text, d.metadata) for d in batch(1, stamp, random.Random(stamp))]
        for stamp in (1, 2)
    )
    check_batches(old)
    for wrong in (old[1:], old[:1] + new[1:], old + new, old[: PARTS - 1] + old[:1]):
        with pytest.raises(AssertionError):
            check_batches(wrong)
