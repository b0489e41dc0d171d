"""A killed writer loses nothing it acknowledged; see `tests.crash.writing` for more kills."""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path

from retrieval import Document, Engine, IndexConfig
from tests.crash.stored import contents, orphans
from tests.crash.writing import campaign, runtime
from tests.encoders import BucketDense

KILLS = int(os.environ.get("RETRIEVAL_TEST_KILLS", "120"))


def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("RETRIEVAL_TEST_SEED", random.randrange(2**32)))
    print(f"reproduce with: python -m tests.crash.writing --kills {KILLS} --seed {seed}")
    outcome = campaign(tmp_path, KILLS, seed)
    print(outcome)
    assert outcome.kills == KILLS and outcome.operations > KILLS / 4
    assert KILLS < 100 or (outcome.left_orphans and len(outcome.under_way) > 4), outcome
    # One kill in thirty comes after the commit and before the report.
    assert KILLS < 200 or outcome.kept, outcome


def test_killed_beside_upkeep_they_lose_nothing(tmp_path: Path) -> None:
    """One process adds and deletes while another one folds, merges and trains; each is killed."""
    seed, kills = int(os.environ.get("RETRIEVAL_TEST_SEED", random.randrange(2**32))), KILLS // 5
    print(f"reproduce with: python -m tests.crash.writing --beside --kills {kills} --seed {seed}")
    outcome = campaign(tmp_path, kills, seed, beside=True)
    print(outcome)
    assert outcome.kills == kills and outcome.operations and outcome.upkeep["train"], outcome


def some(name: str, n: int) -> list[Document]:
    return [Document(f"{name}{i}", "alpha beta", metadata={"n": i}) for i in range(n)]


def test_a_commit_that_was_cut_off_does_not_come_back(tmp_path: Path) -> None:
    """A writer dies after SQLite's log has its commit and before SQLite's shared memory tells of it,
    while a reader lives: nobody sees the commit, until a crash makes SQLite recover it from the log.
    By then the next writer must not have taken the commit's files for leftovers."""
    index, shared = tmp_path / "i", tmp_path / "i" / "catalog.sqlite-shm"
    Engine.build(index, some("a", 5), BucketDense(), config=IndexConfig.of(segment_documents=10))
    with Engine.open(index, BucketDense(), runtime=runtime("manual")) as reader:
        assert len(reader) == 5
        child = os.fork()
        if child == 0:
            with Engine.open(index, BucketDense(), runtime=runtime("manual")) as writer:
                writer.delete(["a0"])
                before = shared.read_bytes()
                writer.add(some("b", 30))
                with shared.open("r+b") as file:  # the kill: the news has not got here
                    file.write(before)
                os.kill(os.getpid(), signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert len(reader) == 4 and len(orphans(index)) == 3
        with Engine.open(index, BucketDense(), runtime=runtime("manual")) as writer:
            writer.delete(["nobody"])
            assert not orphans(index)
        shutil.copytree(index, tmp_path / "crashed")
    (tmp_path / "crashed" / "catalog.sqlite-shm").unlink()
    with Engine.open(tmp_path / "crashed", BucketDense(), runtime=runtime("manual")) as engine:
        assert engine.verify().ok and set(contents(tmp_path / "crashed")) == {"a1", "a2", "a3", "a4"}
        engine.add(some("b", 30))
        assert engine.verify().ok and len(engine) == 34
