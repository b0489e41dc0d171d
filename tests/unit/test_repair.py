"""What can be derived from stored documents is derived again; what cannot is named."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import Engine, IndexConfig, RuntimeConfig, inspect_index, repair_index, verify_index
from retrieval.errors import (
    ConfigError,
    EncoderError,
    EncoderMismatchError,
    IndexDamagedError,
    IndexLockedError,
    IndexNotFoundError,
    IndexUnfinishedError,
)
from retrieval.storage import writer_lock
from tests.crash.damage import MANUAL, TRAINED, answers, config_of, document, make
from tests.crash.forging import arrays_of, forge
from tests.crash.stored import EVERYTHING, orphans
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
    has_vectors = name == "births.bin" or (name == "offsets.bin" and encoder.kind == "dense")
    assert progress == sorted(progress) and bool(progress) is not has_vectors
    assert report.documents == (progress[-1][0] if progress else 0)
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
        "UPDATE meta SET value = '{}' WHERE key = 'fields'",
    ):
        copy = shutil.copytree(index, tmp_path / change[:24].replace(" ", "-"))
        with sqlite3.connect(copy / "catalog.sqlite") as connection:
            connection.execute(change)
        connection.close()
        with pytest.raises(IndexDamagedError, match="restore the index from a copy"):
            repair_index(copy, encoder, drop_lost=True)


def test_a_damaged_pending_commit_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    index, encoder = tmp_path / "index", BucketDense()
    with Engine.create(index, encoder, runtime=MANUAL) as engine:
        engine.add([document(0), document(1)])
        engine.flush()
        for first in (10, 20, 30):
            engine.add(document(first + i) for i in range(3))
        engine.delete(["d011", "d021"])
        engine.upsert([document(12, 7), document(22, 7)])
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        rows = [row[0] for row in connection.execute("SELECT generation FROM pending ORDER BY generation")]
        damage = "UPDATE pending SET codes = zeroblob(9), buffer = 99 WHERE generation = ?"
        connection.execute(damage, rows[1:2])
    connection.close()
    break_file(next(iter(index.glob("segments/*/codes.bin"))), "flip")
    report = repair_index(index, encoder)
    (lost,) = report.lost
    assert (report.segments, report.dropped, lost.segment, lost.ids) == (1, False, None, ("d020",))
    assert f"generation {rows[1]}" in lost.problem and "repair" in lost.problem
    with pytest.raises(IndexDamagedError):
        seen(index, encoder)
    again = repair_index(index, encoder, drop_lost=True)
    assert again.lost == (lost,) and again.dropped
    assert verify_index(index).problems == ()
    left = {"d000", "d001", "d010", "d012", "d022", "d030", "d031", "d032"}
    with Engine.open(index, encoder, runtime=MANUAL) as engine:
        assert {hit.id for hit in engine.search("alpha", 50)} == left
        assert engine.get("d012").title == "title 7"
        engine.add([document(20)])
        engine.delete(["d031"])
        engine.compact()
        assert engine.verify().ok and len(engine) == len(left)


def test_nothing_but_damaged_pending_documents(tmp_path: Path) -> None:
    with Engine.create(tmp_path / "index", BucketDense(), runtime=MANUAL) as engine:
        engine.add([document(0), document(1)])
        engine.delete(["d001"])
    with sqlite3.connect(tmp_path / "index" / "catalog.sqlite") as connection:
        connection.execute("UPDATE pending SET sha256 = ''")
    connection.close()
    report = repair_index(tmp_path / "index", drop_lost=True)
    assert report.dropped and report.lost[0].ids == ("d000",)
    assert verify_index(tmp_path / "index").ok


def test_readers_keep_what_they_see(index: Path, encoder: Any) -> None:
    with Engine.open(index, encoder, runtime=RuntimeConfig.of()) as reader:
        before = reader.search("alpha", 500).hits
        break_file(sorted(index.glob("segments/*/births.bin"))[0], "remove")
        repair_index(index, encoder)
        assert reader.search("alpha", 500).hits == before


# -- trained indexes -------------------------------------------------------------------------------


class Silent(HashingDense):
    """Refuses to encode documents: what is derived from codes needs no model."""

    def encode_document(self, texts: Any) -> Any:
        raise AssertionError("nothing is to be encoded")


@pytest.fixture(params=TRAINED)
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make(tmp_path / "t", HashingDense(16), config_of(request.param))
    return tmp_path / "t"


def all_answers(index: Path) -> list[Any]:
    with Engine.open(index, HashingDense(16), runtime=MANUAL) as engine:
        return answers(engine)


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_what_the_search_keeps_of_a_segment_is_made_again_of_its_codes(trained: Path, how: str) -> None:
    expected = all_answers(trained)
    damaged = [path for path in sorted(trained.glob("segments/*/arranged-*.bin")) if path.stat().st_size]
    before = {path: path.read_bytes() for path in trained.glob("segments/*/codes.bin")}
    for path in damaged[::2]:
        break_file(path, how)
    problems = verify_index(trained).problems
    assert len(problems) == len(damaged[::2]) and all("repair" in problem for problem in problems)
    segments = {path.parent for path in damaged[::2]}
    with Engine.open(trained, HashingDense(16), runtime=MANUAL, skip_damaged=True) as engine:
        assert answers(engine) == expected  # those segments are searched without
        assert engine.damaged == () and not engine.search("alpha").partial
    report = repair_index(trained, Silent(16))
    assert (report.segments, report.documents, report.search) == (len(segments), 0, None)
    assert verify_index(trained).problems == () and all_answers(trained) == expected
    for path, content in before.items():
        assert path.exists() == (path.parent not in segments)
        assert path.parent in segments or path.read_bytes() == content
    assert inspect_index(trained).recipe is not None and not orphans(trained)


def test_arrays_that_were_never_right_are_made_again_too(trained: Path) -> None:
    """The checksum agrees, the content does not: only opening a segment tells."""
    expected = all_answers(trained)
    for segment, file in arrays_of(trained):
        if segment is not None and file.name in ("arranged/starts", "arranged/entry", "arranged/rows"):
            forge(trained, segment, file, np.random.default_rng(1), lambda array, _: np.flip(array) + 7)
            break
    assert all_answers_or_error(trained) in (expected, "repair the index")
    repair_index(trained, Silent(16))
    assert verify_index(trained).ok


def all_answers_or_error(index: Path) -> Any:
    try:
        return all_answers(index)
    except IndexDamagedError as error:
        return "repair the index" if "repair the index" in str(error) else str(error)


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_a_search_that_is_damaged_is_dropped_and_can_be_trained_again(trained: Path, how: str) -> None:
    expected = all_answers(trained)
    damaged = sorted(trained.glob("codecs/*/pipeline-*.bin"))
    if not damaged:
        pytest.skip("nothing is trained but a number")
    break_file(damaged[0], how)
    (problem,) = verify_index(trained).problems
    assert str(damaged[0]) in problem
    with Engine.open(trained, HashingDense(16), runtime=MANUAL, skip_damaged=True) as engine:
        assert answers(engine) == expected and not engine.search("alpha").partial
    reader = Engine.open(trained, HashingDense(16), runtime=MANUAL) if how == "flip" else None
    if reader is not None:
        len(reader)  # has the old search in its hands
    precision, generation = inspect_index(trained).precision, inspect_index(trained).generation
    report = repair_index(trained, Silent(16))
    assert report.search is not None and str(damaged[0]) in report.search
    assert "compact --retrain" in report.search and report.documents == 0
    assert inspect_index(trained).generation > generation
    assert not any(path.exists() for path in damaged) and verify_index(trained).problems == ()
    assert (inspect_index(trained).recipe, inspect_index(trained).quality) == (None, None)
    assert inspect_index(trained).precision == precision and all_answers(trained) == expected
    if reader is not None:
        assert answers(reader) == expected
        reader.close()
    assert repair_index(trained, Silent(16)).search is None  # once is enough
    with Engine.open(trained, HashingDense(16), runtime=MANUAL) as engine:
        engine.add([document(number) for number in range(700, 720)])
        engine.compact()
        engine.compact(retrain=True, force=True)
        assert engine.inspect().recipe is not None and engine.verify().ok and not orphans(trained)
        plan = engine.search("alpha", params=EVERYTHING, explain="plan").plan
        assert plan is not None and plan["segments"] == {"probe": 1}


@pytest.mark.parametrize("name", ["codec-span.bin", None], ids=["damaged", "asked for"])
def test_a_calibration_is_made_again(tmp_path: Path, name: str | None) -> None:
    make(tmp_path / "t", HashingDense(16), config_of("ivf bits"))
    expected, generation = all_answers(tmp_path / "t"), inspect_index(tmp_path / "t").generation
    if name is not None:
        (path,) = tmp_path.glob(f"t/codecs/*/{name}")
        break_file(path, "flip")
        with (
            Engine.open(tmp_path / "t", HashingDense(16), runtime=MANUAL, skip_damaged=True) as engine,
            pytest.raises(IndexDamagedError, match=str(path)),
        ):
            engine.search("alpha")
    told: list[tuple[int, int]] = []
    report = repair_index(
        tmp_path / "t", HashingDense(16), recalibrate=name is None, progress=lambda *now: told.append(now)
    )
    assert report.calibration is not None and "int8" in report.calibration and report.search is None
    info = inspect_index(tmp_path / "t")
    assert report.documents == info.documents == told[-1][0] == told[-1][1] and not info.pending
    assert (info.precision, (info.recipe or {})["index"], info.generation) == ("int8", "ivf", generation + 2)
    assert verify_index(tmp_path / "t").ok and not orphans(tmp_path / "t")
    assert all_answers(tmp_path / "t")[-2:] == expected[-2:]  # the same documents
    assert repair_index(tmp_path / "t", Silent(16)).calibration is None
    encoder, query = HashingDense(16), "alpha beta"
    with Engine.open(tmp_path / "t", encoder, runtime=MANUAL) as engine:
        hits = engine.search(query, 500).hits
        assert {hit.id for hit in hits} == {doc_id for doc_id, _, _ in expected[0]}
        vectors = encoder.encode_document([query, *(f"{hit.title} {hit.text}" for hit in hits)])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        # Also those scores that the old calibration, of fewer documents, had cut off.
        np.testing.assert_allclose([hit.score for hit in hits], vectors[1:] @ vectors[0], atol=0.01)


def test_a_calibration_that_was_cut_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair killed between its two commits leaves the index whole, and vectors that are not bytes."""
    make(tmp_path / "t", HashingDense(16), config_of("ivf bits"))
    assert not repair_index(tmp_path / "t", Silent(16)).waiting

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("retrieval.reencoding.convert", killed)
        repair_index(tmp_path / "t", HashingDense(16), recalibrate=True)
    told = repair_index(tmp_path / "t", Silent(16)).waiting
    assert ["ivf is not trained yet" in told[0], "float16 and not yet int8" in told[1]] == [True, True]
    with Engine.open(tmp_path / "t", HashingDense(16), runtime=MANUAL) as engine:
        engine.compact(force=True)
        assert engine.inspect().precision == "int8" and engine.verify().ok
    assert not repair_index(tmp_path / "t", Silent(16)).waiting


def test_what_has_no_calibration_is_not_calibrated_again(tmp_path: Path) -> None:
    config = IndexConfig.of(precision="int8", recipe={"index": "ivf"})
    with Engine.create(tmp_path / "t", HashingDense(16), config=config, runtime=MANUAL) as engine:
        engine.add([document(number) for number in range(9)])
        before = engine.inspect()
    with pytest.raises(ConfigError, match=f"stored as {before.precision}, which is not calibrated"):
        repair_index(tmp_path / "t", HashingDense(16), recalibrate=True)
    assert inspect_index(tmp_path / "t").config == before.config, "what is still to be trained"


def test_a_calibration_without_all_texts_is_lost(tmp_path: Path) -> None:
    make(tmp_path / "t", HashingDense(16), config_of("ivf bits"))
    for path in (*tmp_path.glob("t/codecs/*/codec-low.bin"), *tmp_path.glob("t/segments/*/documents.arrow")):
        break_file(path, "flip")
    before = inspect_index(tmp_path / "t")
    with pytest.raises(IndexDamagedError, match=r"and not every text: .*documents\.arrow.* from a copy"):
        repair_index(tmp_path / "t", HashingDense(16), drop_lost=True)
    assert inspect_index(tmp_path / "t") == before
