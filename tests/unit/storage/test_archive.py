"""An archive is a plain tar that equal indexes share; one that is anything else is refused whole."""

from __future__ import annotations

import hashlib
import io
import random
import sqlite3
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import (
    IndexDamagedError,
    IndexExistsError,
    IndexFolderError,
    IndexFormatError,
    IndexNotFoundError,
)
from retrieval.storage import Catalog
from retrieval.storage.archive import BLOCK, export_index, header, import_index
from retrieval.storage.copies import restore_index
from tests.unit.storage.copying import DOCS, answers, build, execute, forge, tree

Member = tuple[bytes, bytes]
"""A header block and what follows it, without padding."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("archive") / "index")


@pytest.fixture(scope="module")
def archive(index: Path) -> bytes:
    file = index.with_name("good.tar")
    export_index(index, file)
    return file.read_bytes()


def members(archive: bytes) -> list[Member]:
    found, at = [], 0
    while archive[at : at + BLOCK].strip(b"\0"):
        block = archive[at : at + BLOCK]
        size = tarfile.TarInfo.frombuf(block, "ascii", "strict").size
        found.append((block, archive[at + BLOCK : at + BLOCK + size]))
        at += BLOCK + size + -size % BLOCK
    return found


def joined(parts: list[Member]) -> bytes:
    body = b"".join(block + data + bytes(-len(data) % BLOCK) for block, data in parts)
    return body + bytes(2 * BLOCK)


def special(name: str, kind: bytes, size: int = 0, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, link
    return member.tobuf(tarfile.GNU_FORMAT)[-BLOCK:]


def refused(content: bytes, folder: Path) -> str:
    """The message with which an archive is refused; nothing is left or touched anywhere near."""
    (folder / "bad.tar").write_bytes(content)
    before = tree(folder)
    with pytest.raises(IndexFolderError) as error:
        import_index(folder / "bad.tar", folder / "new" / "index")
    assert isinstance(error.value, IndexDamagedError | IndexFormatError)
    assert tree(folder) == before
    message = str(error.value)
    assert str(folder / "bad.tar") in message and ".partial" not in message and "\n" not in message
    return message


# -- what a good archive is ------------------------------------------------------------------


def test_one_generation_gives_one_archive(index: Path, archive: bytes, tmp_path: Path) -> None:
    restore_index(index, tmp_path / "restored")
    for source in (index, tmp_path / "restored"):
        export_index(source, tmp_path / "again.tar")
        assert (tmp_path / "again.tar").read_bytes() == archive
        (tmp_path / "again.tar").unlink()


def test_any_tar_program_reads_an_archive(index: Path, archive: bytes, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = tar.getnames()
        assert names[0] == "catalog.sqlite" and names[1:] == sorted(names[1:])
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert answers(tmp_path / "unpacked") == answers(index)


def test_report_and_progress(index: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = export_index(index, tmp_path / "a.tar", lambda *now: seen.append(now))
    assert seen[-1] == (report.bytes, report.bytes) and report.path == str(tmp_path / "a.tar")
    seen.clear()
    again = import_index(tmp_path / "a.tar", tmp_path / "new", lambda *now: seen.append(now))
    size = (tmp_path / "a.tar").stat().st_size
    assert seen[-1] == (size, size) and seen == sorted(seen)
    assert replace(again, path=report.path) == report


@pytest.mark.parametrize("size", [0, 1, 8 * 2**30 - 1, 8 * 2**30, 2**40])
def test_sizes_of_headers(size: int) -> None:
    member = tarfile.TarInfo.frombuf(header("segments/00000001/codes.bin", size), "ascii", "strict")
    assert (member.name, member.size, member.isreg()) == ("segments/00000001/codes.bin", size, True)


def test_archives_stay_out_of_the_index(index: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexFolderError, match="lie in one another"):
        export_index(index, index / "a.tar")
    (tmp_path / "a.tar").write_text("mine")
    with pytest.raises(IndexExistsError, match="exists already"):
        export_index(index, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_text() == "mine"


@pytest.mark.parametrize("name", ["none.tar", "."])
def test_no_archive(name: str, tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError, match="no archive at"):
        import_index(tmp_path / name, tmp_path.with_name("never"))
    assert not tmp_path.with_name("never").exists()


# -- what is no archive ----------------------------------------------------------------------

CODES = "segments/00000001/codes.bin"
PAX = b"30 path=../../../../tmp/evil\n\0"

ATTACKS: dict[str, Callable[[list[Member]], list[Member]]] = {
    "absolute name": lambda m: [m[0], (header("/etc/evil", len(m[1][1])), m[1][1]), *m[2:]],
    "name that climbs": lambda m: [m[0], (header("../evil", len(m[1][1])), m[1][1]), *m[2:]],
    "name that climbs inside": lambda m: [
        m[0],
        (header("segments/../segments/00000001/codes.bin", len(m[1][1])), m[1][1]),
        *m[2:],
    ],
    "symbolic link": lambda m: [m[0], (special(CODES, tarfile.SYMTYPE, link="/etc/passwd"), b""), *m[2:]],
    "hard link": lambda m: [m[0], (special(CODES, tarfile.LNKTYPE, link="catalog.sqlite"), b""), *m[2:]],
    "device": lambda m: [m[0], (special(CODES, tarfile.CHRTYPE), b""), *m[2:]],
    "pipe": lambda m: [m[0], (special(CODES, tarfile.FIFOTYPE), b""), *m[2:]],
    "folder": lambda m: [m[0], (special("segments/", tarfile.DIRTYPE), b""), *m[1:]],
    "linked folder": lambda m: [m[0], (special("segments", tarfile.SYMTYPE, link="/tmp"), b""), *m[1:]],
    "sparse file": lambda m: [m[0], (special(CODES, tarfile.GNUTYPE_SPARSE, len(m[1][1])), m[1][1]), *m[2:]],
    "contiguous file": lambda m: [m[0], (special(CODES, tarfile.CONTTYPE, len(m[1][1])), m[1][1]), *m[2:]],
    "extended header": lambda m: [m[0], (special("x", tarfile.XHDTYPE, len(PAX)), PAX), *m[1:]],
    "global header": lambda m: [(special("x", tarfile.XGLTYPE, len(PAX)), PAX), *m],
    "long name": lambda m: [
        m[0],
        (special("././@LongLink", tarfile.GNUTYPE_LONGNAME, 8), b"../evil\0"),
        *m[1:],
    ],
    "twice": lambda m: [*m, m[-1]],
    "twice in a row": lambda m: [m[0], m[1], *m[1:]],
    "second catalog": lambda m: [*m, m[0]],
    "one missing": lambda m: [*m[:3], *m[4:]],
    "last missing": lambda m: m[:-1],
    "other order": lambda m: [m[0], m[2], m[1], *m[3:]],
    "catalog not first": lambda m: [*m[1:], m[0]],
    "no catalog": lambda m: m[1:],
    "nothing": lambda m: [],
    "one more": lambda m: [*m, (header("segments/00000001/more.bin", 3), b"abc")],
    "log of the catalog": lambda m: [m[0], (header("catalog.sqlite-wal", 3), b"abc"), *m[1:]],
    "shorter": lambda m: [m[0], (header(CODES, len(m[1][1]) - 1), m[1][1][:-1]), *m[2:]],
    "longer": lambda m: [m[0], (header(CODES, len(m[1][1]) + 1), m[1][1] + b"x"), *m[2:]],
    "declared huge": lambda m: [m[0], (header(CODES, 2**60), m[1][1]), *m[2:]],
    "declared negative": lambda m: [m[0], (negative(CODES), m[1][1]), *m[2:]],
    "huge catalog": lambda m: [(header("catalog.sqlite", 2**60), m[0][1]), *m[1:]],
    "empty catalog": lambda m: [(header("catalog.sqlite", 0), b""), *m[1:]],
    "other bytes": lambda m: [m[0], (m[1][0], m[1][1][::-1]), *m[2:]],
    "catalog that is no database": lambda m: [(header("catalog.sqlite", 6000), b"SELECT" * 1000), *m[1:]],
    "files that changed places": lambda m: [m[0], (m[1][0], m[4][1]), *m[2:]],
}


def negative(name: str) -> bytes:
    block = bytearray(header(name, 0))
    block[124:136] = b"\xff" * 12  # -1 in the binary notation of sizes
    return checksummed(block)


def checksummed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks(attack: str, archive: bytes, tmp_path: Path) -> None:
    bad = joined(ATTACKS[attack](members(archive)))
    assert bad != archive
    refused(bad, tmp_path)


def test_the_attacks_begin_with_a_good_archive(archive: bytes, tmp_path: Path) -> None:
    assert joined(members(archive)) == archive
    (tmp_path / "good.tar").write_bytes(archive)
    import_index(tmp_path / "good.tar", tmp_path / "new")
    assert len(answers(tmp_path / "new")) == len(DOCS)


def test_bytes_that_are_no_archive(archive: bytes, tmp_path: Path) -> None:
    for content in (b"", b"x", bytes(BLOCK), bytes(100 * BLOCK), b"x" * 100 * BLOCK, archive[1:]):
        refused(content, tmp_path)
    for content in (archive + b"\0", archive + archive, archive[:-BLOCK], archive[:-1] + b"x"):
        refused(content, tmp_path)


def test_cut_anywhere(archive: bytes, tmp_path: Path) -> None:
    rng = random.Random(5)
    blocks = range(0, len(archive), BLOCK)
    for at in [*rng.sample(blocks, 25), *(rng.randrange(len(archive)) for _ in range(15))]:
        refused(archive[:at], tmp_path)


def test_a_flipped_bit_anywhere(index: Path, archive: bytes, tmp_path: Path) -> None:
    """In the catalog's unused bytes it does no harm; everywhere else the archive is refused."""
    rng, expected, harmless = random.Random(6), answers(index), 0
    catalog = BLOCK + len(members(archive)[0][1])
    for _ in range(60):
        at = rng.randrange(len(archive))
        bad = bytearray(archive)
        bad[at] ^= 1 << rng.randrange(8)
        (tmp_path / "bad.tar").write_bytes(bad)
        try:
            import_index(tmp_path / "bad.tar", tmp_path / f"new{at}")
        except IndexFolderError:
            assert tree(tmp_path)[0] == "bad.tar" and not (tmp_path / f"new{at}").exists()
            continue
        assert at < catalog, f"byte {at} is in a file"
        assert answers(tmp_path / f"new{at}") == expected
        harmless += 1
    assert harmless < 60


