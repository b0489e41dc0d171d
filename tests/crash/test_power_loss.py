"""No power loss leaves a bad index; see `tests.crash.power` for more replays."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.crash.lossy import File, Folder
from tests.crash.power import Script, campaign
from tests.crash.recording import Recorder

REPLAYS = int(os.environ.get("RETRIEVAL_TEST_REPLAYS", "200"))


def test_every_state_after_a_power_loss_is_good() -> None:
    seed = int(os.environ.get("RETRIEVAL_TEST_SEED", random.randrange(2**32)))
    print(f"reproduce with: python -m tests.crash.power --replays {REPLAYS} --seed {seed}")
    cuts = campaign(REPLAYS, seed)
    print(cuts)
    assert sum(cuts.values()) == REPLAYS
    assert REPLAYS < 200 or {"write", "sync", "sync_folder", "unlink", "committed", "commit"} <= set(cuts)


def test_the_model_keeps_what_was_synced_and_nothing_else_for_sure() -> None:
    rng = random.Random(0)
    file = File(b"durable, and not", b"durable")
    seen = {file.after_loss(rng) for _ in range(200)}
    assert {b"durable", b"durable, and not"} < seen and all(state.startswith(b"durable") for state in seen)
    folder, other = Folder(), File()
    folder.change(a=file)
    folder.sync()
    folder.change(a=None)
    folder.change(b=other)
    folder.change(b=None, c=other)
    states = {frozenset(folder.after_loss(rng, 0.5)) for _ in range(200)}
    kept = ({"a"}, set())
    assert states == {frozenset(a | b) for a in kept for b in (set(), {"b"}, {"c"})}


def test_the_recorder_sees_every_byte_of_every_file(tmp_path: Path) -> None:
    """`Disk` compares them at each sync; here: that each segment's file was synced at all."""
    recorder = Recorder(tmp_path)
    with recorder.installed():
        script = Script(recorder, 1)
        script.run()
    synced: set[Path] = set()
    for event in recorder.events:
        if event.verb == "sync":
            synced.add(event.path)
        elif event.target is not None:  # what lies in a folder moves with it
            synced = {_moved(path, event.path, event.target) for path in synced}
    for kind in ("segments", "codecs"):
        files = {path for path in (script.index / kind).rglob("*") if path.is_file()}
        assert files and files <= synced


def _moved(path: Path, source: Path, target: Path) -> Path:
    return target / path.relative_to(source) if path.is_relative_to(source) else path
