"""A full or failing disk at every call in turn: one clear error, nothing half done, and on it goes.

SQLite's own calls are made to fail by the system's limits and by a limit of pages; an I/O error inside
SQLite alone is out of reach from here.
"""

from __future__ import annotations

import errno
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from retrieval import Document, Engine, IndexConfig, RetrievalError, maintenance
from retrieval.copies import export_index, import_index, restore_index, snapshot_index
from retrieval.storage import catalog as catalogs
from retrieval.storage import disk, merge_policy
from tests.crash.faults import ERRORS, Fault, create_short, few_descriptors, small_files
from tests.crash.stored import Content, check_search, contents, memory, orphans
from tests.crash.writing import RECIPES, WORDS, Operation, applied, carry_out, runtime, warm_up
from tests.encoders import BucketDense

CONFIG = IndexConfig.of(segment_documents=10)


def some(name: str, n: int) -> list[tuple[str, str, int]]:
    rng = random.Random(name)
    return [(f"{name}{i}", " ".join(rng.choices(WORDS, k=4)), i) for i in range(n)]


def documents(rows: list[tuple[str, str, int]]) -> list[Document]:
    return [Document(i, text, metadata={"n": n}) for i, text, n in rows]


OPERATIONS: dict[str, Operation] = {
    "add": {"verb": "add", "documents": some("new", 3)},
    "bulk add": {"verb": "add", "documents": some("new", 17)},
    "upsert": {"verb": "upsert", "documents": some("b", 4)},
    "bulk upsert": {"verb": "upsert", "documents": some("b", 17)},
    "delete": {"verb": "delete", "ids": ["b3", "b4", "p1"]},
    "delete by filter": {"verb": "delete by filter", "from": 2, "to": 6},
    "flush": {"verb": "flush"},
    "merge": {"verb": "maintain"},
    "compact": {"verb": "compact"},
    "convert": {"verb": "convert", "precision": "float16"},
    "train": {"verb": "train", "recipe": RECIPES[1], "precision": None, "retrain": False},
    "train to bytes": {"verb": "train", "recipe": RECIPES[5], "precision": "int8", "retrain": False},
}
TURNS = {"compact": 1, "convert": 2, "train": 1, "train to bytes": 2}
"""Long ones that make nearly the same calls, in two pairs: odd calls of one fail, even ones of the other."""


