from __future__ import annotations

from pathlib import Path

import pytest

from retrieval import Document, Engine, IndexConfig, RecipeConfig, recipe_of
from retrieval.training import advice
from tests.encoders import HashingDense


def documents(start: int, stop: int) -> list[Document]:
    return [Document(id=str(i), text=f"study {i} of {i % 7} wings") for i in range(start, stop)]


@pytest.fixture
def engine(tmp_path: Path):
    config = IndexConfig.of(recipe=recipe_of("fast", None), precision="int8")
    with Engine.create(tmp_path / "index", HashingDense(), config=config) as engine:
        engine.add(documents(0, 100))
        yield engine


def test_what_waits_to_be_trained_is_told_until_it_is(engine):
    info = engine.inspect()
    assert info.config["precision"] == "int8"
    assert info.config["recipe"]["index"] == "ivf"
    first, second = advice(info)
    assert "index=ivf is not trained yet" in first
    assert "float16 and not yet int8" in second
    engine.compact()
    assert not any("yet" in told for told in advice(engine.inspect()))


def test_growth_and_deleted_documents_are_told(engine):
    engine.compact(recipe=recipe_of("accurate", ["bits=8"]))
    assert advice(engine.inspect()) == []
    engine.add(documents(100, 200))
    engine.flush()
    (told,) = [one for one in advice(engine.inspect()) if "were cut off" not in one]
    assert "measured on 100 documents and there are 200" in told
    engine.delete([str(i) for i in range(0, 120)])
    assert advice(engine.inspect())[-1] == "120 deleted documents still take room: compact gives it back"


def test_numbers_beyond_the_calibration_are_counted_and_told(engine):
    engine.compact(recipe=RecipeConfig())
    assert engine.inspect().clipped is None  # nothing was added since
    engine.add([Document("new", "a text of other words")])
    shared = engine.inspect().clipped
    assert shared is not None and 0 < shared < 1
    engine.add([Document(f"more {i}", f"some other words {i}") for i in range(1500)])  # at once into segments
    assert shared != engine.inspect().clipped > 0.01
    assert any("were cut off" in told for told in advice(engine.inspect()))
    engine.compact(retrain=True)
    engine.compact("float16")
    assert engine.inspect().clipped is None


def test_a_recipe_that_misses_its_target_is_told(engine):
    engine.compact("float32", recipe=recipe_of("fast", {"reduce": "pca:2", "recall_target": 1.0}))
    told = [each for each in advice(engine.inspect()) if "its target is 1.0" in each]
    assert len(told) <= 1
    assert all("--" not in each for each in told)
