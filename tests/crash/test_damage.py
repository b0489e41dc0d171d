"""Damage is found, named, and left out on request; see `tests.crash.damage` for more of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval import Engine, RuntimeConfig, verify_index
from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from tests.crash import forging
from tests.crash.damage import MANUAL, answers, campaign, document, make
from tests.crash.stored import memory
from tests.encoders import HashingDense, HashingLate

ENCODER = HashingLate(16)
ROWS = ["documents", "tombstones", "origins", "pending", "segments", "files", "codecs", "meta"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, if the system has such a place: what is copied hundreds of times need not be durable."""
    with tempfile.TemporaryDirectory(dir=memory()) as name:
        yield Path(name)


def test_no_damage_is_taken_for_whole_and_none_ends_in_a_traceback(folder: Path) -> None:
    seed, flips = int(os.environ.get("RETRIEVAL_TEST_SEED", "1")), 100
    print("seed", seed)
    found, wrong = campaign(folder, flips, seed)
    assert wrong == [] and sum(found.values()) == flips
    assert sum(n for what, n in found.items() if "without effect" not in what) > flips / 2


def test_no_number_in_a_trained_array_ends_in_a_traceback(folder: Path) -> None:
    seed, forgeries = int(os.environ.get("RETRIEVAL_TEST_SEED", "1")), 60
    print("seed", seed)
    found, wrong = forging.campaign(folder, forgeries, seed)
    assert wrong == [] and sum(found.values()) == forgeries
    told = [sum(n for what, n in found.items() if what.endswith(end)) for end in ("refused", "used")]
    assert min(told) > forgeries / 10, found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    index = tmp_path_factory.mktemp("whole") / "i"
    make(index, ENCODER)
    return index


@pytest.fixture
def index(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "i")


