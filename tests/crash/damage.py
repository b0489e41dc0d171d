"""Flip bits and cut files of an index, one at a time, and see that nothing is taken for whole.

    python -m tests.crash.damage --flips 2000 --seed 1

The index has segments as built, merged ones, pending documents and deleted ones, and may be trained.
After each damage, in a process of its own (so that a crash is seen): `verify` must find it, unless not
one value that the catalog holds has changed; then every verb, reading and writing, must work or end in a
`RetrievalError`; and where `verify` is content, answers must be those of the undamaged index. With
`skip_damaged` what is found is right, and `repair` brings back what it does not name as lost.

What is out of reach: a file that is cut while a process has it mapped (the system ends that process),
and a flip in SQLite's log, which SQLite takes for the end of the log.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from retrieval import (
    Document,
    Engine,
    IndexConfig,
    RetrievalError,
    RuntimeConfig,
    SearchConfig,
    repair_index,
    verify_index,
)
from tests.crash.stored import EVERYTHING
from tests.encoders import HashingDense, HashingLate

MANUAL = RuntimeConfig.of(maintenance="manual", pending_documents=8)
HARDLY = SearchConfig(nprobe=1, num_candidates=1, ef_search=1, num_scored=1)
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
TABLES = {
    "commits": "generation",
    "codecs": "*",
    "segments": "*",
    "files": "*",
    "documents": "*",
    "meta": "*",
    "origins": "*",
    "pending": "*",
    "tombstones": "*",
}
"""What of each table has a meaning: times and names of operations have none."""


TRAINED: dict[str, dict[str, Any]] = {
    "ivf bits": {"recipe": {"index": "ivf", "bits": 2, "nlist": 4}, "precision": "int8"},
    "ivf pq": {"recipe": {"index": "ivf", "reduce": "pca:12", "codec": "pq", "m": 4, "nlist": 3}},
    "flat sign": {"recipe": {"index": "flat", "codec": "sign"}, "precision": "float16"},
    "hnsw": {"recipe": {"index": "hnsw", "codec": "int8", "m_links": 4}},
    "vamana": {"recipe": {"index": "vamana", "m_links": 4}},
}
"""Configurations of trained indexes."""
LATE: dict[str, dict[str, Any]] = {
    "tokens pq": {"recipe": {"index": "tokens", "codec": "pq", "m": 4, "ncentroids": 24}},
    "tokens none": {"recipe": {"index": "tokens", "reduce": "pca:12", "codec": "none"}},
    "muvera": {
        "recipe": {"index": "ivf", "reduce": "muvera:64", "bits": 2, "reps": 2, "ksim": 2, "nlist": 3}
    },
}
"""Those of trained indexes of late interaction."""


def config_of(name: str) -> IndexConfig:
    """Few questions measure the recipe."""
    given = {**TRAINED, **LATE}[name]
    return IndexConfig.of(**{**given, "recipe": {"held_out": 8, **given["recipe"]}})


def document(number: int, change: int = 0) -> Document:
    """A document with metadata of many kinds."""
    rng = random.Random(f"{number} {change}")
    metadata = {"n": number, "word": rng.choice(WORDS), "tags": rng.sample(WORDS, rng.randrange(3))}
    metadata["place"] = {"floor": rng.randrange(9), "city": rng.choice(WORDS)}
    return Document(f"d{number:03d}", " ".join(rng.choices(WORDS, k=9)), f"title {change}", metadata)


def make(index: Path, encoder: Any, config: IndexConfig | None = None) -> None:
    """An index with one of everything: built, merged, folded and pending documents, and deleted ones
    in each."""
    config = (config or IndexConfig.of()).replace(segment_documents=12)
    Engine.build(index, map(document, range(60)), encoder, config=config, runtime=MANUAL, force=True)
    with Engine.open(index, encoder, runtime=MANUAL) as engine:
        engine.delete([f"d{number:03d}" for number in range(0, 60, 7)])
        engine.compact()
        engine.add(map(document, range(100, 124)))  # at once into segments
        for first in (200, 204, 208):
            engine.add([document(number) for number in range(first, first + 4)])
        engine.flush()
        for first in (300, 303):
            engine.upsert([document(number, 1) for number in (first, first + 1, 3, 100, 200, 9)])
        engine.delete(["d300", "d001", "d101", "d201"])
    settle(index)


def settle(index: Path) -> None:
    """Bring everything into the catalog's one file, as the last connection does when it closes."""
    connection = sqlite3.connect(index / "catalog.sqlite")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("VACUUM")  # or most of the file would be what nobody reads any more
    connection.close()


def contents(index: Path) -> dict[str, Any] | None:
    """All values that the catalog holds; None if it cannot be read."""
    connection = sqlite3.connect(f"file:{index / 'catalog.sqlite'}?immutable=1", uri=True)
    try:
        return {
            table: sorted(map(repr, connection.execute(f"SELECT {columns} FROM {table}")))
            for table, columns in TABLES.items()
        }
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    finally:
        connection.close()