# -- catalogs that lie, in archives that are well made ---------------------------------------


def packed(index: Path, files: list[tuple[str, bytes]]) -> bytes:
    """An archive of a folder's catalog and these files, whatever its catalog says."""
    connection = sqlite3.connect(index / "catalog.sqlite")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    parts = [("catalog.sqlite", (index / "catalog.sqlite").read_bytes()), *files]
    return joined([(header(name, len(data)), data) for name, data in parts])


def stored(index: Path) -> list[tuple[str, bytes]]:
    paths = sorted(path for path in (index / "segments").rglob("*") if path.is_file())
    return [(str(path.relative_to(index)), path.read_bytes()) for path in paths]


@pytest.fixture
def forged(index: Path, tmp_path: Path) -> Path:
    """An index to change, beside the folder of the test."""
    (tmp_path / "test").mkdir()
    restore_index(index, tmp_path / "forged")
    return tmp_path / "forged"


@pytest.mark.parametrize(
    "path",
    ["../evil", "/tmp/evil", "segments/../../evil", "catalog.sqlite", "catalog.sqlite-wal", "a/../../b"],
)
def test_a_catalog_that_names_paths_outside(forged: Path, tmp_path: Path, path: str) -> None:
    changed = forge(forged, "offsets", lambda file: replace(file, path=path))
    files = [(path if name.endswith("1/offsets.bin") else name, data) for name, data in stored(forged)]
    assert changed.path == path
    assert "cannot belong to an index" in refused(packed(forged, sorted(files)), tmp_path / "test")


