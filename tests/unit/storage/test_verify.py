"""Verify beside a merge: a segment that is taken away while it is looked at is no damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retrieval import Document, Engine, RuntimeConfig, verify_index
from retrieval.storage import verify
from tests.encoders import HashingDense


@pytest.mark.parametrize("step", ["file_problems", "SegmentReader"])
def test_a_segment_that_is_merged_away_meanwhile_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    runtime = RuntimeConfig.of(maintenance="manual")
    with Engine.create(tmp_path / "i", HashingDense(), runtime=runtime) as engine:
        for n in range(2):
            engine.add([Document(f"d{n}", "alpha")])
            engine.flush()
        looked_at = getattr(verify, step)

        def after_a_merge(*arguments: Any) -> Any:
            engine.compact()
            return looked_at(*arguments)

        monkeypatch.setattr(verify, step, after_a_merge)
        assert verify_index(tmp_path / "i").problems == ()
        monkeypatch.undo()
        assert verify_index(tmp_path / "i").ok and engine.inspect().segments == 1


def test_a_segment_that_is_lost_is_a_problem(tmp_path: Path) -> None:
    with Engine.create(tmp_path / "i", HashingDense()) as engine:
        engine.add([Document("a", "alpha")])
        engine.flush()
    (lost,) = (tmp_path / "i" / "segments").rglob("documents.arrow")
    lost.unlink()
    (problem,) = verify_index(tmp_path / "i").problems
    assert str(lost) in problem