@pytest.fixture(scope="module")
def base(folder: Path) -> Iterator[Path]:
    """Enough segments for a merge to be due, pending documents, and tombstones in both."""
    warm_up()  # where no file can be opened, nothing can be imported either
    index = folder / "base" / "i"
    Engine.build(index, documents(some("b", 25)), BucketDense(), config=CONFIG)
    with Engine.open(index, BucketDense(), runtime=runtime("manual")) as engine:
        engine.add(documents(some("p", 5)))
        engine.delete(["b1", "b17", "p3"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_policy, "FACTOR", 3)
        yield index


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """In memory, if the system has such a place: thousands of copies are made."""
    with tempfile.TemporaryDirectory(dir=memory()) as name:
        yield Path(name)


def fresh(base: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    return folder


def attempt(
    base: Path,
    index: Path,
    operation: Operation,
    failing: Callable[[], AbstractContextManager[None]],
    serves: bool = True,
) -> bool:
    """One operation while the disk fails, then again when it does not. Gives whether it failed."""
    fresh(base, index)
    before = contents(index)
    after = applied(operation, before)
    with Engine.open(index, BucketDense(), runtime=runtime("manual")) as engine:
        hits = engine.search("alpha", k=5).hits
        error = None
        with failing():
            try:
                carry_out(engine, operation)
            except RetrievalError as caught:
                error = str(caught)
                if serves:  # what is mapped needs no file
                    assert engine.search("alpha", k=5).hits == hits or before == after
        check_error(error, index)
        check_whole(engine, index, before if error else after)
        if error:
            carry_out(engine, operation)
            check_whole(engine, index, after)
        engine.upsert([Document("next", "omega", metadata={"n": 1})])
        assert not orphans(index), orphans(index)
    return error is not None


def check_error(error: str | None, index: Path) -> None:
    if error is not None:
        assert str(index) in error and "try again" in error, error


def check_whole(engine: Engine, index: Path, expected: Content) -> None:
    assert contents(index) == expected
    check_search(engine, index, "alpha beta", "after a fault")
    report = engine.verify()
    assert report.ok, report.problems


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_call_fails_in_turn(base: Path, folder: Path, name: str, lasting: bool) -> None:
    n, failures = TURNS.get(name, 1), 0
    while True:
        fault = Fault(n, ERRORS[n // 2 % len(ERRORS)], lasting=lasting)
        failures += attempt(base, folder / "i", OPERATIONS[name], fault.installed, serves=not lasting)
        if not fault.fired:
            break
        n += 4 if lasting else 2 if name in TURNS else 1
    # A small commit is SQLite's alone: it makes no call of ours but to look for leftovers.
    assert failures > (4 if lasting else 15) or name in ("add", "upsert", "delete", "delete by filter"), (
        n,
        failures,
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_more_descriptors(base: Path, folder: Path, name: str) -> None:
    more = 0
    while attempt(base, folder / "i", OPERATIONS[name], partial(few_descriptors, more)):
        more += 1
    assert more > 2


@pytest.mark.parametrize("name", OPERATIONS)
def test_files_that_cannot_grow(base: Path, folder: Path, name: str) -> None:
    size, failures = 1000, 0
    while attempt(base, folder / "i", OPERATIONS[name], partial(small_files, size)):
        size, failures = int(size * 1.5), failures + 1
    assert failures > 2


LARGE = [(f"{'x' * 400}{i}", "alpha " * 400, i) for i in range(17)]


@pytest.mark.parametrize(
    "operation",
    [{"verb": verb, "documents": LARGE[:n]} for verb in ("add", "upsert") for n in (3, 17)],
    ids=["add", "bulk add", "upsert", "bulk upsert"],
)
def test_a_catalog_that_cannot_grow(
    base: Path, folder: Path, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    connect, room = catalogs.connect, 0

    def limited(path: Path, mode: str) -> sqlite3.Connection:
        connection = connect(path, mode)
        if mode == "rw":
            opened.append(connection)
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + room}")
        return connection

    class Full:
        def __enter__(self) -> None:
            monkeypatch.setattr(catalogs, "connect", limited)

        def __exit__(self, *_: object) -> None:
            monkeypatch.setattr(catalogs, "connect", connect)
            for connection in opened:
                connection.execute("PRAGMA max_page_count = 1000000")
            opened.clear()

    while attempt(base, folder / "i", operation, Full):
        room += 1
    assert room > 1


def test_short_writes_are_finished(base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "create", create_short)
    for operation in OPERATIONS.values():
        index = fresh(base, folder / "i")
        expected = applied(operation, contents(index))
        with Engine.open(index, BucketDense(), runtime=runtime("manual")) as engine:
            carry_out(engine, operation)
            check_whole(engine, index, expected)


# -- making an index, and copies of it -------------------------------------------------------------


def build(_: Path, folder: Path) -> None:
    Engine.build(folder / "made", documents(some("b", 25)), BucketDense(), config=CONFIG, resume=True)


def create(_: Path, folder: Path) -> None:
    Engine.create(folder / "made", BucketDense(), config=CONFIG).close()


def copy_in_file(base: Path, folder: Path) -> None:
    if not (folder / "file").exists():
        export_index(base, folder / "file")
    import_index(folder / "file", folder / "made")


MAKING: dict[str, Callable[[Path, Path], Any]] = {
    "build": build,
    "create": create,
    "snapshot": lambda base, folder: snapshot_index(base, folder / "made"),
    "restore": lambda base, folder: restore_index(base, folder / "made"),
    "file": copy_in_file,
}


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("name", MAKING)
def test_every_call_of_making_fails_in_turn(base: Path, folder: Path, name: str, lasting: bool) -> None:
    expected = contents(base)
    if name in ("build", "create"):
        expected = {i: (text, n) for i, text, n in some("b", 25 if name == "build" else 0)}
    n, failures = 1, 0
    while True:
        place = folder / f"{name}-{lasting}-{n}"
        place.mkdir()
        fault, error = Fault(n, ERRORS[n % len(ERRORS)], lasting=lasting), None
        with fault.installed():
            try:
                MAKING[name](base, place)
            except RetrievalError as caught:
                error = str(caught)
        check_error(error, place)
        if error:
            failures += 1
            # Else the error came when all was done: it says that this may not be durable.
            if name == "build" or not (place / "made" / "catalog.sqlite").exists():
                MAKING[name](base, place)
        with Engine.open(place / "made", BucketDense(), runtime=runtime("manual")) as engine:
            check_whole(engine, place / "made", expected)
        if not fault.fired:
            break
        n += 4 if lasting else 1
    assert failures > (0 if lasting else 3)


def test_the_error_says_what_to_do() -> None:
    for code, advice in ((errno.ENOSPC, "make room"), (errno.EMFILE, "open files"), (errno.EIO, "the disk")):
        told = pytest.raises(RetrievalError, match=f"cannot write /x/y: .*; .*{advice}.* and try again")
        with told, disk.telling("write", Path("/x/y")):
            raise OSError(code, "")


def test_upkeep_in_the_background_is_told_and_tried_again(
    base: Path, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "REST_SECONDS", 0.0)
    index = fresh(base, folder / "i")
    expected = contents(index)
    with Engine.open(index, BucketDense(), runtime=runtime("background")) as engine:
        with Fault(1, errno.ENOSPC, lasting=True).installed():
            for n in range(8):
                operation: Operation = {"verb": "add", "documents": some(f"bg{n}-", 2)}
                carry_out(engine, operation)
                expected = applied(operation, expected)
            while not caplog.records:
                time.sleep(0.01)
            assert "No space left" in caplog.text and engine.inspect().pending == 20
        carry_out(engine, {"verb": "delete", "ids": ["bg0-0"]})
        while engine.inspect().pending:
            time.sleep(0.01)
        del expected["bg0-0"]
        check_whole(engine, index, expected)
