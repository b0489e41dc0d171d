"""Kill a process that writes to a living index, at random moments, and look what is left.

    python -m tests.crash.writing --kills 1000 --seed 1

A child does seeded random writes, in the foreground and with upkeep in the background. It says what
it is about to do, and that it has been done after the engine returned. SIGKILL ends it anywhere.
The parent knows from the reports what must be there, and what may be: the one operation under way,
whole or not at all.

With ``--beside`` there are two: one adds and deletes, while the other folds, merges and trains, and each of
them is killed at a moment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval import Document, Engine, IndexConfig, RecipeConfig, RuntimeConfig
from retrieval.errors import IndexLockedError
from tests.crash.stored import EVERYTHING, Content, check_search, contents, orphans
from tests.encoders import BucketDense

ROOT = Path(__file__).parents[2]
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
POOL = [f"d{i}" for i in range(300)]
PENDING = 12
"""Documents up to which an add goes to the catalog; more go to segments at once."""
FEWEST = 20
"""Documents from which on recipes are trained: enough for what each of them takes."""
LAST_NUMBER = 100
"""``n`` of a document is below this: deletes by filter take a stretch of it."""
SECONDS = 0.25
"""How long after its first operation a child is killed at the latest, where it is alone."""
SECONDS_BESIDE = 1.5
"""The same of two: training takes longer than a write."""

RENEWED = 40
"""Kills of one index; then a new one, whose vectors no calibration to bytes has touched."""

VERBS = {
    "add": 8,
    "upsert": 6,
    "delete": 4,
    "delete by filter": 2,
    "flush": 3,
    "maintain": 3,
    "compact": 1,
    "convert": 0.5,
    "train": 2,
}
"""How often each comes, of 29.5."""
WRITES = ("add", "upsert", "delete", "delete by filter")
UPKEEP = ("flush", "maintain", "compact", "convert", "train")

RECIPES: list[dict[str, Any]] = [
    {"index": "exact"},
    {"index": "ivf", "bits": 1, "nlist": 4},
    {"index": "ivf", "codec": "pq", "m": 8, "nlist": 2},
    {"index": "ivf", "reduce": "pca:20", "bits": 4},
    {"index": "flat", "codec": "sign"},
    {"index": "hnsw", "codec": "int8"},
    {"index": "vamana"},
    {"index": "funnel"},
]

Operation = dict[str, Any]


def runtime(maintenance: str) -> RuntimeConfig:
    return RuntimeConfig.of(maintenance=maintenance, pending_documents=PENDING, kernels="reference")


def documents_of(operation: Operation) -> list[Document]:
    return [Document(i, text, metadata={"n": n}) for i, text, n in operation["documents"]]


def filter_of(operation: Operation) -> dict[str, Any]:
    return {"n": {"gte": operation["from"], "lt": operation["to"]}}


def applied(operation: Operation, content: Content) -> Content:
    """What the index holds after an operation: the model."""
    if operation["verb"] in ("add", "upsert"):
        return {**content, **{i: (text, n) for i, text, n in operation["documents"]}}
    if operation["verb"] == "delete":
        return {i: value for i, value in content.items() if i not in operation["ids"]}
    if operation["verb"] == "delete by filter":
        inside = range(operation["from"], operation["to"])
        return {i: value for i, value in content.items() if value[1] not in inside}
    return content


# -- the child ------------------------------------------------------------------------------------


def chosen(rng: random.Random, there: Content, verbs: Sequence[str]) -> Operation:
    """The next operation; sizes on both sides of what makes a segment at once."""
    possible = [verb for verb in verbs if verb != "train" or len(there) >= FEWEST]
    verb = rng.choices(possible, [VERBS[verb] for verb in possible])[0]
    operation: Operation = {"verb": verb}
    if verb in ("add", "upsert"):
        pool = POOL if verb == "upsert" else [i for i in POOL if i not in there]
        size = rng.choice([1, 1, 2, 5, PENDING, PENDING + 1, 40])
        ids = rng.sample(pool, min(size, len(pool)))
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 6))) for _ in ids]
        operation["documents"] = [
            [i, text, rng.randrange(LAST_NUMBER)] for i, text in zip(ids, texts, strict=True)
        ]
    elif verb == "delete":
        operation["ids"] = rng.sample(POOL, rng.choice([1, 3, 30]))
    elif verb == "delete by filter":
        first = rng.randrange(LAST_NUMBER)
        operation |= {"from": first, "to": first + rng.choice([1, 5, 30])}
    elif verb == "convert":
        operation["precision"] = rng.choice(["float16", "float32"])
    elif verb == "train":
        operation["precision"] = rng.choice([None, None, None, "float16", "int8"])
        operation["recipe"] = rng.choice([None, *RECIPES])
        operation["retrain"] = rng.random() < 0.3
    return operation


def carry_out(engine: Engine, operation: Operation) -> None:
    doing: dict[str, Callable[[], object]] = {
        "add": lambda: engine.add(documents_of(operation)),
        "upsert": lambda: engine.upsert(documents_of(operation)),
        "delete": lambda: engine.delete(operation["ids"]),
        "delete by filter": lambda: engine.delete(filter=filter_of(operation)),
        "flush": engine.flush,
        "maintain": engine.maintain,
        "compact": engine.compact,
        "convert": lambda: engine.compact(operation["precision"]),
        "train": lambda: train(engine, operation),
    }
    doing[operation["verb"]]()


def train(engine: Engine, operation: Operation) -> None:
    """Compact into a new codec generation; few questions measure it."""
    given = operation["recipe"]
    recipe = None if given is None else RecipeConfig.of(**{"held_out": 8, **given})
    engine.compact(operation["precision"], recipe=recipe, retrain=operation["retrain"], force=True)


def write_until_killed(given: dict[str, Any]) -> None:
    """What the child does. Where another one writes too, it may be refused."""
    there = {i: (text, n) for i, (text, n) in given["there"].items()}
    rng = random.Random(given["seed"])
    with Engine.open(Path(given["index"]), BucketDense(), runtime=runtime(given["maintenance"])) as engine:
        while True:
            operation = chosen(rng, there, given["verbs"])
            _say({"do": operation})
            try:
                carry_out(engine, operation)
            except IndexLockedError:
                if given["verbs"] == [*VERBS]:
                    raise
                _say({"refused": True})
            else:
                _say({"done": True})
                there = applied(operation, there)


def _say(message: dict[str, Any]) -> None:
    os.write(1, (json.dumps(message) + "\n").encode())


def serve() -> None:
    """Fork a child for each line of standard input: importing takes longer than a child lives."""
    warm_up()
    for line in sys.stdin:
        given = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                _say({"pid": os.getpid()})
                write_until_killed(given)
            except BaseException as error:  # noqa: BLE001
                _say({"failed": f"{type(error).__name__}: {error}"})
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        _say({"dead": child})


def warm_up() -> None:
    """Train each recipe once, so that children need not load what it takes."""
    rows = [[f"w{n}", " ".join(WORDS[i] for i in range(10) if n >> i & 1), n] for n in range(1, 40)]
    with tempfile.TemporaryDirectory() as folder:
        Engine.create(Path(folder) / "i", BucketDense()).close()
        with Engine.open(Path(folder) / "i", BucketDense(), runtime=runtime("manual")) as engine:
            carry_out(engine, {"verb": "add", "documents": rows})
            for recipe in RECIPES:
                train(engine, {"recipe": recipe, "precision": "int8", "retrain": True})
                engine.search("alpha beta", params=EVERYTHING)


# -- the parent -----------------------------------------------------------------------------------


class Children:
    """Children one after the other, and what they said."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash.writing", "--serve"]
        # OpenMP's threads would not be there in a forked child.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._server = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
        self._partial = b""

    def kill_one(self, given: dict[str, Any], rng: random.Random) -> list[dict[str, Any]]:
        """Start a child, kill it at a random moment, and return its reports."""
        assert self._server.stdin is not None
        self._server.stdin.write((json.dumps(given) + "\n").encode())
        self._server.stdin.flush()
        reports, kill_at, pid = [], float("inf"), 0
        while True:
            for report in self._read(kill_at - time.monotonic()):
                pid = report.get("pid", pid)
                if "dead" in report:
                    return reports
                if "do" in report and kill_at == float("inf"):
                    kill_at = time.monotonic() + rng.uniform(0, given["seconds"])
                reports.append(report)
            if time.monotonic() >= kill_at:
                os.kill(pid, signal.SIGKILL)
                kill_at = float("inf")

    def _read(self, seconds: float) -> list[dict[str, Any]]:
        assert self._server.stdout is not None
        descriptor = self._server.stdout.fileno()
        ready, _, _ = select.select([descriptor], [], [], max(0.0, min(seconds, 60.0)))
        if not ready:
            return []
        content = os.read(descriptor, 1 << 20)
        assert content, "the server of children has died"
        *lines, self._partial = (self._partial + content).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


