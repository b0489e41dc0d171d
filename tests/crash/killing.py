"""Kill a build at random moments, resume it, and compare with one that was left alone.

    python -m tests.crash.killing CORPUS --kills 50 --seed 1

The child process is killed with SIGKILL. After each resume, `verify` must find nothing and the
index must equal the uninterrupted one: every file byte for byte, and every row of the catalog
but its time stamps.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from retrieval import Engine, ErrorPolicy, IndexConfig, RecipeConfig, open_corpus
from retrieval.errors import IndexNotFoundError
from retrieval.storage import Catalog
from tests.encoders import BucketDense

ROOT = Path(__file__).parents[2]
TABLES = {
    "commits": "generation, operation",
    # not the row's checksum, which covers how fast its recall was measured
    "codecs": "codec, name, config, kind, metric, dim, encoder, encoder_fingerprint, fingerprint",
    "segments": "*",
    "files": "*",
    "documents": "*",
    "meta": "*",
}


TRAINED = {"recipe": RecipeConfig.of(index="ivf", bits=2, nlist=12, held_out=16), "precision": "int8"}
"""What an index is trained to when all its documents are in."""


def build(corpus: Path, index: Path, segment_documents: int, *, resume: bool, trained: bool) -> None:
    """What the child does."""
    policy = ErrorPolicy("skip")
    config = IndexConfig.of(segment_documents=segment_documents, **(TRAINED if trained else {}))
    source = open_corpus(corpus, policy=policy)
    Engine.build(index, source, BucketDense(), config=config, resume=resume, policy=policy)


TIMED = re.compile(r'"(pace|preparing)": ?[-+.e0-9]+')


def content(index: Path) -> dict[str, Any]:
    """Everything that two equal builds must share."""
    files = {
        str(path.relative_to(index)): hashlib.sha256(path.read_bytes()).hexdigest()
        for kind in ("segments", "codecs")
        for path in sorted((index / kind).rglob("*"))
        if path.is_file()
    }
    connection = sqlite3.connect(f"file:{index / 'catalog.sqlite'}?mode=ro", uri=True)
    try:
        rows = {
            table: [
                tuple(_untimed(value) for value in row)
                for row in connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1")
                if row[0] not in ("created_at", "identity", "checksum")
            ]
            for table, columns in TABLES.items()
        }
    finally:
        connection.close()
    return {"bytes on disk": files, **rows}


def _untimed(value: Any) -> Any:
    """A recall curve also tells how fast it was measured."""
    return TIMED.sub("", value) if isinstance(value, str) else value


def state_after_kill(index: Path) -> str:
    """Word for what the kill left: nothing, a catalog without segments, N segments, or all of them."""
    try:
        with Catalog.open(index) as catalog:
            if catalog.meta("build")["complete"]:
                return "trained" if catalog.codec().pipeline else "complete"
            return f"{len(catalog.segments())} segments"
    except IndexNotFoundError:
        return "no index"


def child(corpus: Path, index: Path, segment_documents: int, trained: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.crash.killing", str(corpus), "--child", str(index)]
    command += ["--segment-documents", str(segment_documents), *(["--trained"] if trained else [])]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def campaign(
    corpus: Path, folder: Path, kills: int, seed: int, segment_documents: int, *, trained: bool = False
) -> Counter[str]:
    """Run it; raises AssertionError at the first difference. Returns what the kills left behind."""
    for whole in (folder / "cold", folder / "whole"):  # the first one may have to compile kernels
        process = child(corpus, whole, segment_documents, trained)
        assert process.stdout is not None and process.stdout.readline() == b"started\n"
        began = time.perf_counter()
        assert process.wait() == 0
        process.stdout.close()
        seconds = time.perf_counter() - began
    expected = content(folder / "whole")
    rng = random.Random(seed)
    left: Counter[str] = Counter()
    for number in range(kills):
        index = folder / f"killed-{number}"
        process = child(corpus, index, segment_documents, trained)
        assert process.stdout is not None and process.stdout.readline() == b"started\n"
        time.sleep(rng.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        left[state_after_kill(index)] += 1
        build(corpus, index, segment_documents, resume=True, trained=trained)
        with Engine.open(index, BucketDense()) as engine:
            report = engine.verify()
        assert report.ok, (seed, number, report.problems)
        assert content(index) == expected, (seed, number, "the resumed index differs")
    return left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--segment-documents", type=int, default=4096)
    parser.add_argument("--trained", action="store_true")
    parser.add_argument("--child", type=Path)
    given = parser.parse_args()
    if given.child:
        print("started", flush=True)
        build(given.corpus, given.child, given.segment_documents, resume=False, trained=given.trained)
        return
    with tempfile.TemporaryDirectory() as folder:
        left = campaign(
            given.corpus,
            Path(folder),
            given.kills,
            given.seed,
            given.segment_documents,
            trained=given.trained,
        )
    print(f"seed {given.seed}: {given.kills} kills, 0 differences, 0 problems; they left: {dict(left)}")


if __name__ == "__main__":
    main()
