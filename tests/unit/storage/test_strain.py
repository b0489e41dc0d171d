"""How badly tokens fit their centroids is advice: damage to it stops nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval import (
    Document,
    Engine,
    IndexConfig,
    RecipeConfig,
    RuntimeConfig,
    inspect_index,
    repair_index,
    verify_index,
)
from tests.encoders import HashingLate

MANUAL = RuntimeConfig.of(maintenance="manual")
PROBED = {"nprobe": 4, "num_candidates": 30, "num_scored": 30}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strain") / "index"
    recipe = RecipeConfig.of(index="tokens", codec="none", ncentroids=8, held_out=8)
    given = [Document(f"d{i}", f"word{i % 7} word{i % 11} other{i}") for i in range(40)]
    Engine.build(folder, given, HashingLate(8), config=IndexConfig.of(recipe=recipe), runtime=MANUAL)
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def blur(path: Path) -> None:
    path.write_bytes(b"\xff" * len(path.read_bytes()))  # no number


def answers(index: Path, **given: bool) -> list[tuple[str, float]]:
    with Engine.open(index, HashingLate(8), runtime=MANUAL, **given) as engine:
        found = engine.search("word3 word5", 10, fields=(), params=PROBED, explain="plan")
        assert found.plan is not None and set(found.plan["segments"]) == {"probe"}
        return [(hit.id, hit.score) for hit in found]


@pytest.mark.parametrize("damage", [Path.unlink, cut, blur])
def test_searches_go_on_until_it_is_made_again(index: Path, damage: Callable[[Path], object]) -> None:
    (path,) = index.glob("segments/*/arranged-strain.bin")
    expected, strain = answers(index), inspect_index(index).strain
    assert strain is not None
    damage(path)
    assert answers(index) == answers(index, skip_damaged=True) == expected
    assert inspect_index(index).strain is None
    (problem,) = verify_index(index).problems
    assert str(path) in problem
    report = repair_index(index, HashingLate(8))
    assert (report.segments, report.documents, report.lost) == (1, 0, ())
    assert verify_index(index).ok and inspect_index(index).strain == strain


def test_merges_need_nothing_that_is_arranged_again(index: Path) -> None:
    with Engine.open(index, HashingLate(8), runtime=MANUAL) as engine:
        engine.add([Document("more", "word3 more")])
        (path,) = index.glob("segments/*/arranged-strain.bin")
        path.unlink()
        engine.compact()
        assert engine.verify().ok and engine.inspect().strain is not None
        engine.delete(["more"])
        engine.compact()