FILTERS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"n": {"lt": 110}},
    {"word": "alpha"},
    {"tags": "beta"},
)


def hits(engine: Engine, effort: SearchConfig | None = None, k: int = 200) -> list[list[Any]]:
    """What a reader finds."""
    return [
        [(hit.id, hit.score, hit.text) for hit in engine.search(query, k, filter=wanted, params=effort)]
        for query in ("alpha beta", "kappa")
        for wanted in FILTERS
    ]


def answers(engine: Engine) -> list[Any]:
    """What a reader sees."""
    seen: list[Any] = hits(engine, SearchConfig(exact=True))
    assert hits(engine, EVERYTHING) == seen, "probing with all effort finds something else"
    seen.append(sorted(map(repr, engine.facets("place.city"))))
    seen.append([len(engine), engine.count({"place.floor": {"gt": 3}})])
    return seen


VERBS: dict[str, Callable[[Engine], Any]] = {
    "search": answers,
    "search hardly": lambda engine: [hits(engine, HARDLY, k) for k in (1, 10)],
    "get": lambda engine: [engine.get(f"d{number:03d}") for number in (2, 105, 205, 304)],
    "explain": lambda engine: engine.explain("alpha", "d002"),
    "inspect": lambda engine: engine.inspect(),
    "add": lambda engine: engine.add([document(400), document(401)]),
    "upsert": lambda engine: engine.upsert([document(2, 2), document(304, 2)]),
    "delete": lambda engine: engine.delete(["d004", "d110", "d206"]),
    "delete by filter": lambda engine: engine.delete(filter={"n": {"lt": 6}}),
    "flush": lambda engine: engine.flush(),
    "add many": lambda engine: engine.add(map(document, range(500, 520))),
    "compact": lambda engine: engine.compact(),
    "search again": answers,
    "retrain": lambda engine: engine.compact(retrain=True, force=True),
    "search at last": answers,
}


