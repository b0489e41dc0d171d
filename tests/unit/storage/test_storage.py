"""Damage is found and named; versions are checked; paths stay inside; read-only media work."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest

from retrieval import Document, Engine, IndexConfig, verify_index
from retrieval.errors import IndexDamagedError, IndexFormatError, RetrievalError
from retrieval.storage import Catalog
from retrieval.storage.files import HashingFile, hash_file, inside, map_array
from tests.encoders import HashingDense, HashingLate

DOCS = [Document(f"d{i}", f"alpha beta {i}", "title", {"n": i}) for i in range(60)]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    Engine.build(tmp_path / "i", DOCS, HashingLate(), config=IndexConfig.of(segment_documents=20))
    return tmp_path / "i"


def files(index: Path) -> list[Path]:
    return sorted(path for path in (index / "segments").rglob("*") if path.is_file())


def test_every_flipped_bit_is_found(index: Path) -> None:
    rng = random.Random(3)
    for path in files(index):
        good = path.read_bytes()
        for _ in range(4):
            bad = bytearray(good)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            with Engine.open(index, HashingLate()) as engine:
                problems = engine.verify().problems
            assert len(problems) == 1 and str(path) in problems[0]
        path.write_bytes(good)
    with Engine.open(index, HashingLate()) as engine:
        assert engine.verify().ok


@pytest.mark.parametrize("cut", [0, 1, 17])
def test_truncation_is_found_at_open_and_by_verify(index: Path, cut: int) -> None:
    for path in files(index):
        good = path.read_bytes()
        path.write_bytes(good[:cut])
        with Engine.open(index, HashingLate()) as engine:
            assert str(path) in engine.verify().problems[0]
            with pytest.raises(IndexDamagedError, match=path.name):
                engine.search("alpha")
        path.write_bytes(good)


def test_a_missing_file_is_named(index: Path) -> None:
    files(index)[0].unlink()
    with Engine.open(index, HashingLate()) as engine, pytest.raises(IndexDamagedError, match="is missing"):
        engine.search("alpha")


def execute(index: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(index / "catalog.sqlite")
    connection.execute(sql, values)
    connection.commit()
    connection.close()


def test_a_catalog_that_lies_is_found(index: Path) -> None:
    execute(index, "UPDATE documents SET ordinal = 99 WHERE doc_id = 'd3'")
    with Engine.open(index, HashingLate()) as engine:
        assert engine.verify().problems == (
            "segment 1: document 'd3' is not where the catalog says; restore the index from a copy",
        )


@pytest.mark.parametrize(
    "junk", [b"not a database at all, whatever it says" * 20, b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_a_broken_catalog_is_an_error_not_a_traceback(index: Path, junk: bytes) -> None:
    for extra in index.glob("catalog.sqlite-*"):
        extra.unlink()
    (index / "catalog.sqlite").write_bytes(junk)
    with pytest.raises(IndexDamagedError, match=r"catalog\.sqlite"):
        Engine.open(index)
    with pytest.raises(RetrievalError):
        Engine.build(index, DOCS, HashingLate(), resume=True)
    assert (index / "catalog.sqlite").read_bytes() == junk, "a damaged catalog is never overwritten"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE segments SET max_norm = 0",
        "UPDATE segments SET skipped = 7 WHERE segment = 2",
        "UPDATE codecs SET config = '{}'",
        "UPDATE codecs SET metric = 'dot'",
        """UPDATE meta SET value = '{"n":"string"}' WHERE key = 'fields'""",
        "UPDATE files SET name = 'other' WHERE name = 'codes'",
        "DELETE FROM documents WHERE doc_id = 'd3'",
        "UPDATE documents SET doc_id = 'd9999' WHERE doc_id = 'd3'",
    ],
)
def test_every_changed_row_of_the_catalog_is_found(index: Path, change: str) -> None:
    assert verify_index(index).ok
    execute(index, change)
    assert not verify_index(index).ok


def test_a_flipped_bit_anywhere_in_the_catalog_gives_no_traceback(index: Path) -> None:
    rng = random.Random(4)
    path = index / "catalog.sqlite"
    good = path.read_bytes()
    with Engine.open(index, HashingLate()) as engine:
        expected = [hit.id for hit in engine.search("alpha 7")]
    for _ in range(150):
        for extra in index.glob("catalog.sqlite-*"):
            extra.unlink()
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            if verify_index(index).ok:  # unused bytes of a page, or a time: then all must work
                with Engine.open(index, HashingLate()) as engine:
                    assert [hit.id for hit in engine.search("alpha 7")] == expected
        except RetrievalError:
            pass


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_open_segments_hold_no_file_descriptors(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", DOCS, HashingLate(), config=IndexConfig.of(segment_documents=1))
    before = open_descriptors()
    with Engine.open(tmp_path / "i", HashingLate()) as engine:
        engine.search("alpha")
        assert open_descriptors() - before < 10


def test_a_reader_without_write_permission_sees_later_commits(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", DOCS, HashingLate())
    uri = f"{(tmp_path / 'i' / 'catalog.sqlite').as_uri()}?mode=ro&immutable=1"
    catalog = Catalog(tmp_path / "i", sqlite3.connect(uri, uri=True, isolation_level=None))
    before = catalog.generation()
    with Engine.open(tmp_path / "i", HashingLate()) as engine:
        engine.add([Document("new", "omega")])
    assert catalog.generation() == before + 1
    catalog.close()


def test_segments_without_their_catalog_are_damage_not_absence(index: Path) -> None:
    (index / "catalog.sqlite").unlink()
    with pytest.raises(IndexDamagedError, match=r"catalog\.sqlite is missing"):
        Engine.open(index)


def test_somebody_elses_database_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE books (title TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for resume in (False, True):
        with pytest.raises(IndexDamagedError, match="no catalog"):
            Engine.build(tmp_path, DOCS, HashingLate(), resume=resume)
    assert path.read_bytes() == before


def test_newer_formats_and_unknown_features_are_refused_by_name(index: Path) -> None:
    execute(index, "UPDATE meta SET value = '99' WHERE key = 'format_version'")
    with pytest.raises(IndexFormatError, match="format 99"):
        Engine.open(index)
    execute(index, "UPDATE meta SET value = '1' WHERE key = 'format_version'")
    execute(index, "UPDATE meta SET value = ? WHERE key = 'required_features'", json.dumps(["wormholes"]))
    with pytest.raises(IndexFormatError, match="wormholes"):
        Engine.open(index)


def test_paths_stay_inside(index: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 168)
    for outside in ("../secret", "/etc/passwd", "segments/../../secret"):
        with pytest.raises(IndexDamagedError, match="outside the index"):
            inside(index, outside)
    execute(index, "UPDATE files SET path = '../secret' WHERE path = 'segments/00000001/offsets.bin'")
    with Catalog.open(index) as catalog:
        record = catalog.segment(1)
        assert record is not None
    execute(index, "UPDATE segments SET sha256 = ? WHERE segment = 1", record.checksum)  # a forger's work
    with Engine.open(index, HashingLate()) as engine, pytest.raises(IndexDamagedError, match="outside"):
        engine.search("alpha")


def test_arrays_round_trip(tmp_path: Path) -> None:
    for dtype, shape in (("float16", (7, 3)), ("int64", (5,)), ("float32", (0, 8))):
        array = (np.arange(int(np.prod(shape))) - 3).reshape(shape).astype(dtype)
        with HashingFile(tmp_path, "a.bin") as file:
            file.write_array(array[:2])
            file.write_array(array[2:])
            record = file.finish("a", dtype, shape)
        assert record.bytes == array.nbytes and record.sha256 == hash_file(tmp_path / "a.bin")
        mapped = map_array(tmp_path, record)
        np.testing.assert_array_equal(mapped, array)
        assert not mapped.flags.writeable or not mapped.size


def test_a_read_only_folder_can_be_read() -> None:
    """As an unprivileged process without write permission, like a read-only medium."""
    folder = Path(tempfile.mkdtemp())
    try:
        Engine.build(folder / "i", DOCS, HashingLate())
        for extra in (folder / "i").glob("catalog.sqlite-*"):
            extra.unlink()
        for path in (folder, folder / "i", *(folder / "i").rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setuid(65534)
            try:
                with Engine.open(folder / "i", HashingLate()) as engine:
                    os._exit(0 if len(engine) == 60 and engine.get("d7").text == "alpha beta 7" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        folder.chmod(0o755)
        for path in folder.rglob("*"):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_finished_index_is_its_files_alone(index: Path) -> None:
    """Nothing committed waits in a log that could be forgotten when a folder is copied."""
    with Engine.open(index, HashingLate()) as engine:
        engine.add([Document("new", "omega")])
    log = index / "catalog.sqlite-wal"
    assert not log.exists() or log.stat().st_size == 0
    own = {
        "catalog.sqlite",
        "catalog.sqlite-wal",
        "catalog.sqlite-shm",
        "segments",
        "writer.lock",
        "writer.json",
        "merge.lock",
        "add.lock",
    }
    assert {path.name for path in index.iterdir()} <= own


def test_durability_settings(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", DOCS, HashingDense())
    with Catalog.open(tmp_path / "i", write=True) as catalog:
        pragma = {
            name: catalog.rows(f"PRAGMA {name}")[0][0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_copies_of_an_index_work(index: Path, tmp_path: Path) -> None:
    index.rename(tmp_path / "moved")
    with Engine.open(tmp_path / "moved", HashingLate()) as engine:
        assert engine.verify().ok and engine.search("alpha 7", k=1)[0].id == "d7"