def changed_values(value: object) -> Iterator[object]:
    """The value with one bit flipped, in several places."""
    if isinstance(value, int):
        yield from (value ^ 1, value ^ 1 << 9)
    elif isinstance(value, float):
        yield value * 2 + 1
    elif isinstance(value, str) and value:
        yield from (chr(ord(value[0]) ^ 1) + value[1:], value[:-1] + chr(ord(value[-1]) ^ 4))
    elif isinstance(value, bytes) and value:
        for place in (0, len(value) // 2, len(value) - 1):
            yield value[:place] + bytes([value[place] ^ 16]) + value[place + 1 :]


def is_whole(index: Path) -> bool:
    try:
        return verify_index(index).ok
    except (IndexDamagedError, IndexFormatError):
        return False


@pytest.mark.parametrize("table", ROWS)
def test_every_changed_value_of_the_catalog_is_found(index: Path, table: str) -> None:
    connection = sqlite3.connect(index / "catalog.sqlite", isolation_level=None)
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()
    missed, tried = [], 0
    for row in [rows[0], rows[len(rows) // 2], rows[-1]]:
        if row[0] in ("created_at", "checksum"):
            continue
        for column, value in zip(columns, row, strict=True):
            for changed in changed_values(value):
                key = " AND ".join(f"{name} IS ?" for name in columns)
                changes = connection.execute(
                    f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {key}", (changed, *row)
                ).rowcount
                if not changes:  # another row has this key
                    continue
                tried += 1
                if is_whole(index):
                    missed.append((column, value, changed))
                back = [changed if name == column else old for name, old in zip(columns, row, strict=True)]
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key}", (value, *back))
    connection.close()
    assert missed == [] and tried > len(columns)
    assert verify_index(index).ok


@pytest.mark.parametrize("table", ROWS)
def test_a_lost_row_of_the_catalog_is_found(index: Path, table: str) -> None:
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        key = connection.execute(f"PRAGMA table_info({table})").fetchone()[1]
        if table == "meta":
            connection.execute("DELETE FROM meta WHERE key = 'fields'")
        else:
            connection.execute(f"DELETE FROM {table} WHERE {key} = (SELECT max({key}) FROM {table})")
    connection.close()
    assert not is_whole(index)


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def test_a_merge_does_not_give_damage_a_new_checksum(index: Path) -> None:
    codes = sorted(index.glob("segments/*/codes.bin"))[-1]
    flip(codes, 100)
    with Engine.open(index, ENCODER, runtime=MANUAL) as engine:
        for rewrite in (engine.compact, lambda: engine.compact("float32")):
            with pytest.raises(IndexDamagedError, match=str(codes)):
                rewrite()
        engine.add([document(900)])  # what needs no damaged byte goes on
        assert engine.get("d900").text
    (problem,) = verify_index(index).problems
    assert str(codes) in problem


def test_a_damaged_segment_is_left_out_on_request(index: Path) -> None:
    with Engine.open(index, ENCODER) as engine:
        before = {hit.id for hit in engine.search("alpha", 500)}
        assert engine.damaged == () and not engine.search("alpha").partial
    codes = sorted(index.glob("segments/*/codes.bin"))[0]
    flip(codes, 100)
    number = int(codes.parent.name)
    with Engine.open(index, ENCODER, skip_damaged=True) as engine:
        result = engine.search("alpha", 500)
        (problem,) = engine.damaged
        assert str(codes) in problem and result.partial
        found = {hit.id for hit in result}
        assert 0 < len(found) < len(before) and found < before
        assert engine.count() == len(engine) == len(found)
        for lost in sorted(before - found)[:3]:
            with pytest.raises(IndexDamagedError, match="in no segment"):
                engine.get(lost)
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        count = "SELECT count(*) FROM documents NATURAL JOIN origins WHERE segment = ?"
        assert len(before - found) == connection.execute(count, (number,)).fetchone()[0]
    connection.close()


def test_damaged_pending_documents_are_left_out_from_the_damage_on(index: Path) -> None:
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        last = connection.execute("SELECT max(generation) FROM pending").fetchone()[0]
        connection.execute("UPDATE pending SET codes = zeroblob(length(codes)) WHERE generation = ?", (last,))
    connection.close()
    with (
        Engine.open(index, ENCODER) as engine,
        pytest.raises(IndexDamagedError, match=f"pending since generation {last}"),
    ):
        engine.search("alpha")
    with Engine.open(index, ENCODER, skip_damaged=True) as engine:
        assert engine.search("alpha", 500).partial
        assert engine.get("d301").id == "d301"  # of the batch before
        with pytest.raises(IndexDamagedError):
            engine.get("d303")
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        connection.execute("UPDATE pending SET sha256 = 'x'")
    connection.close()
    with Engine.open(index, ENCODER, skip_damaged=True) as engine:
        assert engine.search("alpha", 500).partial and len(engine.damaged) == 1


def test_nothing_is_written_while_damage_is_skipped(index: Path) -> None:
    before = {path: path.read_bytes() for path in index.rglob("*") if path.is_file()}
    with Engine.open(index, ENCODER, runtime=RuntimeConfig.of(), skip_damaged=True) as engine:
        for write in (
            lambda: engine.add([document(900)]),
            lambda: engine.upsert([document(1)]),
            lambda: engine.delete(["d001"]),
            lambda: engine.delete(filter={"n": 1}),
            engine.flush,
            engine.compact,
        ):
            with pytest.raises(ConfigError, match="reading only"):
                write()
        answers(engine)
    assert {path: path.read_bytes() for path in before} == before


def test_bytes_that_are_no_text_are_damage_not_a_traceback(tmp_path: Path) -> None:
    encoder = HashingDense(16)
    make(tmp_path / "i", encoder)
    path = sorted((tmp_path / "i").glob("segments/*/documents.arrow"))[0]
    content = path.read_bytes()
    path.write_bytes(content.replace(b"title 0", b"title\xff0").replace(b"alpha", b"alph\xff"))
    with Engine.open(tmp_path / "i", encoder) as engine:
        with pytest.raises(IndexDamagedError, match=r"documents\.arrow"):
            engine.search("alpha", 500)
        assert len(engine.search("alpha", 5, fields=())) == 5
        for read in (lambda: engine.facets("word"), lambda: engine.count({"word": "alpha"})):
            with pytest.raises(IndexDamagedError, match=r"documents\.arrow"):
                read()
