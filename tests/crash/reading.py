"""Eight processes search one index while another changes it without pause.

    python -m tests.crash.reading --seconds 180

The writer adds, replaces and deletes whole batches of documents, each in one commit, and folds,
merges, compacts, converts and trains, by itself and by its thread in the background. A batch always has
all of its parts, with the same stamp, and weights that add up: a reader that sees anything else has
seen half a commit. Readers open the index anew now and then.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from retrieval import Document, Engine, IndexConfig, RecipeConfig, RuntimeConfig, verify_index
from retrieval.errors import DocumentNotFoundError
from retrieval.types import Hit
from tests.crash.stored import EVERYTHING
from tests.crash.writing import FEWEST, RECIPES
from tests.encoders import BucketDense

ROOT = Path(__file__).parents[2]
BATCHES, PARTS, WEIGHT = 24, 5, 1000
CHANGING = RuntimeConfig.of(pending_documents=4 * PARTS)


def batch(name: int, stamp: int, rng: random.Random) -> list[Document]:
    """The documents of a batch, as one commit writes them."""
    cuts = sorted(rng.sample(range(1, WEIGHT), PARTS - 1))
    weights = [high - low for low, high in zip([0, *cuts], [*cuts, WEIGHT], strict=True)]
    return [
        Document(
            f"{name}-{part}",
            f"alpha batch {name} part {part} stamp {stamp}",
            metadata={"batch": name, "stamp": stamp, "weight": weight},
        )
        for part, weight in enumerate(weights)
    ]


def check_batches(hits: Sequence[Hit]) -> None:
    """Each batch is there whole, as of one commit."""
    seen: dict[int, list[Any]] = {}
    for hit in hits:
        assert hit.metadata is not None and hit.text is not None
        seen.setdefault(hit.metadata["batch"], []).append((hit.metadata["stamp"], hit.metadata["weight"]))
        assert hit.text.endswith(f"stamp {hit.metadata['stamp']}"), hit
    for name, parts in seen.items():
        assert len(parts) == PARTS, f"batch {name} has {len(parts)} parts"
        assert len({stamp for stamp, _ in parts}) == 1, f"batch {name} is of several commits: {parts}"
        assert sum(weight for _, weight in parts) == WEIGHT, f"batch {name} weighs {parts}"


class Reader:
    """Searches, and does not believe what it sees."""

    def __init__(self, index: Path, seed: int) -> None:
        self.index, self.rng = index, random.Random(f"reader {seed}")
        self.engine = Engine.open(index, BucketDense())
        self.generation, self.did = 0, Counter[str]()

    def step(self) -> None:
        """One round of questions, in random order."""
        for question in self.rng.sample((self.all, self.filtered, self.counted, self.got, self.facets), 5):
            question()
        if self.rng.random() < 0.02:
            self.engine.close()
            self.engine = Engine.open(self.index, BucketDense())
            self.did["opened"] += 1

    def search(self, wanted: dict[str, Any] | None = None) -> Any:
        effort = self.rng.choice((None, EVERYTHING))
        result = self.engine.search(
            "alpha stamp", 10 * BATCHES * PARTS, filter=wanted, params=effort, explain="plan"
        )
        self.did["probed"] += "probe" in (result.plan or {})["segments"]
        assert result.generation >= self.generation, f"{result.generation} after {self.generation}"
        self.did["generations"] += result.generation > self.generation
        self.did["searches"] += 1
        self.generation = result.generation
        check_batches(result.hits)
        return result

    def all(self) -> None:
        self.search()

    def filtered(self) -> None:
        name = self.rng.randrange(BATCHES)
        assert len(self.search({"batch": name})) in (0, PARTS)

    def counted(self) -> None:
        wanted = {"batch": {"lt": self.rng.randrange(BATCHES)}}
        before, count, after = self.search(wanted), self.engine.count(wanted), self.search(wanted)
        if before.generation == after.generation:  # so the count was of this generation too
            assert count == len(before) == len(after)
        assert count % PARTS == 0

    def got(self) -> None:
        try:
            document = self.engine.get(f"{self.rng.randrange(BATCHES)}-{self.rng.randrange(PARTS)}")
        except DocumentNotFoundError:
            return
        assert document.text.endswith(f"stamp {document.metadata['stamp']}"), document

    def facets(self) -> None:
        assert {number for _, number in self.engine.facets("batch", limit=BATCHES)} <= {PARTS}


class Writer:
    """Changes the index in every way there is."""

    def __init__(self, index: Path, seed: int) -> None:
        self.rng, self.did, self.stamp = random.Random(f"writer {seed}"), Counter[str](), 1
        self.there: set[int] = set(range(BATCHES))
        self.engine = Engine.open(index, BucketDense(), runtime=CHANGING)

    def step(self) -> None:
        """One change."""
        ways = {self.put: 60, self.put_many: 4, self.delete: 16, self.flush: 4, self.maintain: 4}
        ways |= {self.compact: 1, self.convert: 1, self.train: 3}
        (change,) = self.rng.choices(list(ways), list(ways.values()))
        change()
        self.did[change.__name__] += 1

    def put(self) -> None:
        self._put([self.rng.randrange(BATCHES)])

    def put_many(self) -> None:
        """More than may wait: straight into segments."""
        self._put(self.rng.sample(range(BATCHES), 6))

    def _put(self, names: Sequence[int]) -> None:
        self.stamp += 1
        documents = [document for name in names for document in batch(name, self.stamp, self.rng)]
        new = self.there.isdisjoint(names)
        report = (self.engine.add if new else self.engine.upsert)(documents)
        assert report.replaced == PARTS * len(self.there.intersection(names))
        self.there.update(names)

    def delete(self) -> None:
        name = self.rng.randrange(BATCHES)
        if self.rng.random() < 0.5:
            count = self.engine.delete([f"{name}-{part}" for part in range(PARTS)])
        else:
            count = self.engine.delete(filter={"batch": name})
        assert count == PARTS * (name in self.there)
        self.there.discard(name)

    def flush(self) -> None:
        self.engine.flush()

    def maintain(self) -> None:
        self.did["merges"] += self.engine.maintain().merges

    def compact(self) -> None:
        self.did["merges"] += self.engine.compact().merges

    def convert(self) -> None:
        self.did["merges"] += self.engine.compact(self.rng.choice(("float32", "float16"))).merges

    def train(self) -> None:
        """Another codec generation; few questions measure it, and documents hardly differ."""
        if len(self.there) * PARTS < FEWEST:
            return
        recipe = RecipeConfig.of(**{"held_out": 8, **self.rng.choice(RECIPES)})
        precision = self.rng.choice((None, "float16", "int8"))
        done = self.engine.compact(precision, recipe=recipe, retrain=self.rng.random() < 0.3, force=True)
        self.did["trainings"] += done.training is not None


def child(kind: type[Reader] | type[Writer], index: Path, seconds: float, seed: int) -> None:
    """What a reader or the writer does: it says when it is ready, and in the end what it did."""
    actor = kind(index, seed)
    actor.step()
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        actor.step()
    actor.engine.close()
    print(json.dumps(actor.did))


def campaign(index: Path, seconds: float, seed: int, readers: int = 8) -> dict[str, Any]:
    """Run it; raises AssertionError if a process failed. Returns what they did, added up."""
    rng = random.Random(seed)
    first = [document for name in range(BATCHES) for document in batch(name, 0, rng)]
    Engine.build(index, first, BucketDense(), config=IndexConfig.of(segment_documents=50))
    roles = [("reader", number) for number in range(readers)] + [("writer", seed)]
    processes = []
    for role, number in roles:
        arguments = ["--child", role, "--index", index, "--seconds", seconds, "--seed", number]
        command = [sys.executable, "-m", "tests.crash.reading", *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, cwd=ROOT, text=True, **pipes))
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # "ready", or nothing if it failed
    for process in processes:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write("go\n")
            process.stdin.flush()
    told = [process.communicate() for process in processes]
    failed = [
        f"{role} {number} ended with {process.returncode}: {err}"
        for (role, number), process, (_, err) in zip(roles, processes, told, strict=True)
        if process.returncode
    ]
    assert not failed, failed
    reading, writing = Counter[str](), json.loads(told[-1][0])
    for out, _ in told[:-1]:
        reading.update(json.loads(out))
    assert (report := verify_index(index)).ok, report.problems
    with Engine.open(index) as engine:
        info = engine.inspect()
    return {"readers": dict(reading), "writer": writing, "generation": info.generation}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--child", choices=["reader", "writer"])
    parser.add_argument("--index", type=Path)
    given = parser.parse_args()
    if given.child:
        child(Reader if given.child == "reader" else Writer, given.index, given.seconds, given.seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        done = campaign(Path(folder) / "i", given.seconds, given.seed)
    print(f"seed {given.seed}: no error, no mixed generation; {json.dumps(done)}")


if __name__ == "__main__":
    main()
