"""A copy of an index is whole, of one generation, and made while writers go on; or it is not there."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval import Document, Engine, RuntimeConfig, inspect_index, verify_index
from retrieval.errors import (
    IndexDamagedError,
    IndexExistsError,
    IndexFolderError,
    IndexLockedError,
    IndexNotFoundError,
)
from retrieval.storage import Catalog, merge_lock, pinned, writer_lock
from retrieval.storage.archive import export_index, import_index
from retrieval.storage.copies import restore_index, snapshot_index
from retrieval.storage.files import remove
from retrieval.storage.pinned import Pinned
from tests.encoders import HashingLate
from tests.unit.storage.copying import COPYING, DOCS, Nth, answers, build, execute, forge, tree

Copy = Callable[[Path, Path], object]
MANUAL = RuntimeConfig.of(maintenance="manual")
OLD = [Document("old", "alpha")]
GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return build(tmp_path / "index")


@pytest.fixture(params=COPYING)
def copy(request: pytest.FixtureRequest) -> Copy:
    return COPYING[request.param]


def test_a_copy_answers_like_the_original(copy: Copy, index: Path, tmp_path: Path) -> None:
    copy(index, tmp_path / "new" / "copy")
    assert answers(tmp_path / "new" / "copy") == answers(index)
    assert tree(tmp_path / "new")[0] == "copy", "nothing is left beside the copy"
    with Catalog.open(index) as old, Catalog.open(tmp_path / "new" / "copy") as new:
        assert old.generation() == new.generation()


@pytest.mark.parametrize("name", COPYING)
def test_a_copy_is_a_catalog_and_its_files(name: str, index: Path, tmp_path: Path) -> None:
    COPYING[name](index, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"catalog.sqlite", "segments"}
    log_mode = (tmp_path / "copy" / "catalog.sqlite").read_bytes()[18:20]
    # 2: write-ahead log. A snapshot may lie on a medium where no log can be made.
    assert log_mode == (b"\1\1" if name == "snapshot" else b"\2\2")


def test_a_copy_lives_its_own_life(copy: Copy, index: Path, tmp_path: Path) -> None:
    before = answers(index)
    copy(index, tmp_path / "copy")
    with Engine.open(tmp_path / "copy", HashingLate()) as reader:
        assert len(reader.search("alpha", k=100)) == len(DOCS)
        with Engine.open(tmp_path / "copy", HashingLate()) as writer:
            writer.add([Document("new", "omega")])
        assert reader.search("omega", k=1)[0].id == "new"
    assert answers(index) == before
    copy(tmp_path / "copy", tmp_path / "again")
    assert answers(tmp_path / "again") == answers(tmp_path / "copy") != before


def test_report_and_progress(index: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = snapshot_index(index, tmp_path / "copy", lambda done, total: seen.append((done, total)))
    files = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert report.path == str(tmp_path / "copy")
    assert report.files == len(files) == 1 + 3 * 3
    assert report.bytes == sum(path.stat().st_size for path in files)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (report.bytes, report.bytes) and {total for _, total in seen} == {report.bytes}


def test_an_empty_index_and_an_unfinished_build_can_be_copied(copy: Copy, tmp_path: Path) -> None:
    Engine.create(tmp_path / "empty", HashingLate()).close()
    copy(tmp_path / "empty", tmp_path / "copy")
    assert answers(tmp_path / "copy") == []

    def cut() -> Iterator[Document]:
        yield from DOCS[:15]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "unfinished", cut())
    copy(tmp_path / "unfinished", tmp_path / "unfinished copy")
    assert len(answers(build(tmp_path / "unfinished copy", resume=True))) == len(DOCS)


# -- while a writer goes on ------------------------------------------------------------------


def test_snapshots_while_a_thread_adds(index: Path, tmp_path: Path) -> None:
    acknowledged, stop = [0], threading.Event()

    def add() -> None:
        with Engine.open(index, HashingLate()) as engine:
            while not stop.is_set():
                engine.add([Document(f"n{acknowledged[0]}", f"omega {acknowledged[0]}")])
                acknowledged[0] += 1

    writer = threading.Thread(target=add)
    writer.start()
    try:
        while acknowledged[0] < 3:
            stop.wait(0.01)
        for i in range(6):
            before = acknowledged[0]
            make = (snapshot_index, restore_index)[i % 2]
            make(index, tmp_path / f"copy{i}")
            after = acknowledged[0]
            added = sorted(
                int(doc_id[1:]) for doc_id, _ in answers(tmp_path / f"copy{i}") if doc_id[0] == "n"
            )
            assert added == list(range(len(added))), "a copy holds a prefix of the commits"
            assert before <= len(added) <= after + 1
    finally:
        stop.set()
        writer.join()
    assert verify_index(index).ok


def test_copies_while_a_thread_updates_and_merges(index: Path, tmp_path: Path) -> None:
    """Each round adds a pair, deletes the one before, and rewrites all segments."""
    rounds, stop = [0], threading.Event()

    def work() -> None:
        with Engine.open(index, HashingLate(), runtime=MANUAL) as engine:
            while not stop.is_set():
                engine.add([Document(f"{name}{rounds[0]}", "omega") for name in "ab"])
                engine.delete([f"{name}{rounds[0] - 1}" for name in "ab"])
                rounds[0] += 1
                engine.compact()

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for i in range(200):
            if i >= 8 and rounds[0] > 2:  # on a slow machine the writer needs more time
                break
            before = rounds[0]
            COPYING[list(COPYING)[i % 3]](index, tmp_path / f"copy{i}")
            after = rounds[0]
            found = [doc_id for doc_id, _ in answers(tmp_path / f"copy{i}")]
            assert {doc.id for doc in DOCS} <= set(found)
            first, second = (sorted(int(x[1:]) for x in found if x[0] == name) for name in "ab")
            assert (first == second and len(first) in (1, 2)) or (before == 0 and not first)
            assert not first or (before - 1 <= first[-1] <= after and first[-1] - first[0] < 2)
    finally:
        stop.set()
        writer.join()
    assert rounds[0] > 2 and verify_index(index).ok


def test_pending_and_deleted_documents_are_copied(copy: Copy, index: Path, tmp_path: Path) -> None:
    with Engine.open(index, HashingLate(), runtime=MANUAL) as engine:
        engine.add([Document("pending", "omega")])
        engine.delete(["d3"])
        engine.upsert([Document("d4", "omega again")])
    copy(index, tmp_path / "copy")
    assert answers(tmp_path / "copy") == answers(index)
    with Engine.open(tmp_path / "copy", HashingLate(), runtime=MANUAL) as engine:
        assert len(engine) == len(DOCS) and engine.get("d4").text == "omega again"
        assert engine.flush() == 2
    assert verify_index(tmp_path / "copy").ok
    execute(index, "UPDATE pending SET codes = zeroblob(length(codes))")
    with pytest.raises(IndexDamagedError, match=str(index)):
        copy(index, tmp_path / "another")
    assert not (tmp_path / "another").exists()


def test_an_index_of_format_1_is_copied_as_it_is(copy: Copy, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "v1-late", tmp_path / "old")  # to open it there would write beside it
    copy(tmp_path / "old", tmp_path / "copy")
    info = inspect_index(tmp_path / "copy")
    assert info.format_version == 1 and verify_index(tmp_path / "copy").ok
    assert info.documents == inspect_index(tmp_path / "old").documents > 0


def change_between(monkeypatch: pytest.MonkeyPatch, index: Path, times: int) -> None:
    """While the catalog has been copied but no file opened yet, a merge commits and takes a file
    away, ``times`` in a row (the file comes back, so that the next generation is whole)."""
    real, away = pinned._copy_catalog, index / "segments" / "00000001" / "codes.bin"
    state = {"left": times, "n": 0}

    def copy_catalog(source: Path, folder: Path) -> None:
        if away.with_suffix(".away").exists():
            away.with_suffix(".away").rename(away)
        real(source, folder)
        if state["left"]:
            state["left"] -= 1
            state["n"] += 1
            with Engine.open(index, HashingLate()) as engine:
                engine.add([Document(f"n{state['n']}", "omega")])
            away.rename(away.with_suffix(".away"))

    monkeypatch.setattr(pinned, "_copy_catalog", copy_catalog)


def test_files_that_go_before_they_are_open_are_followed(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_between(monkeypatch, index, 3)
    snapshot_index(index, tmp_path / "copy")
    found = answers(tmp_path / "copy")
    assert found == answers(index) and len(found) == len(DOCS) + 3


def test_an_index_that_never_rests_is_told(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_between(monkeypatch, index, 1000)
    monkeypatch.setattr(pinned, "ATTEMPTS", 3)
    with pytest.raises(IndexFolderError, match="changed 3 times"):
        snapshot_index(index, tmp_path / "copy")
    assert tree(tmp_path)[0] == "index" and not (tmp_path / "copy").exists()


def test_files_that_go_once_they_are_open_are_copied(
    copy: Copy, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(index)
    pin = Pinned.pin

    def pin_then_lose(self: Pinned, stack: object) -> None:
        pin(self, stack)
        for path in (index / "segments").rglob("*.*"):
            path.unlink()

    monkeypatch.setattr(Pinned, "pin", pin_then_lose)
    copy(index, tmp_path / "copy")
    assert answers(tmp_path / "copy") == expected


def test_more_files_than_are_held_open(
    copy: Copy, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinned, "MAX_OPEN", 2)
    before = len(list(Path("/proc/self/fd").iterdir()))
    copy(index, tmp_path / "copy")
    assert answers(tmp_path / "copy") == answers(index)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


# -- damage ----------------------------------------------------------------------------------


def segment_files(index: Path) -> list[Path]:
    return sorted(path for path in (index / "segments").rglob("*") if path.is_file())


def test_damaged_files_are_named_and_leave_nothing(copy: Copy, index: Path, tmp_path: Path) -> None:
    rng, before = random.Random(7), tree(tmp_path)
    for path in segment_files(index):
        good = path.read_bytes()
        flipped = bytearray(good)
        flipped[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        for bad in (bytes(flipped), good[:-1], good + b"\0", b""):
            path.write_bytes(bad)
            with pytest.raises(IndexDamagedError, match=str(path)):
                copy(index, tmp_path / "copies" / "copy")
            assert tree(tmp_path) == before
        path.write_bytes(good)


def test_a_missing_file_is_damage(copy: Copy, index: Path, tmp_path: Path) -> None:
    lost = segment_files(index)[4]
    lost.unlink()
    with pytest.raises(IndexDamagedError, match=f"{lost} is missing"):
        copy(index, tmp_path / "copy")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE segments SET n_tokens = n_tokens + 1 WHERE segment = 2",
        "UPDATE files SET bytes = bytes - 8 WHERE path LIKE '%00000002/offsets.bin'",
        "UPDATE codecs SET metric = 'dot'",
        "UPDATE meta SET value = '{}' WHERE key = 'fields'",
    ],
)
def test_a_damaged_catalog_is_not_copied(copy: Copy, index: Path, tmp_path: Path, change: str) -> None:
    execute(index, change)
    with pytest.raises(IndexDamagedError, match=str(index / "catalog.sqlite")):
        copy(index, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "/etc/hostname",
        "segments/../../secret",
        "catalog.sqlite",
        "segments/./x",
        "a//b",
        "a/.b",
        "",
    ],
)
def test_names_that_do_not_belong_in_an_index(copy: Copy, index: Path, tmp_path: Path, path: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 10)
    forge(index, "offsets", lambda file: type(file)(file.name, path, 10, file.sha256, file.dtype, file.shape))
    with pytest.raises(IndexDamagedError, match="cannot belong to an index"):
        copy(index, tmp_path / "copy")
    assert secret.read_bytes() == b"x" * 10 and not (tmp_path / "copy").exists()


def test_a_link_out_of_the_index_is_not_followed(copy: Copy, index: Path, tmp_path: Path) -> None:
    (index / "segments" / "00000001").rename(tmp_path / "elsewhere")
    (index / "segments" / "00000001").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IndexDamagedError, match="outside the index"):
        copy(index, tmp_path / "copy")


# -- targets ---------------------------------------------------------------------------------


def test_targets_that_are_taken(copy: Copy, index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    for name in ("file", "folder"):
        before = tree(tmp_path)
        with pytest.raises(IndexExistsError, match=name):
            copy(index, tmp_path / name)
        assert tree(tmp_path) == before
    (tmp_path / "empty").mkdir()
    copy(index, tmp_path / "empty")
    assert answers(tmp_path / "empty") == answers(index)


def test_a_target_taken_meanwhile_is_kept(index: Path, tmp_path: Path) -> None:
    def take(done: int, total: int) -> None:
        if done == total:
            (tmp_path / "copy").mkdir()
            (tmp_path / "copy" / "mine").touch()

    for make in (snapshot_index, restore_index):
        with pytest.raises(IndexExistsError, match="copy exists already"):
            make(index, tmp_path / "copy", progress=take)
        assert tree(tmp_path)[:2] == ["copy", "copy/mine"]
        (tmp_path / "copy" / "mine").unlink()
        (tmp_path / "copy").rmdir()


def test_no_copy_into_itself(index: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(index)
    before = tree(index)
    for target in (index, index / "copy", tmp_path / "link" / "copy", tmp_path / "link", tmp_path):
        for make in (snapshot_index, restore_index, export_index):
            with pytest.raises(IndexFolderError, match="lie in one another"):
                make(index, target)
        with pytest.raises(IndexFolderError, match="lie in one another"):
            restore_index(index, target, replace=True)
    assert tree(index) == before


def test_no_index_no_copy(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("none", "empty"):
        with pytest.raises(IndexNotFoundError, match=source):
            copy(tmp_path / source, tmp_path / "deep" / "copy")
    assert tree(tmp_path) == ["empty"]


def test_without_a_snapshot_nobody_is_told_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError, match=r"no index at .*none to restore from") as caught:
        restore_index(tmp_path / "none", tmp_path / "copy")
    assert "retrieval build" not in str(caught.value)


def test_two_at_once_do_not_disturb_each_other(index: Path, tmp_path: Path) -> None:
    refused = []

    def another(done: int, total: int) -> None:
        with pytest.raises(IndexLockedError, match=r"another process is making .*copy"):
            snapshot_index(index, tmp_path / "copy")
        refused.append(done)

    snapshot_index(index, tmp_path / "copy", another)
    assert refused and answers(tmp_path / "copy") == answers(index)


# -- in the place of another -----------------------------------------------------------------


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return build(tmp_path / "other", [Document("other", "alpha")])


def test_replace(index: Path, other: Path, tmp_path: Path) -> None:
    with Engine.open(other, HashingLate()) as reader:
        assert [hit.id for hit in reader.search("alpha")] == ["other"]
        with pytest.raises(IndexExistsError):
            restore_index(index, other)
        restore_index(index, other, replace=True)
        assert [hit.id for hit in reader.search("alpha")] == ["other"], "an open engine keeps what it has"
    assert answers(other) == answers(index)
    assert {path.name for path in tmp_path.iterdir()} == {"index", "other"}
    with Engine.open(other, HashingLate()) as engine:
        engine.add([Document("new", "omega")])
    restore_index(index, tmp_path / "absent", replace=True)
    assert answers(tmp_path / "absent") == answers(index)


def test_replace_a_damaged_index(index: Path, other: Path) -> None:
    (other / "catalog.sqlite").write_bytes(b"junk" * 1000)
    restore_index(index, other, replace=True)
    assert answers(other) == answers(index)


def test_replace_only_an_index(index: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    (tmp_path / "file").touch()
    for name in ("folder", "file"):
        with pytest.raises(IndexExistsError, match="not an index"):
            restore_index(index, tmp_path / name, replace=True)
    assert (tmp_path / "folder" / "mine").exists() and (tmp_path / "file").exists()


def test_an_index_that_is_being_written_is_not_replaced(index: Path, other: Path) -> None:
    with writer_lock(other), pytest.raises(IndexLockedError, match="being written"):
        restore_index(index, other, replace=True)
    assert answers(other)[0][0] == "other"


def test_an_index_that_is_being_merged_is_not_replaced(index: Path, other: Path) -> None:
    with merge_lock(other) as held, pytest.raises(IndexLockedError, match="being merged"):
        assert held
        restore_index(index, other, replace=True)
    assert answers(other)[0][0] == "other"


def test_a_reader_goes_on_with_a_snapshot_that_was_replaced(tmp_path: Path) -> None:
    for name in ("old", "new"):
        documents = [Document("a", name), Document(name, "alpha")]
        made = build(tmp_path / f"{name} index", documents if name == "old" else documents[::-1])
        snapshot_index(made, tmp_path / name)
    with Engine.open(tmp_path / "old", HashingLate(), runtime=MANUAL) as reader:
        assert reader.get("a").text == "old"
        (tmp_path / "old").rename(tmp_path / "aside")
        (tmp_path / "new").rename(tmp_path / "old")  # of the same generation
        assert (reader.get("a").id, reader.get("a").text) == ("a", "old")


def test_an_engine_cannot_write_to_what_was_replaced(index: Path, other: Path) -> None:
    with Engine.open(other, HashingLate(), runtime=MANUAL) as engine:
        engine.add([Document("pending", "omega")])
        restore_index(index, other, replace=True)
        for write in (lambda: engine.add([Document("lost", "omega")]), engine.compact, engine.flush):
            with pytest.raises(IndexNotFoundError, match="open it again"):
                write()
    assert answers(other) == answers(index)


def test_writers_wait_for_the_replacement(index: Path, other: Path) -> None:
    refused = []

    def add(done: int, total: int) -> None:
        if not refused:
            with Engine.open(other, HashingLate()) as engine, pytest.raises(IndexLockedError) as error:
                engine.add([Document("new", "omega")])
            refused.append(str(error.value))

    restore_index(index, other, replace=True, progress=add)
    assert str(os.getpid()) in refused[0] and answers(other) == answers(index)


# -- faults and kills ------------------------------------------------------------------------


def disk_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted() -> None:
    raise KeyboardInterrupt


MAKING: dict[str, Callable[[Path, Path], object]] = {
    "snapshot": snapshot_index,
    "restore": restore_index,
    "replace": lambda source, target: restore_index(source, target, replace=True),
    "export": export_index,
    "import": import_index,
}


@pytest.fixture(params=MAKING)
def making(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Callable[[], object], Path]:
    """Something to make again and again, and where."""
    source, target = build(tmp_path / "small", DOCS[:5]), tmp_path / "made"
    if request.param == "import":
        source = tmp_path / "archive.tar"
        export_index(tmp_path / "small", source)
    if request.param == "replace":
        build(target, OLD)
    return lambda: MAKING[request.param](source, target), target


def state(target: Path) -> str:
    """What is at the target: nothing, the index that was there before, or the one that was made."""
    if not target.exists():
        return "absent"
    if target.is_file():
        with tempfile.TemporaryDirectory() as folder:
            import_index(target, Path(folder))
            return state(Path(folder))
    return "old" if answers(target)[0][0] == "old" else "new" if len(answers(target)) == 5 else "broken"


@pytest.mark.parametrize("fault", [disk_full, interrupted])
def test_a_fault_at_any_step_leaves_what_was_there(
    making: tuple[Callable[[], object], Path], fault: Callable[[], None]
) -> None:
    make, target = making
    before, n, fired = state(target), 0, True
    beside = {path.name for path in target.parent.iterdir()}
    while fired:
        n += 1
        steps = Nth(n, fault)
        try:
            with pytest.MonkeyPatch.context() as monkeypatch:
                steps.install(monkeypatch)
                make()
        except (IndexFolderError, KeyboardInterrupt) as error:
            assert fault is interrupted or "No space left" in str(error)
        else:  # the copy is whole, though a step that can fail without harm may have failed
            assert state(target) == "new"
        fired = steps.left <= 0
        left = {path.name for path in target.parent.iterdir()} - beside - {target.name}
        if state(target) == before:
            assert not left
            continue
        # An error after the renaming says only that the new name may not be durable yet, or that
        # not all was cleared up: the next one does that.
        assert state(target) == "new" and (
            not left or (left <= {".made.partial", ".made.replaced"} and fired)
        )
        remove(target)
        if before == "old":
            build(target, OLD)
    assert n > 10 and not left


def test_a_kill_at_any_step_is_made_good_by_the_next(
    making: tuple[Callable[[], object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, target = making
    before, n, killed = state(target), 0, True
    beside = {path.name for path in target.parent.iterdir()} | {target.name}
    while killed and state(target) == before:
        n += 1
        child = os.fork()
        if child == 0:
            Nth(n, lambda: os._exit(9)).install(monkeypatch)
            make()
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        left = {path.name for path in target.parent.iterdir()} - beside
        assert left <= {".made.partial", ".made.replaced"}
        if not target.exists() and before == "old":
            assert state(target.with_name(".made.replaced")) == "old", "between two renames it is beside"
            break
    assert n > 10
    if state(target) != "new":
        make()
    elif target.is_file():
        with pytest.raises(IndexExistsError):
            make()
    assert state(target) == "new"
    assert {path.name for path in target.parent.iterdir()} <= beside
