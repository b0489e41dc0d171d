"""Lose power at any moment, and look whether every state that the disk may be left in is good.

    python -m tests.crash.power --replays 10000 --seed 1

Operations are recorded call by call (`tests.crash.recording`). A replay cuts the log anywhere, lays
out one of the legal states (`tests.crash.lossy`), and opens it: each index must be at the commit that
its catalog tells, with every document of it, and a writer must be able to go on. What was acknowledged
before the cut must be there.

SQLite is trusted: what COMMIT acknowledged is durable, with the name of the catalog's file (with
``synchronous=FULL`` it syncs the folder at the first commit to a new log).
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from retrieval import Document, Engine, IndexConfig, verify_index
from retrieval.copies import export_index, import_index, restore_index, snapshot_index
from retrieval.errors import IndexNotFoundError, IndexUnfinishedError
from retrieval.storage import disk
from tests.crash.lossy import Disk
from tests.crash.recording import Event, Recorder
from tests.crash.stored import Content, check_search, contents, memory, orphans
from tests.crash.writing import RECIPES, WORDS, applied, carry_out, runtime
from tests.encoders import BucketDense

CONFIG = IndexConfig.of(segment_documents=10)
REPLAYS_PER_RECORDING = 500
LEFT_BEHIND = (".partial", ".replaced")
"""Ends of the names under which copies are prepared; the next copy to the same place removes them."""


def some(rng: random.Random, name: str, n: int) -> list[tuple[str, str, int]]:
    return [(f"{name}{i}", " ".join(rng.choices(WORDS, k=4)), rng.randrange(100)) for i in range(n)]


def documents(rows: Sequence[tuple[str, str, int]]) -> list[Document]:
    return [Document(i, text, metadata={"n": n}) for i, text, n in rows]


def built(index: Path, rows: Sequence[tuple[str, str, int]]) -> Content:
    """Build an index, or finish what is left of building it."""
    Engine.build(index, documents(rows), BucketDense(), config=CONFIG, resume=True)
    return {i: (text, n) for i, text, n in rows}


class Script:
    """The operations that are recorded: every one that the engine has."""

    def __init__(self, recorder: Recorder, seed: int) -> None:
        self._recorder, self._rng = recorder, random.Random(seed)
        root = recorder.root
        self.index, self.snapshot, self.restored = root / "i", root / "copies" / "s", root / "r"
        self.file, self.imported, self.created = root / "e.tar", root / "m", root / "deep" / "er" / "c"
        self.killed = root / "k"
        self.source = some(self._rng, "b", 25)
        self._calibrated_at: int | None = None

    def are_as_encoded(self, index: Path, n_events: int) -> bool:
        """Whether no calibration to bytes can have changed the vectors of ``index`` in the first events: what
        bytes have cut off does not come back with a later recipe of floats, nor in a copy."""
        own = index in (self.created, self.killed)
        return own or self._calibrated_at is None or n_events <= self._calibrated_at

    def run(self) -> None:
        content = built(self.index, self.source)
        self._recorder.done(self.index, content)
        content = self._write(content)
        for copy, target in (
            (lambda: snapshot_index(self.index, self.snapshot), self.snapshot),
            (lambda: restore_index(self.snapshot, self.restored), self.restored),
            (lambda: export_index(self.index, self.file), self.file),
            (lambda: import_index(self.file, self.imported), self.imported),
        ):
            copy()
            self._recorder.done(target, content)
        content = self._more(self.index, content)
        restore_index(self.index, self.restored, replace=True)
        self._recorder.done(self.restored, content)
        self._more(self.restored, content)
        Engine.create(self.created, BucketDense(), config=CONFIG).close()
        self._recorder.done(self.created, {})
        self._after_kills()

    def _after_kills(self) -> None:
        """Folders that a killed process made, before their names were durable."""
        for folder in (self.killed, self.killed / "segments"):
            disk.mkdir(folder)
            if folder == self.killed:
                Engine.create(folder, BucketDense(), config=CONFIG).close()
                self._recorder.done(self.killed, {})
        with Engine.open(self.killed, BucketDense(), runtime=runtime("manual")) as engine:
            rows = some(self._rng, "k", 30)
            engine.add(documents(rows))
            self._recorder.done(self.killed, {i: (text, n) for i, text, n in rows})

    def _write(self, content: Content) -> Content:
        rng = self._rng
        verbs = ["add", "upsert", "delete", "delete by filter", "flush"]
        plan = [("add", 3), ("add", 30), ("flush", 0), ("upsert", 20), ("compact", 0)]
        plan += [(rng.choice(verbs), rng.choice([1, 4, 14])) for _ in range(8)]
        plan += [("add", 30), ("add", 30), ("add", 30), ("delete", 9), ("maintain", 0), ("convert", 0)]
        plan += [("train", 0), ("add", 20), ("upsert", 2), ("compact", 0), ("train", 0)]
        with Engine.open(self.index, BucketDense(), runtime=runtime("manual")) as engine:
            for number, (verb, size) in enumerate(plan):
                rows = some(rng, f"u{number}-" if verb == "add" else "b", size)
                operation = {"verb": verb, "documents": rows, "precision": "float16"}
                operation |= {"ids": rng.sample(sorted(content), min(size, len(content)))}
                if verb == "train":
                    precision = rng.choice([None, "float32", "int8"])
                    operation |= {"recipe": rng.choice(RECIPES), "precision": precision, "retrain": True}
                    if precision == "int8" and self._calibrated_at is None:
                        self._calibrated_at = len(self._recorder.events)
                operation |= {"from": 10 * number % 100, "to": 10 * number % 100 + size}
                carry_out(engine, operation)
                content = applied(operation, content)
                self._recorder.done(self.index, content)
        return content

    def _more(self, index: Path, content: Content) -> Content:
        operation = {"verb": "upsert", "documents": some(self._rng, "m", 3)}
        with Engine.open(index, BucketDense(), runtime=runtime("manual")) as engine:
            carry_out(engine, operation)
            content = applied(operation, content)
            self._recorder.done(index, content)
            engine.flush()
        return content


class Replayer:
    """States after power losses during one recorded run."""

    def __init__(self, folder: Path, seed: int) -> None:
        root = folder / "recorded"
        root.mkdir()
        recorder = Recorder(root)
        with recorder.installed():
            self.script = Script(recorder, seed)
            self.script.run()
        self.events, self._root, self._state = recorder.events, root, folder / "state"

    def replay(self, rng: random.Random, cut: int | None = None) -> str:
        """Check one state; raises AssertionError or RetrievalError if it is not good. Gives the call
        before which the power went."""
        n = rng.randrange(1, len(self.events) + 1) if cut is None else cut
        self._state.mkdir()
        try:
            commits = Disk(self._root, self.events[:n]).lay_out(self._state, rng)
            self._check(commits, self.events[:n])
        finally:
            shutil.rmtree(self._state)
        return self.events[n].verb if n < len(self.events) else "end"

    def _check(self, commits: dict[Path, Event | None], events: Sequence[Event]) -> None:
        for path in self._acknowledged(events):
            assert path.exists(), f"{path} was acknowledged and is gone"
        for path, last in commits.items():
            if last is not None:
                assert last.expected is not None
                _check_index(path, last.expected)
            elif (path / "catalog.sqlite").exists() and not path.name.endswith(LEFT_BEHIND):
                self._check_copy(path, events)
        archive = self._in_state(self.script.file)
        if archive.exists():
            import_index(archive, self._state / "unpacked")
            self._check_copy(self._state / "unpacked", events, self.script.file)
        self._go_on(commits, events)

    def _in_state(self, path: Path) -> Path:
        return self._state / path.relative_to(self._root)

    def _acknowledged(self, events: Sequence[Event]) -> set[Path]:
        """Paths that must be there: only a restore takes an index away, to put another there."""
        sure: set[Path] = set()
        for event in events:
            if event.verb == "done":
                sure.add(self._in_state(event.path))
            elif event.verb == "rename":
                sure.discard(self._in_state(event.path))
        return sure

    def _check_copy(self, path: Path, events: Sequence[Event], made: Path | None = None) -> None:
        """A copy is whole as soon as it has its name; a catalog without a commit is no index."""
        made = made or self._root / path.relative_to(self._state)
        wanted = [event.expected for event in self.events if event.verb == "done" and event.path == made]
        if any(event.verb == "rename" and event.target == made for event in events):
            _check_index(path, *(content for content in wanted if content is not None))

    def _go_on(self, commits: dict[Path, Event | None], events: Sequence[Event]) -> None:
        """The next writer, and the next copy to a place where one was cut off."""
        script, state, last = self.script, self._in_state, events[-1]
        if commits.get(state(script.index)) is None:
            assert built(state(script.index), script.source) == contents(state(script.index))
        for index in (script.index, script.restored, script.created, script.killed):
            if state(index) in commits and last.path.is_relative_to(index):
                as_encoded = script.are_as_encoded(index, len(events))
                _write_on(state(index), script.source, are_as_encoded=as_encoded)
        before = contents(state(script.index))
        for source, target in ((script.index, script.snapshot), (script.index, script.restored)):
            if last.path.name.endswith(LEFT_BEHIND) or last.path.parent.name.endswith(LEFT_BEHIND):
                restore_index(state(source), state(target), replace=True)
                _check_index(state(target), before)
                left = [path for path in state(target).parent.iterdir() if path.name.endswith(LEFT_BEHIND)]
                assert not [path for path in left if path.name.startswith(f".{target.name}.")], left


def _check_index(index: Path, *allowed: Content) -> None:
    report = verify_index(index)
    assert report.ok, report.problems
    found = contents(index)
    assert found in allowed, f"{index} holds {len(found)} documents, not those of its commit"


def _write_on(index: Path, source: Sequence[tuple[str, str, int]], *, are_as_encoded: bool) -> None:
    """A writer carries on as after any other end."""
    try:
        engine = Engine.open(index, BucketDense(), runtime=runtime("manual"))
    except (IndexUnfinishedError, IndexNotFoundError):
        built(index, source)
        engine = Engine.open(index, BucketDense(), runtime=runtime("manual"))
    with engine:
        before = contents(index)
        operation = {"verb": "upsert", "documents": [("next", "alpha", 1), ("b1", "beta", 2)]}
        carry_out(engine, operation)
        assert contents(index) == applied(operation, before) and not orphans(index)
        engine.flush()
        check_search(engine, index, "alpha delta", index, are_as_encoded=are_as_encoded)
        report = engine.verify()
        assert report.ok and not orphans(index), report.problems


def campaign(replays: int, seed: int) -> Counter[str]:
    """Run it; raises at the first bad state. Gives how often the power went before each call."""
    rng, cuts, replayer = random.Random(seed), Counter[str](), None
    with tempfile.TemporaryDirectory(dir=memory()) as name:
        for number in range(replays):
            if number % REPLAYS_PER_RECORDING == 0:
                folder = Path(name) / str(number)
                folder.mkdir()
                replayer = Replayer(folder, rng.randrange(2**32))
            assert replayer is not None
            try:
                cuts[replayer.replay(rng)] += 1
            except BaseException as error:
                error.add_note(f"seed {seed}, replay {number}")
                raise
    return cuts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replays", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    print("seed", given.seed, flush=True)
    began = time.perf_counter()
    cuts = campaign(given.replays, given.seed)
    print(f"{cuts}\n0 bad states of {given.replays} in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