@dataclass(frozen=True)
class Damage:
    """What to do to which file: flip ``bit``, or cut to ``size`` bytes, or add bytes."""

    path: str
    bit: int | None = None
    size: int | None = None

    def apply(self, index: Path) -> None:
        content = bytearray((index / self.path).read_bytes())
        if self.bit is not None:
            content[self.bit // 8] ^= 1 << self.bit % 8
        elif self.size is not None:
            content = content[: self.size].ljust(self.size, b"\0")
        (index / self.path).write_bytes(content)


def damages(index: Path, rng: random.Random) -> Iterator[Damage]:
    """Without end: half of them in the catalog; every kind of file has the same share of the rest."""
    files = [path for kind in ("segments", "codecs") for path in (index / kind).rglob("*.*")]
    paths = sorted(str(path.relative_to(index)) for path in files)
    kinds = sorted({Path(path).name for path in paths})
    while True:
        kind = rng.choice([*kinds, *["catalog.sqlite"] * len(kinds)])
        path = kind if kind == "catalog.sqlite" else rng.choice([p for p in paths if p.endswith(kind)])
        size = (index / path).stat().st_size
        if rng.random() < 0.1 or not size:
            yield Damage(path, size=rng.choice([0, rng.randrange(size), size - 1, size + 8] if size else [8]))
        else:
            yield Damage(path, bit=_bit((index / path).read_bytes(), rng))


def _bit(content: bytes, rng: random.Random) -> int:
    """A bit of a file. The first bytes decide how the rest is read, and zeros are mostly unused: those
    get more, these less than their share."""
    within = min(len(content), 4096) if rng.random() < 0.2 else len(content)
    bit = rng.randrange(8 * within)
    while not content[bit // 8] and rng.random() < 0.8:
        bit = rng.randrange(8 * within)
    return bit


def outcome(index: Path, encoder: Any, expected: list[Any], changed: bool) -> str:
    """What came of it, in a word; raises AssertionError where that is wrong."""
    try:
        problems = verify_index(index).problems
    except RetrievalError as error:
        problems = (str(error),)
    assert problems or not changed, "not found by verify"
    failed = []
    try:
        with Engine.open(index, encoder, runtime=MANUAL) as engine:
            for name, verb in VERBS.items():
                try:
                    seen = verb(engine)
                except RetrievalError as error:
                    failed.append(name)
                    assert problems, f"verify found nothing, but {name}: {error}"
                else:
                    right = problems or name != "search" or seen == expected
                    assert right, "verify found nothing, but answers differ"
    except RetrievalError:
        failed.append("open")
    if not problems:
        assert verify_index(index).ok, "whole before writing, damaged after"
    return "without effect" if not problems else "found, and refused" if failed else "found"


def skipped(index: Path, encoder: Any, expected: list[Any]) -> None:
    """With `skip_damaged`, what is found is right, and something is missing only where that is told."""
    try:
        engine = Engine.open(index, encoder, runtime=MANUAL, skip_damaged=True)
    except RetrievalError:
        return
    with engine:
        try:
            found = [hits(engine, effort) for effort in (SearchConfig(exact=True), EVERYTHING)]
            is_whole = not engine.search("alpha").partial
        except RetrievalError as error:
            assert "codec" in str(error) or "calibration" in str(error), error  # nothing can be read
            return
    assert found[0] == found[1]
    for seen, right in zip(found[0], expected, strict=False):
        assert seen == right if is_whole else set(seen) <= set(right), "wrong hits while damage is skipped"


def repaired(index: Path, encoder: Any, expected: list[Any]) -> str:
    """What a repair of a damaged file came to, in a word."""
    skipped(index, encoder, expected)
    try:
        report = repair_index(index, encoder)
    except RetrievalError as error:
        assert "codec" in str(error), error
        return "beyond repair"
    problems = verify_index(index).problems
    if report.lost:
        assert len(problems) == len(report.lost), problems
        return "lost"
    assert not problems, problems
    with Engine.open(index, encoder, runtime=MANUAL) as engine:
        is_close = _agree if engine.inspect().precision == "int8" and report.documents else operator.eq
        if report.calibration is not None:  # what was added later had been cut off
            is_close = partial(_agree, room=inf)
        assert is_close(answers(engine), expected), "answers differ after a repair"
        if report.search is not None:
            assert engine.inspect().recipe is None
            engine.compact(retrain=True, force=True)
            assert engine.inspect().recipe is not None
            assert engine.verify().ok
    if report.calibration is not None:
        return "calibrated again"
    return "search dropped" if report.search else "repaired"


def _agree(seen: list[Any], expected: list[Any], room: float = 0.01) -> bool:
    """Whether the same is found, with scores as near as steps of a byte let them be: what was rounded to
    float16 before it became a byte may be another one when it comes straight from the encoder."""
    if seen[-2:] != expected[-2:]:
        return False
    for one, other in zip(seen[:-2], expected[:-2], strict=True):
        scores = {doc_id: score for doc_id, score, _ in other}
        if {doc_id for doc_id, _, _ in one} != scores.keys():
            return False
        if any(abs(score - scores[doc_id]) > room for doc_id, score, _ in one):
            return False
    return True


def in_child(job: Callable[[], str]) -> str:
    """The word that a job returns, from a process of its own; "wrong: ..." if it fails or crashes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            try:
                told = job()
            except BaseException as error:  # noqa: BLE001 -- whatever it is, the parent is to know
                import traceback

                told = f"wrong: {type(error).__name__}: {error}\n{traceback.format_exc()}"
            os.write(writing, told.encode()[:60_000])
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return told if status == 0 else f"wrong: {signal.Signals(-status).name if status < 0 else status}"


def campaign(folder: Path, flips: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Run it; returns how often what came of it, and what went wrong."""
    rng, found, wrong = random.Random(seed), Counter[str](), []
    kinds: dict[str, tuple[Any, IndexConfig | None]] = {
        "dense": (HashingDense(16), None),
        "late": (HashingLate(16), None),
        **{name: (HashingDense(16), config_of(name)) for name in TRAINED},
        **{name: (HashingLate(16), config_of(name)) for name in LATE},
    }
    for number, (name, (encoder, config)) in enumerate(kinds.items()):
        good = folder / f"good-{number}"
        make(good, encoder, config)
        with Engine.open(good, encoder, runtime=MANUAL) as engine:
            expected = answers(engine)
            assert engine.verify().ok
        for extra in good.glob("catalog.sqlite-*"):
            extra.unlink()
        before, source = contents(good), damages(good, rng)
        for _ in range(flips // len(kinds)):
            damage, index = next(source), folder / "damaged"
            shutil.copytree(good, index)
            damage.apply(index)
            in_file = damage.path != "catalog.sqlite"
            changed = in_file or contents(index) != before
            if in_file and rng.random() < 0.4:
                told = in_child(lambda e=encoder, x=expected: repaired(folder / "damaged", e, x))
            else:
                told = in_child(lambda e=encoder, x=expected, c=changed: outcome(folder / "damaged", e, x, c))
            shutil.rmtree(index)
            if told.startswith("wrong"):
                wrong.append(f"{name} {damage}: {told}")
            found[f"{Path(damage.path).name}: {told.split(':')[0]}"] += 1
    return found, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, wrong = campaign(Path(folder), given.flips, given.seed)
    for told in wrong:
        print(told)
    print(f"seed {given.seed}: {given.flips} damages, {len(wrong)} wrong")
    print(json.dumps(dict(sorted(found.items())), indent=1))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