@dataclass
class Outcome:
    """What a campaign saw."""

    kills: int = 0
    operations: int = 0
    upkeep: Counter[str] = field(default_factory=Counter)
    """Operations of those that fold, merge and train beside."""
    under_way: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    """Operations under way that were there after the kill."""
    left_orphans: int = 0
    slowest_open: float = 0.0
    is_calibrated: bool = False
    """Whether a calibration to bytes may have changed the vectors of the index."""


def campaign(folder: Path, kills: int, seed: int, *, beside: bool = False) -> Outcome:
    """Run it; raises AssertionError at the first loss."""
    rng, outcome, content = random.Random(seed), Outcome(), Content()
    children = [Children() for _ in range(1 + beside)]
    reader = None
    try:
        for number in range(kills):
            where = f"seed {seed}, kill {number}"
            if number % RENEWED == 0:
                reader = _renewed(reader, None)
                index, outcome.is_calibrated = folder / f"i{number}", False
                content = {"last": ("none yet", LAST_NUMBER)}
                first = [Document("last", "none yet", metadata={"n": LAST_NUMBER})]
                Engine.build(index, first, BucketDense(), config=IndexConfig.of(segment_documents=10))
            if number % 10 == 0:
                # For half of the time a reader in another process keeps SQLite's log from recovery.
                reader = _renewed(reader, index if number % 20 == 0 else None)
            given = {"index": str(index), "seed": rng.randrange(2**32), "there": content}
            given["maintenance"] = rng.choice(["manual", "background"])
            given["verbs"] = [*(WRITES if beside else VERBS)]
            given["seconds"] = SECONDS_BESIDE if beside else SECONDS
            others = {**given, "verbs": [*UPKEEP], "seed": rng.randrange(2**32)}
            reports, upkeep = killed(children, [given, others], rng)
            count_upkeep(upkeep, outcome, where)
            content = after_kill(index, content, reports, outcome, where)
            if reader is not None:
                assert len(reader) == len(content) == reader.count(), where
    finally:
        for one in children:
            one.close()
        _renewed(reader, None)
    return outcome


