"""Random changes and questions, each compared with a dict and brute force.

The same steps twice: drawn by Hypothesis, which shrinks a failure to a short one, and by a seeded
generator, which is faster and so goes further. Sync calls do nothing here; what they are for is tested
under `tests/crash`.
"""

from __future__ import annotations

import functools
import os
import random
import secrets
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import tests.encoders
from retrieval.storage import catalog
from retrieval.storage.connection import connect
from tests.encoders import HashingDense, HashingLate
from tests.property.machine import Limits, Machine
from tests.property.steps import RULES, random_step

OPERATIONS = int(os.environ.get("RETRIEVAL_TEST_OPERATIONS", "5000"))
SEED = int(os.environ.get("RETRIEVAL_TEST_SEED", secrets.randbelow(2**32)))
EXAMPLES, STEPS = 40, 50
"""Hypothesis's part: so many indexes, so many steps in each."""
RECIPES = float(os.environ.get("RETRIEVAL_TEST_RECIPES", "0.4"))
"""The share of indexes that are trained now and then: those take twice the time."""
BACKGROUND = 0.02
"""The share of operations that have upkeep going on beside them."""
AGAIN = f"RETRIEVAL_TEST_SEED={SEED} RETRIEVAL_TEST_OPERATIONS={OPERATIONS} python -m pytest tests/property"

ENCODERS = [
    HashingDense(dim=8, metric="cosine"),
    HashingDense(dim=8, metric="dot"),
    HashingDense(dim=8, metric="l2"),
    HashingLate(dim=8, metric="maxsim"),
    HashingLate(dim=8, metric="meanmaxsim"),
]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, tiers and histories so small that a dozen documents pass all their borders."""
    for name, value in {
        "storage.merge_policy.FACTOR": 2,
        "storage.merge_policy.FLOOR_BYTES": 400,
        "storage.merging.BLOCK_DOCUMENTS": 2,
        "storage.merging.BLOCK_TOKENS": 6,
        "storage.catalog.HISTORY": 15,
        "storage.segment.BLOCK": 3,
        "index.hnsw.ROWS": 4,
        "index.vamana.ROWS": 4,
        "index.funnel.ROWS": 4,
        "index.flat.KEPT": 3,
        "index.token_search.FEW": 2,
        "index.token_search.LEAST": 3,
        "index.flat.BLOCK_TOKENS": 5,
        "small.ENCODE_CHUNK": 2,
        "build.ENCODE_CHUNK": 2,
    }.items():
        monkeypatch.setattr(f"retrieval.{name}", value)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(catalog, "connect", unsynced)
    remembered = functools.lru_cache(None)(tests.encoders.word_vector)
    monkeypatch.setattr(tests.encoders, "word_vector", remembered)


def unsynced(path: Path, mode: Any) -> Any:
    connection = connect(path, mode)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def new_machine(rng: random.Random, folder: Path, maintenance: str = "manual") -> Machine:
    limits = Limits(
        pending_documents=rng.choice([1, 2, 3, 5, 8]),
        segment_documents=rng.choice([2, 3, 5]),
        precision=rng.choice(["float32", "float32", "float16"]),
        maintenance=maintenance,
        recipes=rng.random() < RECIPES,
    )
    return Machine(folder, rng.choice(ENCODERS), limits)


class Stateful(RuleBasedStateMachine):
    """The steps as Hypothesis's rules."""

    operations = 0

    @initialize(rng=st.randoms())
    def create(self, rng: random.Random) -> None:
        self.machine = new_machine(rng, Path(tempfile.mkdtemp()))

    def teardown(self) -> None:
        if hasattr(self, "machine"):
            self.machine.close()


def _as_rule(name: str) -> Any:
    def step(self: Stateful, rng: random.Random) -> None:
        RULES[name][1](self.machine, rng)
        Stateful.operations += 1

    step.__name__ = name
    return rule(rng=st.randoms())(step)


for _name in RULES:
    setattr(Stateful, _name, _as_rule(_name))


def test_an_index_answers_as_a_dict_would_shrunk() -> None:
    print(AGAIN)
    Stateful.operations = 0
    run_state_machine_as_test(
        seed(SEED)(Stateful),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{Stateful.operations} operations, losses: 0")
    assert Stateful.operations >= EXAMPLES * STEPS / 2


def drive(folder: Path, name: str, operations: int, maintenance: str = "manual") -> Counter[str]:
    """So many random operations on as many indexes as it takes; how many of each."""
    done: Counter[str] = Counter()
    trial = 0
    while done.total() < operations:
        trial += 1
        rng = random.Random(f"{SEED}/{name}/{trial}")
        machine = new_machine(rng, folder / str(trial), maintenance)
        try:
            for _ in range(min(rng.choice([50, 200, 800]), operations - done.total())):
                done[random_step(machine, rng)] += 1
        except Exception as error:
            error.add_note(f"trial {trial} after {done.total()} operations; again with: {AGAIN}")
            raise
        machine.step("verify")
        machine.close()
    print(f"{done.total()} operations on {trial} indexes, losses: 0: {dict(done)}")
    return done


def test_an_index_answers_as_a_dict_would(tmp_path: Path) -> None:
    print(AGAIN)
    done = drive(tmp_path, "manual", OPERATIONS)
    assert done.total() == OPERATIONS
    assert OPERATIONS < 5000 or done.keys() == RULES.keys()


def test_upkeep_in_the_background_changes_no_answer(tmp_path: Path) -> None:
    operations = round(BACKGROUND * OPERATIONS)
    assert drive(tmp_path, "background", operations, "background").total() == operations
