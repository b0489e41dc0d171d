"""Masks of filters that were asked before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval import Document, Engine, Filter, GivenVectors, Match
from retrieval.errors import FilterError
from retrieval.search import accept as rooms


@pytest.fixture
def engine(tmp_path: Path):
    vectors = np.eye(4, dtype=np.float32)
    documents = [
        Document(str(i), "", metadata={"even": i % 2 == 0, "n": i}, vectors=vectors[i]) for i in range(4)
    ]
    Engine.build(tmp_path / "index", documents, GivenVectors(4))
    with Engine.open(tmp_path / "index") as engine:
        yield engine


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls: list[object] = []
    evaluate = rooms.evaluate

    def counting(checked, *rest):
        calls.append(checked)
        return evaluate(checked, *rest)

    monkeypatch.setattr(rooms, "evaluate", counting)
    return calls


def found(engine: Engine, condition: object) -> set[str]:
    return {hit.id for hit in engine.search(np.ones(4, np.float32), k=10, filter=condition)}


def test_a_filter_is_evaluated_once_in_a_snapshot(engine: Engine, evaluated: list[object]) -> None:
    assert found(engine, {"even": True}) == found(engine, Filter(must=[Match("even", True)])) == {"0", "2"}
    assert len(evaluated) == 1


def test_equal_values_of_other_types_are_other_conditions(engine: Engine) -> None:
    assert found(engine, Filter(must=[Match("n", 1)])) == {"1"}
    with pytest.raises(FilterError, match="True"):
        found(engine, Filter(must=[Match("n", True)]))


def test_a_change_is_seen_by_the_next_search(engine: Engine) -> None:
    assert found(engine, {"even": False}) == {"1", "3"}
    engine.delete(["3"])
    assert found(engine, {"even": False}) == {"1"}
    engine.add([Document("5", "", metadata={"even": False}, vectors=np.ones(4))])
    assert found(engine, {"even": False}) == {"1", "5"}


def test_few_masks_are_kept(engine: Engine, evaluated: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "KEPT_BYTES", 2 * (4 + rooms.LONGEST))  # two masks of four documents
    for n in (0, 1, 0, 2, 0, 1):  # 1 goes for 2, because 0 was asked after it
        assert found(engine, {"n": n}) == {str(n)}
    assert len(evaluated) == 4
