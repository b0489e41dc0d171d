"""An index is renamed into its place, and what a kill leaves of that is put right."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval import Document, Engine
from retrieval.copies import move_index, recover_index
from retrieval.errors import IndexExistsError, IndexFolderError, IndexLockedError, IndexNotFoundError
from retrieval.storage import writer_lock
from tests.encoders import HashingDense


def build(path: Path, n: int) -> Path:
    with Engine.create(path, HashingDense()) as engine:
        engine.add([Document(id=str(i), text=f"wing {i}") for i in range(n)])
    return path


def size(path: Path) -> int:
    with Engine.open(path, HashingDense()) as engine:
        return len(engine.search("wing", k=100))


def test_to_a_new_place(tmp_path):
    move_index(build(tmp_path / "a", 3), tmp_path / "b")
    assert size(tmp_path / "b") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_in_place_of_another_whose_readers_keep_it(tmp_path):
    source, target = build(tmp_path / "a", 3), build(tmp_path / "b", 5)
    with Engine.open(target, HashingDense()) as old:
        with pytest.raises(IndexExistsError, match="--replace"):
            move_index(source, target)
        seen = []
        move_index(source, target, replace=True, ready=lambda: seen.append(len(old)))
        assert seen == [5]
        assert len(old.search("wing", k=100)) == 5
        with pytest.raises(IndexNotFoundError):
            old.add([Document(id="x", text="y")])
    assert size(target) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_nobody_writes_between_the_last_look_and_the_rename(tmp_path):
    source, target = build(tmp_path / "a", 3), build(tmp_path / "b", 5)

    def write() -> None:
        with Engine.open(target, HashingDense()) as other, pytest.raises(IndexLockedError):
            other.add([Document(id="x", text="y")])

    move_index(source, target, replace=True, ready=write)
    assert size(target) == 3


def test_refused(tmp_path):
    source, target = build(tmp_path / "a", 3), build(tmp_path / "b", 5)
    with writer_lock(target), pytest.raises(IndexLockedError):
        move_index(source, target, replace=True)
    with pytest.raises(IndexNotFoundError):
        move_index(tmp_path / "none", target, replace=True)
    with pytest.raises(IndexFolderError, match="in one another"):
        move_index(source, source / "x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    with pytest.raises(IndexExistsError, match="not an index"):
        move_index(source, tmp_path / "other", replace=True)
    assert (size(source), size(target)) == (3, 5)


@pytest.mark.parametrize("killed_before_the_second_rename", [True, False])
def test_recovery(tmp_path, killed_before_the_second_rename):
    build(tmp_path / ".b.replaced", 5)
    if not killed_before_the_second_rename:
        build(tmp_path / "b", 3)
    recover_index(tmp_path / "b")
    assert size(tmp_path / "b") == (5 if killed_before_the_second_rename else 3)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    recover_index(tmp_path / "b")
    recover_index(tmp_path / "never")