def killed(
    children: Sequence[Children], given: Sequence[dict[str, Any]], rng: random.Random
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Start one child of each, kill each at a random moment, and return the reports of both."""
    with ThreadPoolExecutor(len(children)) as pool:
        running = [
            pool.submit(one.kill_one, what, random.Random(rng.random()))
            for one, what in zip(children, given, strict=False)
        ]
        reports = [one.result() for one in running]
    return reports[0], reports[1] if len(reports) > 1 else []


def count_upkeep(reports: list[dict[str, Any]], outcome: Outcome, where: str) -> None:
    """What the one beside has done; nothing that changes what the index holds."""
    verb = ""
    for report in reports:
        assert "failed" not in report, (where, verb, report)
        if "do" in report:
            verb = report["do"]["verb"]
            outcome.is_calibrated |= report["do"].get("precision") == "int8"
        outcome.upkeep[verb] += "done" in report


def _renewed(reader: Engine | None, index: Path | None) -> Engine | None:
    """The reader of ``index`` in place of another."""
    if reader is not None:
        reader.close()
    return None if index is None else Engine.open(index, BucketDense(), runtime=runtime("manual"))


def after_kill(
    index: Path, content: Content, reports: list[dict[str, Any]], outcome: Outcome, where: str
) -> Content:
    """Check everything, and return what the index holds now."""
    under_way: Operation | None = None
    for report in reports:
        assert "failed" not in report, (where, under_way, report)
        if "do" in report:
            under_way = report["do"]
            outcome.is_calibrated |= under_way.get("precision") == "int8"
        elif "done" in report:
            assert under_way is not None
            content, under_way = applied(under_way, content), None
            outcome.operations += 1
        elif "refused" in report:
            under_way = None
    outcome.kills += 1
    outcome.under_way[under_way["verb"] if under_way else "between"] += 1
    outcome.left_orphans += bool(orphans(index))
    began = time.perf_counter()
    with Engine.open(index, BucketDense(), runtime=runtime("manual")) as engine:
        n = len(engine)
        outcome.slowest_open = max(outcome.slowest_open, time.perf_counter() - began)
        found = contents(index)
        after = applied(under_way, content) if under_way else content
        assert found in (content, after), (where, under_way, _difference(found, content, after))
        outcome.kept += found != content
        report = engine.verify()
        assert report.ok, (where, under_way, report.problems)
        assert n == len(found), where
        as_encoded = not outcome.is_calibrated
        check_search(engine, index, "alpha gamma kappa", where, are_as_encoded=as_encoded)
        next_write = {"verb": "upsert", "documents": [["last", f"after {outcome.kills}", LAST_NUMBER]]}
        carry_out(engine, next_write)
        assert contents(index) == applied(next_write, found), where
        assert not orphans(index), (where, orphans(index))
    return applied(next_write, found)


def _difference(found: Content, before: Content, after: Content) -> dict[str, Any]:
    ids = {i for i in found | before | after if not found.get(i) == before.get(i) == after.get(i)}
    return {i: (found.get(i), before.get(i), after.get(i)) for i in sorted(ids)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--serve", action="store_true")
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    print("seed", given.seed, flush=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(Path(folder), given.kills, given.seed, beside=given.beside)
    print(f"{outcome}\n0 losses in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
