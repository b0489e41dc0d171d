"""What can be derived from stored documents is derived again; what cannot is named."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from retrieval import Engine, IndexConfig, RuntimeConfig, repair_index, verify_index
from retrieval.errors import (
    EncoderError,
    EncoderMismatchError,
    IndexDamagedError,
    IndexLockedError,
    IndexNotFoundError,
    IndexUnfinishedError,
)
from retrieval.storage import writer_lock
from tests.crash.damage import MANUAL, document, make
from tests.encoders import BucketDense, HashingDense, HashingLate


@pytest.fixture(params=[HashingDense(16), HashingLate(16)], ids=["dense", "late"])
def encoder(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def index(encoder: Any, tmp_path: Path) -> Path:
    make(tmp_path / "i", encoder)
    return tmp_path / "i"


def seen(index: Path, encoder: Any) -> list[Any]:
    with Engine.open(index, encoder, runtime=MANUAL) as engine:
        return [
            [(hit.id, hit.score, hit.title, hit.text, hit.metadata) for hit in engine.search(query, 500)]
            for query in ("alpha beta", "kappa")
        ]


def break_file(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
@pytest.mark.parametrize("name", ["codes.bin", "offsets.bin", "births.bin"])
def test_derived_files_are_made_again(index: Path, encoder: Any, name: str, how: str) -> None:
    expected = seen(index, encoder)
    damaged = sorted(index.glob(f"segments/*/{name}"))
    for path in damaged:
        break_file(path, how)
    assert len(verify_index(index).problems) == len(damaged) > 0
    progress: list[tuple[int, int]] = []
    report = repair_index(index, encoder, progress=lambda *now: progress.append(now))
    assert (report.segments, report.lost, report.dropped) == (len(damaged), (), False)
    assert progress == sorted(progress) and progress[-1][0] == report.documents <= progress[-1][1]
    assert verify_index(index).problems == ()
    assert seen(index, encoder) == expected
    assert not any(path.parent.exists() for path in damaged)
    with Engine.open(index, encoder, runtime=MANUAL) as engine:  # births are right: all goes on
        engine.delete(["d002", "d105"])
        engine.upsert([document(4, 9), document(500)])
        engine.compact()
        assert engine.verify().ok and engine.get("d004").title == "title 9"


def test_a_whole_index_is_left_alone(index: Path) -> None:
    before = sorted(index.rglob("*.*"))
    with Engine.open(index) as engine:
        generation = engine.inspect().generation
    report = repair_index(index)  # without the encoder: there is nothing to encode
    assert (report.segments, report.documents, report.lost) == (0, 0, ())
    with Engine.open(index) as engine:
        assert engine.inspect().generation == generation
    assert {path for path in before if path.suffix in (".bin", ".arrow")} <= set(index.rglob("*.*"))


def test_lost_documents_are_named_and_dropped_on_request(index: Path, encoder: Any) -> None:
    expected = seen(index, encoder)
    path = sorted(index.glob("segments/*/documents.arrow"))[-1]
    other = sorted(index.glob("segments/*/codes.bin"))[0]
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        query = "SELECT doc_id FROM documents NATURAL JOIN origins WHERE segment = ?"
        ids = {row[0] for row in connection.execute(query, (int(path.parent.name),))}
    connection.close()
    break_file(path, "flip")
    break_file(other, "flip")
    report = repair_index(index, encoder)
    (lost,) = report.lost
    assert report.segments == 1 and not report.dropped
    assert str(path) in lost.problem and set(lost.ids) == ids and len(lost.ids) == len(ids) > 0
    assert [str(path) in problem for problem in verify_index(index).problems] == [True]
    with Engine.open(index, encoder, skip_damaged=True) as engine:
        assert {hit.id for hit in engine.search("alpha", 500)}.isdisjoint(ids)
    again = repair_index(index, encoder, drop_lost=True)
    assert again.dropped and again.lost == (lost,) and again.segments == 0
    assert verify_index(index).problems == () and not path.exists()
    assert seen(index, encoder) == [[hit for hit in hits if hit[0] not in ids] for hits in expected]
    with Engine.open(index, encoder, runtime=MANUAL) as engine:
        assert engine.upsert([document(int(next(iter(ids))[1:]))]).replaced == 0


def test_a_segment_of_deleted_documents_needs_no_encoder(tmp_path: Path) -> None:
    Engine.build(
        tmp_path / "i", map(document, range(6)), BucketDense(), config=IndexConfig.of(segment_documents=3)
    )
    with Engine.open(tmp_path / "i", BucketDense(), runtime=MANUAL) as engine:
        engine.delete(["d000", "d001", "d002"])
    break_file(tmp_path / "i" / "segments" / "00000001" / "codes.bin", "flip")
    assert repair_index(tmp_path / "i").documents == 0
    assert verify_index(tmp_path / "i").ok
    with Engine.open(tmp_path / "i") as engine:
        assert len(engine) == 3 and engine.inspect().segments == 1


def test_what_is_refused(index: Path, encoder: Any, tmp_path: Path) -> None:
    break_file(sorted(index.glob("segments/*/codes.bin"))[0], "flip")
    with pytest.raises(EncoderMismatchError):
        repair_index(index, BucketDense())
    with pytest.raises(EncoderError, match="class of its own"):
        repair_index(index)
    with writer_lock(index), pytest.raises(IndexLockedError):
        repair_index(index, encoder)
    with pytest.raises(IndexNotFoundError):
        repair_index(tmp_path / "none", encoder)
    unfinished = shutil.copytree(index, tmp_path / "unfinished")
    with sqlite3.connect(unfinished / "catalog.sqlite") as connection:
        connection.execute("""UPDATE meta SET value = '{"complete": false}' WHERE key = 'build'""")
    connection.close()
    with pytest.raises(IndexUnfinishedError):
        repair_index(unfinished, encoder)
    for change in (
        "UPDATE segments SET max_norm = 0",
        "UPDATE tombstones SET generation = generation + 1",
        "UPDATE pending SET sha256 = ''",
        "UPDATE meta SET value = '{}' WHERE key = 'fields'",
    ):
        copy = shutil.copytree(index, tmp_path / change[:24].replace(" ", "-"))
        with sqlite3.connect(copy / "catalog.sqlite") as connection:
            connection.execute(change)
        connection.close()
        with pytest.raises(IndexDamagedError, match="restore the index from a copy"):
            repair_index(copy, encoder, drop_lost=True)


def test_readers_keep_what_they_see(index: Path, encoder: Any) -> None:
    with Engine.open(index, encoder, runtime=RuntimeConfig.of()) as reader:
        before = reader.search("alpha", 500).hits
        break_file(sorted(index.glob("segments/*/births.bin"))[0], "remove")
        repair_index(index, encoder)
        assert reader.search("alpha", 500).hits == before
