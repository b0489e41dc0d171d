"""What a random step may be: the arguments, from few values, so that they meet often."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from random import Random
from typing import Any

from retrieval import Document
from retrieval.filters import AnyOf, Condition, Exists, Filter, HasId, Match, Prefix, Range
from tests.property.machine import Machine
from tests.property.model import EXACT

IDS = [f"d{i:02d}" for i in range(14)]
WORDS = ["red", "sea", "fish", "sun", "sand", "..."]  # the last one has no token
DAYS = [date(2020, 1, 1), date(2020, 2, 29), date(2021, 7, 5)]
RECIPES: list[dict[str, Any]] = [
    {"index": "ivf", "bits": 1, "nlist": 1},
    {"index": "ivf", "bits": 2, "nlist": 2},
    {"index": "ivf", "bits": 4, "nlist": 3},
    {"index": "ivf", "bits": 8, "nlist": 4, "residual": False},
    {"index": "ivf", "codec": "int8", "nlist": 2},
    {"index": "ivf", "reduce": "pca:5", "bits": 2, "nlist": 2},
    {"index": "flat", "codec": "sign"},
    {"index": "flat", "bits": 2},
    {"index": "funnel", "funnel": [2, 4]},
    {"index": "hnsw", "codec": "int8", "m_links": 2},
    {"index": "hnsw", "codec": "float16"},
    {"index": "vamana", "m_links": 2, "ef_construction": 8},
]
FOLDED = {"reps": 2, "ksim": 1, "proj_dim": 4}
LATE_RECIPES: list[dict[str, Any]] = [
    {"index": "tokens", "codec": "none", "ncentroids": 4},
    {"index": "tokens", "codec": "bits", "bits": 2, "ncentroids": 5},
    {"index": "tokens", "codec": "ternary", "ncentroids": 4},
    {"index": "tokens", "reduce": "pca:5", "codec": "bits", "bits": 4, "ncentroids": 4},
    {"index": "flat", "reduce": "muvera:16", "bits": 2, **FOLDED},
    {"index": "ivf", "reduce": "muvera:14", "bits": 1, "nlist": 2, **FOLDED},
]
LEAVES = ["n", "word", "tags", "day", "flag", "place.city", "place.zip", "blank"]

RULES: dict[str, tuple[int, Callable[[Machine, Random], None]]] = {}
"""The steps by name, with how often each is to come."""


def _rule(weight: int) -> Callable[[Callable[[Machine, Random], None]], Callable[[Machine, Random], None]]:
    def register(step: Callable[[Machine, Random], None]) -> Callable[[Machine, Random], None]:
        RULES[step.__name__] = (weight, step)
        return step

    return register


def random_step(machine: Machine, rng: Random) -> str:
    """Take one; returns its name."""
    name = rng.choices(list(RULES), [weight for weight, _ in RULES.values()])[0]
    RULES[name][1](machine, rng)
    return name


@_rule(12)
def add(machine: Machine, rng: Random) -> None:
    documents = _documents(machine, rng, 1 if rng.random() < 0.3 else 0.15)
    machine.step("put", documents, replace=False, skip=rng.random() < 0.5, who=_who(rng))


@_rule(14)
def upsert(machine: Machine, rng: Random) -> None:
    documents = _documents(machine, rng, 0.5)
    machine.step("put", documents, replace=True, skip=rng.random() < 0.5, who=_who(rng))


@_rule(9)
def delete(machine: Machine, rng: Random) -> None:
    ids = [rng.choice(IDS) for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 4, 14]))]
    machine.step("delete", ids, who=_who(rng))


@_rule(3)
def delete_where(machine: Machine, rng: Random) -> None:
    machine.step("delete_where", _filter(rng), who=_who(rng))


@_rule(10)
def search(machine: Machine, rng: Random) -> None:
    k = rng.choice([1, 1, 2, 3, 5, 20])
    machine.step("search", _words(rng), k, bare=rng.random() < 0.3, who=_who(rng))


@_rule(16)
def search_filtered(machine: Machine, rng: Random) -> None:
    machine.step("search", _words(rng), rng.choice([1, 1, 2, 3, 5, 20]), _filter(rng), who=_who(rng))


@_rule(5)
def count(machine: Machine, rng: Random) -> None:
    machine.step("count", rng.choice([None, _filter(rng)]), who=_who(rng))


@_rule(5)
def facets(machine: Machine, rng: Random) -> None:
    given = rng.choice([None, _filter(rng)])
    machine.step("facets", rng.choice(LEAVES), given, rng.choice([1, 2, 10]), who=_who(rng))


@_rule(4)
def get(machine: Machine, rng: Random) -> None:
    machine.step("get", rng.choice(IDS), who=_who(rng))


@_rule(2)
def explain(machine: Machine, rng: Random) -> None:
    machine.step("explain", _words(rng), rng.choice(IDS), who=_who(rng))


@_rule(4)
def flush(machine: Machine, rng: Random) -> None:
    machine.step("flush", who=_who(rng))


@_rule(5)
def maintain(machine: Machine, rng: Random) -> None:
    machine.step("maintain", who=_who(rng))


@_rule(2)
def compact(machine: Machine, rng: Random) -> None:
    machine.step("compact", rng.choice([None, None, None, "float16", "float32"]), who=_who(rng))


@_rule(2)
def train(machine: Machine, rng: Random) -> None:
    fitting, others = RECIPES, LATE_RECIPES
    if machine.encoder.kind == "late":
        fitting, others = others, fitting
    recipes = [None, EXACT, *fitting, rng.choice(others)]
    recipe = rng.choice(recipes) if machine.limits.recipes else None
    precision = rng.choice([None, None, None, "int8", "float16", "float32"])
    machine.step("compact", precision, recipe, retrain=rng.random() < 0.1, who=_who(rng))


@_rule(3)
def search_hardly(machine: Machine, rng: Random) -> None:
    k, given = rng.choice([1, 2, 5, 20]), rng.choice([None, _filter(rng)])
    machine.step("search_hardly", _words(rng), k, given, who=_who(rng))


@_rule(3)
def merge_beside(machine: Machine, rng: Random) -> None:
    if machine.limits.maintenance == "background":
        return machine.step("compact", who=_who(rng))
    steps = [_short_step(machine, rng) for _ in range(rng.choice([1, 1, 2, 3]))]
    machine.step("merge_beside", steps, who=_who(rng))


def _short_step(machine: Machine, rng: Random) -> tuple[Any, ...]:
    name = rng.choice(["add", "upsert", "upsert", "delete", "delete", "flush", "compact"])
    if name == "delete":
        return name, [rng.choice(IDS) for _ in range(rng.choice([1, 2, 4]))]
    if name in ("add", "upsert"):
        return name, _documents(machine, rng, 0.5)
    return (name,)


@_rule(2)
def reopen(machine: Machine, rng: Random) -> None:
    machine.step("reopen", who=_who(rng))


@_rule(2)
def hold(machine: Machine, rng: Random) -> None:
    machine.step("hold", who=_who(rng))


@_rule(3)
def look_back(machine: Machine, rng: Random) -> None:
    given = rng.choice([None, _filter(rng)])
    machine.step("look_back", _words(rng), rng.choice([1, 3, 20]), given)


@_rule(1)
def move(machine: Machine, rng: Random) -> None:
    machine.step("move", as_file=rng.random() < 0.5)


@_rule(2)
def verify(machine: Machine, rng: Random) -> None:
    machine.step("verify", who=_who(rng))


# -- arguments ----------------------------------------------------------------------------------


def _who(rng: Random) -> int:
    return rng.choice([0, 1])


def _words(rng: Random) -> str:
    return " ".join(rng.choice(WORDS[:-1]) for _ in range(rng.choice([1, 2, 2, 3])))


def _documents(machine: Machine, rng: Random, familiar: float) -> list[Document]:
    """A few documents; ``familiar`` is how often an id may be one that is there already."""
    n = rng.choice([0, 1, 1, 1, 2, 2, 3, 4, 6, 9])
    fresh = [doc_id for doc_id in IDS if doc_id not in machine.model.documents]
    ids = [rng.choice(IDS if rng.random() < familiar or not fresh else fresh) for _ in range(n)]
    return [_document(machine, rng, doc_id) for doc_id in ids]


def _document(machine: Machine, rng: Random, doc_id: str) -> Document:
    if rng.random() < 0.03:
        return Document(doc_id, " ")  # blank: not to be taken
    title = rng.choice(["", "", *WORDS[:2]])
    text = " ".join(rng.choice(WORDS) for _ in range(rng.choice([1, 1, 2, 2, 3, 5])))
    metadata: dict[str, Any] = {name: rng.choice(values) for name, values in _some(rng, VALUES)}
    if machine.model.has_words and rng.random() < 0.03:
        metadata["word"] = 7  # where strings were before: not to be taken
    return Document(doc_id, text, title, metadata)


VALUES: dict[str, list[Any]] = {
    "n": [0, 1, 2, 2, 3, 1.5, 2.0, None, 2**53],
    "word": ["", "ab", "abc", "b", "ä", None],
    "tags": [[], ["x"], ["x", "y"], ["y", None, "y"], None],
    "day": [*DAYS, None],
    "flag": [True, False],
    "place": [{"city": "ab", "zip": 1}, {"city": "b"}, {"zip": 2.5}, {"city": None}, {}, None],
    "blank": [None],
}


def _some(rng: Random, values: dict[str, list[Any]]) -> list[tuple[str, list[Any]]]:
    share = rng.choice([0.1, 0.4, 0.8])
    return [item for item in values.items() if rng.random() < share]


def _filter(rng: Random) -> Filter:
    parts = [_parts(rng, most) for most in (2, 2, 1)]
    return Filter(*parts)


def _parts(rng: Random, most: int) -> tuple[Condition, ...]:
    return tuple(_condition(rng) for _ in range(rng.choice(range(most + 1))))


def _condition(rng: Random) -> Condition:
    kind = rng.choice(list(CONDITIONS))
    return CONDITIONS[kind](rng)


def _range(field: str, bounds: list[Any]) -> Callable[[Random], Condition]:
    def draw(rng: Random) -> Condition:
        names = rng.choice([["gt"], ["gte"], ["lt"], ["lte"], ["gte", "lte"], ["gt", "lt"]])
        return Range(field, **{name: rng.choice(bounds) for name in names})

    return draw


CONDITIONS: dict[str, Callable[[Random], Condition]] = {
    "number": lambda rng: Match("n", rng.choice([0, 1, 2, 2.0, 1.5, 9])),
    "numbers": lambda rng: AnyOf("n", (rng.choice([0, 1]), rng.choice([2, 1.5]))),
    "between": _range("n", [0, 1, 1.5, 2, 2.5]),
    "word": lambda rng: Match("word", rng.choice(["ab", "", "ä"])),
    "begins": lambda rng: Prefix("word", rng.choice(["a", "", "ä"])),
    "tag": lambda rng: Match("tags", rng.choice(["x", "y"])),
    "day": lambda rng: Match("day", rng.choice(DAYS)),
    "days": _range("day", list(DAYS)),
    "flag": lambda rng: Match("flag", rng.choice([True, False])),
    "city": lambda rng: Prefix("place.city", rng.choice(["a", "b"])),
    "zip": _range("place.zip", [1, 2]),
    "exists": lambda rng: Exists(rng.choice([*LEAVES, "place"])),
    "ids": lambda rng: HasId(tuple(rng.choice(IDS) for _ in range(rng.choice([0, 1, 3, 6])))),
    "inner": lambda rng: Filter(should=(Match("n", rng.choice([1, 2])), HasId((rng.choice(IDS),)))),
}