def test_a_catalog_of_a_newer_version(forged: Path, tmp_path: Path) -> None:
    execute(forged, "UPDATE meta SET value = '99' WHERE key = 'format_version'")
    assert "format 99" in refused(packed(forged, stored(forged)), tmp_path / "test")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER evil AFTER INSERT ON documents BEGIN DELETE FROM documents; END",
        "CREATE VIEW evil AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "CREATE VIRTUAL TABLE evil USING fts4(x)",
    ],
)
def test_a_catalog_with_a_program_in_it(forged: Path, tmp_path: Path, sql: str) -> None:
    execute(forged, sql)
    assert "'evil'" in refused(packed(forged, stored(forged)), tmp_path / "test")


def test_a_database_that_is_no_catalog(forged: Path, tmp_path: Path) -> None:
    (forged / "catalog.sqlite").unlink()
    connection = sqlite3.connect(forged / "catalog.sqlite")
    connection.execute("CREATE TABLE books (title TEXT)")
    connection.commit()
    connection.close()
    data = (forged / "catalog.sqlite").read_bytes()
    assert "no catalog" in refused(joined([(header("catalog.sqlite", len(data)), data)]), tmp_path / "test")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("offsets", np.array([0, 2**40, *range(3, 31, 3), 30], dtype="<i8")[:11].tobytes()),
        ("offsets", np.array([0, -3, *range(6, 33, 3)], dtype="<i8").tobytes()),
        ("documents", b"ARROW1\0\0" + b"\xff" * 2000),
        ("documents", b""),
    ],
)
def test_files_that_make_no_sense_with_checksums_to_match(
    forged: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    """Kernels would follow such offsets out of their arrays."""
    sha256 = hashlib.sha256(content).hexdigest()
    changed = forge(forged, name, lambda file: replace(file, bytes=len(content), sha256=sha256))
    files = [(path, content if path == changed.path else data) for path, data in stored(forged)]
    refused(packed(forged, files), tmp_path / "test")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE files SET bytes = -1 WHERE path LIKE '%1/codes.bin'",
        "UPDATE files SET bytes = 'many' WHERE path LIKE '%1/codes.bin'",
        "UPDATE files SET shape = '[1, -1]' WHERE path LIKE '%1/codes.bin'",
        "UPDATE files SET dtype = 'object' WHERE path LIKE '%1/codes.bin'",
        "UPDATE codecs SET config = '[[[['",
    ],
)
def test_values_that_make_no_sense(forged: Path, tmp_path: Path, sql: str) -> None:
    execute(forged, sql)
    with Catalog.open(forged) as catalog:
        try:
            for segment in catalog.segments():
                checksum = (segment.checksum, segment.segment)
                execute(forged, "UPDATE segments SET sha256 = ? WHERE segment = ?", *checksum)
        except IndexDamagedError:
            pass
    refused(packed(forged, stored(forged)), tmp_path / "test")
