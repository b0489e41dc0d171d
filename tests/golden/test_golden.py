"""Index folders of every format version stay readable, and can be written to."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval import Document, Engine, RuntimeConfig, verify_index
from retrieval.storage.schema import FORMAT_VERSION
from tests.crash.stored import EVERYTHING
from tests.encoders import HashingDense, HashingLate
from tests.golden.make import HERE, answers, living

NAMES = sorted(path.stem for path in HERE.glob("v*.json"))
MANUAL = RuntimeConfig.of(maintenance="manual")


def encoder_of(name: str) -> HashingDense | HashingLate:
    return HashingLate(16) if "late" in name else HashingDense(16)


def content(folder: Path) -> dict[str, bytes]:
    """The committed part of a folder."""
    files = [folder / "catalog.sqlite"]
    files += [path for kind in ("segments", "codecs") for path in sorted(folder.glob(f"{kind}/*/*"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def check_answers(engine: Engine, name: str) -> None:
    """Those given when the index was made, also where what was trained is asked. Scores may differ in the
    last bits: the encoder's and the kernels' sums are rounded in another order on another machine."""
    expected = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    found = answers(engine)
    assert found.keys() == expected.keys() and answers(engine, EVERYTHING) == found
    plan = engine.search("tea", params=EVERYTHING, explain="plan").plan
    assert plan is not None and ("probe" in plan["segments"]) == name.endswith("trained")
    for query, hits in found.items():
        assert [doc_id for doc_id, _ in hits] == [doc_id for doc_id, _ in expected[query]]
        scores = [score for _, score in expected[query]]
        assert [score for _, score in hits] == pytest.approx(scores, rel=1e-6, abs=1e-6)


def check_documents(engine: Engine, name: str) -> None:
    documents = living(name)
    assert {doc_id: engine.get(doc_id) for doc_id in documents} == documents and len(engine) == len(documents)
    years = [document.metadata.get("year") for document in documents.values()]
    recent = {"year": {"gte": 2004}}
    assert engine.count(recent) == sum(year is not None and year >= 2004 for year in years) > 0
    assert dict(engine.facets("place.floor")) == dict.fromkeys(
        [d.metadata["place"]["floor"] for d in documents.values() if "floor" in d.metadata.get("place", {})],
        1,
    )


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a golden index, which nothing may write to."""
    before = content(HERE / request.param)
    yield request.param
    assert content(HERE / request.param) == before


@pytest.fixture
def index(name: str, tmp_path: Path) -> Path:
    for path, data in content(HERE / name).items():
        (tmp_path / "i" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "i" / path).write_bytes(data)
    return tmp_path / "i"


def test_there_are_folders_of_every_format() -> None:
    kinds = ("dense", "late")
    plain = [f"v{version}-{kind}" for version in range(1, FORMAT_VERSION + 1) for kind in kinds]
    assert sorted([*plain, "v2-trained", "v2-late-trained"]) == NAMES


@pytest.mark.parametrize("trained", ["v2-trained", "v2-late-trained"])
def test_the_trained_ones_are_small_and_whole(trained: str) -> None:
    files = content(HERE / trained)
    assert sum(map(len, files.values())) < 100_000
    assert any("/arranged-" in path for path in files) and any("codec-span" in path for path in files)


def test_it_is_read_as_it_was(index: Path, name: str) -> None:
    before = content(index)
    with Engine.open(index, encoder_of(name), runtime=MANUAL) as engine:
        check_answers(engine, name)
        check_documents(engine, name)
        assert f"v{engine.inspect().format_version}" == name[:2]
    assert verify_index(index).ok
    assert content(index) == before  # reading does not upgrade


def test_it_is_read_from_a_medium_that_cannot_be_written(name: str) -> None:
    """By an unprivileged process: not even SQLite's scratch files can be made."""
    folder = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(HERE / name, folder / "i", ignore=shutil.ignore_patterns("*-wal", "*-shm"))
        for path in (folder, folder / "i", *(folder / "i").rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                with Engine.open(folder / "i", encoder_of(name)) as engine:
                    check_answers(engine, name)
                    assert engine.verify().ok
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_it_can_be_written_to(index: Path, name: str) -> None:
    documents = dict(living(name))
    changes = [Document("tea", "No more tea.", "Tea", {"year": 2026}), Document("late", "A late guest.")]
    with Engine.open(index, encoder_of(name), runtime=MANUAL) as engine:
        assert engine.upsert(changes).replaced == 1
        assert engine.delete(["north", "nobody"]) == 1
        documents |= {document.id: document for document in changes}
        del documents["north"]
        for upkeep in (lambda: None, engine.flush, engine.maintain, engine.compact):
            upkeep()
            assert verify_index(index).problems == ()
            assert {hit.id for hit in engine.search("tea", k=50)} == set(documents)
            assert {doc_id: engine.get(doc_id) for doc_id in documents} == documents
        info = engine.inspect()
    assert (info.format_version, info.segments, info.pending, info.deleted) == (FORMAT_VERSION, 1, 0, 0)


def tables(index: Path) -> dict[str, Any]:
    """What the catalog's tables are made of."""
    connection = sqlite3.connect(f"file:{index / 'catalog.sqlite'}?mode=ro", uri=True)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE sql NOT NULL")]
    found = {name: connection.execute(f"PRAGMA table_xinfo({name})").fetchall() for name in names}
    connection.close()
    return found


def test_a_format_is_frozen(index: Path, name: str, tmp_path: Path) -> None:
    """Whoever changes the tables raises the format version; and an older one is upgraded to all of it."""
    Engine.create(tmp_path / "new", encoder_of(name)).close()
    if name[:2] != f"v{FORMAT_VERSION}":
        assert tables(index) != tables(tmp_path / "new")
        with Engine.open(index, encoder_of(name), runtime=MANUAL) as engine:
            engine.delete(["tea"])
    assert tables(index) == tables(tmp_path / "new")
