"""Put other numbers into the arrays of a trained index, with checksums to match, and use it.

    python -m tests.crash.forging --forgeries 1000 --seed 1

No checksum tells then that anything is wrong: only the checks of types, shapes and contents stand between
the bytes and the kernels. Answers may be anything; but everything must work or end in a `RetrievalError`,
in a process of its own, so that a crash is seen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import Engine, RetrievalError, verify_index
from retrieval.storage import Catalog, CodecRecord, SegmentRecord
from retrieval.storage.files import FileRecord
from tests.crash.damage import LATE, MANUAL, TRAINED, VERBS, config_of, document, in_child, make
from tests.encoders import HashingDense, HashingLate

METRICS = ("cosine", "dot", "l2")
Array = NDArray[Any]
Change = Callable[[Array, np.random.Generator], Array]


def _bytes(array: Array, rng: np.random.Generator) -> Array:
    return np.frombuffer(rng.bytes(array.nbytes), array.dtype).reshape(array.shape)


def _extremes(array: Array, rng: np.random.Generator) -> Array:
    known = np.iinfo(array.dtype) if array.dtype.kind in "iu" else np.finfo(array.dtype)
    chosen = [known.min, known.max, 0, 1, len(array), len(array) - 1]
    return np.array([array.dtype.type(min(max(x, known.min), known.max)) for x in chosen])[
        rng.integers(0, len(chosen), array.shape)
    ]


def _one(array: Array, rng: np.random.Generator) -> Array:
    """One element is another."""
    changed = array.copy()
    changed.reshape(-1)[rng.integers(array.size)] = _extremes(array, rng).reshape(-1)[0]
    return changed


def _moved(array: Array, rng: np.random.Generator) -> Array:
    """All elements are there, elsewhere."""
    return rng.permutation(array.reshape(-1)).reshape(array.shape)


def _near(array: Array, rng: np.random.Generator) -> Array:
    """One element is a little more or less."""
    changed = array.copy()
    at = rng.integers(array.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a number beyond the last
        changed.reshape(-1)[at] = (array.reshape(-1)[at : at + 1] + array.dtype.type(rng.choice([1, 3])))[0]
    return changed


def _constant(array: Array, rng: np.random.Generator) -> Array:
    return np.full_like(array, array.reshape(-1)[rng.integers(array.size)])


CHANGES: tuple[Change, ...] = (
    _bytes,
    _extremes,
    _one,
    _moved,
    _near,
    _constant,
)


def arrays_of(index: Path) -> list[tuple[int | None, FileRecord]]:
    """Every array that training made that holds something, with its segment (None: of the codec)."""
    with Catalog.open(index) as catalog:
        found: list[tuple[int | None, FileRecord]] = [(None, file) for file in catalog.codec().files]
        for segment in catalog.segments():
            found += [(segment.segment, f) for f in segment.files if f.name.startswith("arranged/")]
    return [(segment, file) for segment, file in found if file.bytes]


def forge(
    index: Path,
    segment: int | None,
    file: FileRecord,
    rng: np.random.Generator,
    change: Change | None = None,
) -> str:
    """Change an array, at random if not said how, and make the catalog agree; says how."""
    path, change = index / file.path, change or CHANGES[rng.integers(len(CHANGES))]
    array = np.frombuffer(path.read_bytes(), file.dtype).reshape(file.shape or ())
    path.write_bytes(np.ascontiguousarray(change(array, rng), array.dtype).tobytes())
    new = replace(file, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with Catalog.open(index, write=True) as catalog, catalog.transaction("forge"):
        if segment is None:
            catalog.change_codec(_with_file(catalog.codec(), new), ["trained"])
        else:
            record = catalog.segment(segment)
            assert record is not None
            _rewrite(catalog, record, new)
    return f"{change.__name__.strip('_')} in {file.name}"


def _with_file(record: CodecRecord, new: FileRecord) -> CodecRecord:
    files = [new if file.name == new.name else file for file in record.files]
    return replace(record, config={**record.config, "files": [file.as_json() for file in files]})


def _rewrite(catalog: Catalog, record: SegmentRecord, new: FileRecord) -> None:
    files = tuple(new if file.name == new.name else file for file in record.files)
    catalog.execute("UPDATE files SET sha256 = ? WHERE path = ?", (new.sha256, new.path))
    checksum = replace(record, files=files).checksum
    catalog.execute("UPDATE segments SET sha256 = ? WHERE segment = ?", (checksum, record.segment))


def outcome(index: Path, encoder: Any) -> str:
    """What came of it, in a word; whatever is no `RetrievalError` goes up."""
    failed = 0
    problems = verify_index(index).problems
    assert not any("bytes" in problem for problem in problems), problems  # the forgery is a good one
    try:
        with Engine.open(index, encoder, runtime=MANUAL) as engine:
            for verb in VERBS.values():
                try:
                    verb(engine)
                except RetrievalError:
                    failed += 1
                except AssertionError as error:
                    assert "all effort" in str(error), error  # codes of other documents hide the best
            engine.add([document(900)])
    except RetrievalError:
        failed += 1
    return "refused" if problems else "refused later" if failed else "used"


def campaign(folder: Path, forgeries: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Run it; returns how often what came of it, and what went wrong."""
    rng, found, wrong = random.Random(seed), Counter[str](), []
    made: list[tuple[Path, Any]] = []
    kinds: list[tuple[str, Any]] = [(name, HashingDense(16, each)) for name in TRAINED for each in METRICS]
    for name, encoder in [*kinds, *((name, HashingLate(16)) for name in LATE)]:
        good = folder / f"good-{len(made)}"
        make(good, encoder, config_of(name))
        made.append((good, encoder))
    for number in range(forgeries):
        good, encoder = made[number % len(made)]
        index = folder / "forged"
        shutil.copytree(good, index)
        arrays = arrays_of(index)
        kind = rng.choice(sorted({file.name for _, file in arrays}))
        segment, file = rng.choice([each for each in arrays if each[1].name == kind])
        how = forge(index, segment, file, np.random.default_rng(rng.randrange(2**32)))
        told = in_child(lambda i=index, e=encoder: outcome(i, e))
        shutil.rmtree(index)
        if told.startswith("wrong"):
            wrong.append(f"{good.name} {encoder.metric} segment {segment}, {how}: {told}")
        found[f"{file.name}: {told.split(':')[0]}"] += 1
    return found, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forgeries", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, wrong = campaign(Path(folder), given.forgeries, given.seed)
    for told in wrong:
        print(told)
    print(f"seed {given.seed}: {given.forgeries} forgeries, {len(wrong)} wrong")
    print(json.dumps(dict(sorted(found.items())), indent=1))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
