"""A killed build can be resumed and gives the same index; see `tests.crash.killing` for more."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
from pathlib import Path

import pytest

from retrieval import Document, Engine, IndexConfig
from retrieval.errors import (
    ConfigError,
    DataError,
    EncoderMismatchError,
    IndexExistsError,
    IndexFolderError,
    IndexLockedError,
    IndexNotFoundError,
    IndexUnfinishedError,
)
from retrieval.storage import writer_lock
from tests.crash.killing import TRAINED, campaign, content
from tests.encoders import BucketDense, HashingDense

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def corpus_of(folder: Path, n: int) -> Path:
    rng = random.Random(5)
    corpus = folder / "corpus.jsonl"
    with corpus.open("w") as file:
        for i in range(n):
            doc = {"_id": f"d{i if i % 997 else 0}", "text": " ".join(rng.choices(WORDS, k=30)), "n": i}
            file.write(json.dumps(doc) + "\n")
    return corpus


def test_killed_builds_resume_to_the_same_index(tmp_path: Path) -> None:
    seed = int(os.environ.get("RETRIEVAL_TEST_SEED", "1"))
    print("seed", seed)
    left = campaign(
        corpus_of(tmp_path, 6000),
        tmp_path,
        kills=int(os.environ.get("RETRIEVAL_TEST_KILLS", "12")),
        seed=seed,
        segment_documents=300,
    )
    assert sum(left.values()) >= 12
    assert any("segments" in state and state != "0 segments" for state in left), left


def test_builds_killed_in_training_resume_to_the_same_index(tmp_path: Path) -> None:
    seed = int(os.environ.get("RETRIEVAL_TEST_SEED", "1"))
    kills = int(os.environ.get("RETRIEVAL_TEST_KILLS", "6"))
    corpus = corpus_of(tmp_path, 600)  # most of the time is for training
    left = campaign(corpus, tmp_path, kills, seed, segment_documents=300, trained=True)
    assert sum(left.values()) == kills and left["complete"], left


class Interrupted(Exception):
    pass


def test_what_a_training_wrote_before_it_stopped_takes_no_number(tmp_path: Path) -> None:
    def stop(stage: str, share: float | None) -> None:
        if stage == "pseudo-queries":  # the new segment is on disk
            assert share is None and len(list((tmp_path / "i" / "segments").iterdir())) == 6
            raise Interrupted

    config = IndexConfig.of(segment_documents=10, **TRAINED)
    Engine.build(tmp_path / "whole", documents(), BucketDense(), config=config, force=True)
    with pytest.raises(Interrupted):
        Engine.build(
            tmp_path / "i", documents(), BucketDense(), config=config, force=True, training_progress=stop
        )
    Engine.build(tmp_path / "i", documents(), BucketDense(), config=config, force=True, resume=True)
    assert content(tmp_path / "i") == content(tmp_path / "whole")


def interrupted_after(n: int) -> list[Document]:
    class Source(list):  # type: ignore[type-arg]
        def __iter__(self):  # type: ignore[no-untyped-def]
            for i, item in enumerate(super().__iter__()):
                if i == n:
                    raise Interrupted
                yield item

    return Source(documents())


def documents(changed: int | None = None) -> list[Document]:
    return [Document(f"d{i}", f"{WORDS[i % 10]} number {i}{'!' if i == changed else ''}") for i in range(50)]


SMALL = IndexConfig.of(segment_documents=10)


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    with pytest.raises(Interrupted):
        Engine.build(tmp_path / "i", interrupted_after(35), BucketDense(), config=SMALL)
    return tmp_path / "i"


def test_an_unfinished_index_is_not_searched(unfinished: Path) -> None:
    with pytest.raises(IndexUnfinishedError, match="30 documents committed"):
        Engine.open(unfinished)
    with pytest.raises(IndexUnfinishedError, match="--resume"):
        Engine.build(unfinished, documents(), BucketDense(), config=SMALL)


def test_resume_counts_and_equals(unfinished: Path, tmp_path: Path) -> None:
    report = Engine.build(unfinished, documents(), BucketDense(), config=SMALL, resume=True)
    assert (report.documents, report.resumed_documents) == (50, 30)
    Engine.build(tmp_path / "whole", documents(), BucketDense(), config=SMALL)
    assert content(unfinished) == content(tmp_path / "whole")
    again = Engine.build(unfinished, documents(), BucketDense(), config=SMALL, resume=True)
    assert (again.documents, again.resumed_documents) == (50, 50)
    assert content(unfinished) == content(tmp_path / "whole")


def test_resume_with_changed_input_or_options_is_refused(unfinished: Path) -> None:
    with pytest.raises(DataError, match=r"records 11 to 20"):
        Engine.build(unfinished, documents(changed=15), BucketDense(), config=SMALL, resume=True)
    with pytest.raises(DataError, match=r"records 21 to 30"):
        Engine.build(unfinished, documents()[:25], BucketDense(), config=SMALL, resume=True)
    with pytest.raises(ConfigError, match=r"segment_documents=11, but the build began with 10"):
        Engine.build(
            unfinished, documents(), BucketDense(), config=SMALL.replace(segment_documents=11), resume=True
        )
    with pytest.raises(EncoderMismatchError):
        Engine.build(unfinished, documents(), HashingDense(), config=SMALL, resume=True)
    # A change after the last commit is no change of what is indexed.
    assert (
        Engine.build(unfinished, documents(changed=40), BucketDense(), config=SMALL, resume=True).documents
        == 50
    )


def test_a_failure_before_the_first_commit_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        Engine.build(tmp_path / "i", interrupted_after(5), BucketDense(), config=SMALL)
    assert not (tmp_path / "i").exists()


def test_leftovers_of_a_killed_creation_are_no_index(tmp_path: Path) -> None:
    index = tmp_path / "i"
    (index / "segments" / "00000001").mkdir(parents=True)
    (index / "segments" / "00000001" / "codes.bin").write_bytes(b"123")
    (index / "catalog.sqlite").write_bytes(b"")
    Engine.build(index, documents(), BucketDense(), config=SMALL, resume=True)
    with Engine.open(index, BucketDense()) as engine:
        assert engine.verify().ok and len(engine) == 50


def test_segments_without_a_catalog_are_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "thesis.txt").write_text("my life's work")
    with pytest.raises(IndexExistsError, match="not an index"):
        Engine.build(tmp_path, documents(), BucketDense())
    assert (tmp_path / "segments" / "thesis.txt").read_text() == "my life's work"


def test_resuming_a_complete_build_looks_at_the_source(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(), BucketDense(), config=SMALL)
    with Engine.open(tmp_path / "i", BucketDense()) as engine:
        engine.add([Document("added", "omega")])
    report = Engine.build(tmp_path / "i", documents(), BucketDense(), config=SMALL, resume=True)
    assert (report.documents, report.resumed_documents) == (50, 50)
    with pytest.raises(DataError, match="grown since"):
        Engine.build(
            tmp_path / "i", [*documents(), Document("x", "y")], BucketDense(), config=SMALL, resume=True
        )
    with pytest.raises(DataError, match="input changed"):
        Engine.build(tmp_path / "i", documents(changed=3), BucketDense(), config=SMALL, resume=True)
    Engine.create(tmp_path / "made", BucketDense(), config=SMALL).close()
    with pytest.raises(IndexExistsError, match="not built but created"):
        Engine.build(tmp_path / "made", documents(), BucketDense(), config=SMALL, resume=True)


def test_orphans_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(), BucketDense())
    orphan = tmp_path / "i" / "segments" / "00000099"
    orphan.mkdir()
    (orphan / "codes.bin").write_bytes(b"123")
    with Engine.open(tmp_path / "i", BucketDense()) as engine:
        engine.add([Document("new", "omega")])
        assert not orphan.exists() and engine.verify().ok


def test_a_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(), BucketDense())
    with (
        Engine.open(tmp_path / "i", BucketDense()) as engine,
        writer_lock(tmp_path / "i"),
        pytest.raises(IndexLockedError, match=f"process {os.getpid()} on"),
    ):
        engine.add([Document("new", "omega")])


def test_a_builder_is_named_too(tmp_path: Path) -> None:
    def source():  # type: ignore[no-untyped-def]
        with pytest.raises(IndexLockedError, match=f"process {os.getpid()} on"):
            Engine.build(tmp_path / "i", documents(), BucketDense(), resume=True)
        yield from documents()

    assert Engine.build(tmp_path / "i", source(), BucketDense()).documents == 50


def test_a_full_disk_at_the_commit_is_told_and_changes_nothing(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(), BucketDense(), config=SMALL)
    before = content(tmp_path / "i")
    many = [Document(f"new-{i}-{'x' * 400}", "omega") for i in range(3000)]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # Larger files than the catalog is now cannot be written: SQLite sees a full disk.
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            with Engine.open(tmp_path / "i", BucketDense()) as engine:
                engine.add(many)
        except (IndexFolderError, OSError):
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with Engine.open(tmp_path / "i", BucketDense()) as engine:
        assert len(engine) == 50 and engine.verify().ok
        engine.add([Document("after", "omega")])
    after = content(tmp_path / "i")["bytes on disk"]
    assert {path: after.get(path) for path in before["bytes on disk"]} == before["bytes on disk"]


def test_adding_to_an_index_that_is_gone_makes_no_folder(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(), BucketDense())
    with Engine.open(tmp_path / "i", BucketDense()) as engine:
        shutil.rmtree(tmp_path / "i")
        with pytest.raises(IndexNotFoundError):
            engine.add([Document("new", "omega")])
    assert not (tmp_path / "i").exists()


def test_a_failed_build_beside_another_index_tells_its_own_error(tmp_path: Path) -> None:
    def source():  # type: ignore[no-untyped-def]
        Engine.build(tmp_path / "new" / "sibling", documents(), BucketDense())
        raise Interrupted
        yield

    with pytest.raises(Interrupted):
        Engine.build(tmp_path / "new" / "i", source(), BucketDense())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sibling"]
