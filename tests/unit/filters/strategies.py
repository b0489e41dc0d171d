"""Documents with metadata of every kind, filters that fit them, and segments that hold them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from retrieval.corpus import FieldTypes, metadata_columns
from retrieval.filters import AnyOf, Exists, Filter, HasId, Match, Prefix, Range
from retrieval.types import Document, Record

BIG = 2**53
IDS = [f"d{i}" for i in range(12)]

ints = st.sampled_from([-(2**63), -BIG - 1, -1, 0, 1, 2, 3, BIG, BIG + 1, BIG + 2, 2**63 - 1])
floats = st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.5, 3.0, float(BIG), 2.0**63, 1e300, float("inf")])
stored_floats = floats | st.just(float("nan")) | st.integers(-3, 3)
bounds = ints | st.sampled_from([-1.5, 0.0, 2.5, 3.0, float(BIG), 2.0**63, 1e300, 10**307, -(10**307), 2**64])
words = st.sampled_from(["", "a", "ab", "abc", "b", "ä", "äb", "日本", "A"])
days = st.sampled_from([date(1, 1, 1), date(1969, 12, 31), date(2020, 2, 29), date(9999, 12, 31)])
moments = st.sampled_from(
    [
        datetime(1, 1, 1),
        datetime(1969, 12, 31, 23, 59, 59, 999999),
        datetime(2020, 2, 29),
        datetime(2020, 2, 29, 23, 59, 59, 999999),
        datetime(2020, 3, 1),
        datetime(2020, 3, 1, 0, 0, 0, 1),
        datetime(9999, 12, 31, 23, 59, 59, 999999),
    ]
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-5, minutes=-30))])
aware = st.builds(
    lambda moment, zone: moment.replace(tzinfo=UTC if moment.year in (1, 9999) else zone), moments, zones
)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(maybe(values), max_size=3)


def objects(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={name: maybe(value) for name, value in members.items()})


place = objects(city=words, zip=ints)
authors = lists(objects(name=words, papers=lists(ints), born=days))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "flag": st.booleans(),
    "n": ints,
    "x": stored_floats,
    "word": words,
    "day": days,
    "local": moments,
    "moment": aware,
    "words": lists(words),
    "numbers": lists(stored_floats),
    "grid": lists(lists(ints)),
    "place": place,
    "authors": authors,
    "group": objects(authors=authors, place=place),
    "empty": st.none() | st.just([]),
    "place.city": words,
}


def metadatas(names: Collection[str] = tuple(FIELDS)) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: maybe(FIELDS[name]) for name in names})


KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("flag",),
    "number": ("n", "x", "numbers", "grid", "place.zip", "authors.papers", "group.place.zip"),
    "string": ("word", "words", "place.city", "authors.name", "group.authors.name", "group.place.city"),
    "day": ("day", "authors.born"),
    "local": ("local",),
    "moment": ("moment",),
    "any": ("empty", "place", "authors", "group.authors"),
}
VALUES = {
    "bool": st.booleans(),
    "number": ints | bounds.filter(lambda number: number != float("inf")),
    "string": words,
    "day": days,
    "local": moments,
    "moment": aware | moments,
}
BOUNDS = {"number": bounds, "day": days, "local": moments | days, "moment": aware | moments | days}


@st.composite
def conditions(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from([*KINDS, "id"]))
    if kind == "id":
        return HasId(tuple(draw(st.lists(st.sampled_from([*IDS, "none"]), max_size=3))))
    name = draw(st.sampled_from(KINDS[kind]))
    forms = ["exists"]
    forms += ["match", "any"] if kind in VALUES else []
    forms += ["range"] * 2 if kind in BOUNDS else []
    forms += ["prefix"] if kind == "string" else []
    match draw(st.sampled_from(forms)):
        case "match":
            return Match(name, draw(VALUES[kind]))
        case "any":
            return AnyOf(name, tuple(draw(st.lists(VALUES[kind], max_size=4))))
        case "range":
            names = draw(st.sets(st.sampled_from(["gt", "gte", "lt", "lte"]), min_size=1, max_size=3))
            return Range(name, **{bound: draw(BOUNDS[kind]) for bound in sorted(names)})
        case "prefix":
            return Prefix(name, draw(words))
    return Exists(name)


def _filters(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    some = st.lists(parts, max_size=2).map(tuple)
    return st.builds(Filter, some, some, some)


filters = st.recursive(_filters(conditions()), lambda inner: _filters(conditions() | inner), max_leaves=4)


@dataclass
class Segment:
    """Columns as a segment has them, and the same as plain values."""

    columns: dict[str, pa.Array | pa.ChunkedArray]
    ids: pa.ChunkedArray
    types: dict[str, pa.DataType]
    metadatas: Sequence[dict[str, Any]]
    """All that the types were learned from; a slice has fewer rows."""

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> list[dict[str, Any]]:
        plain = {name: column.to_pylist() for name, column in self.columns.items()}
        return [{name: plain[name][i] for name in plain} for i in range(len(self))]


def types_of(metadatas: Sequence[dict[str, Any]]) -> FieldTypes:
    types = FieldTypes()
    for i, metadata in enumerate(metadatas):
        types.observe(Record(Document(f"d{i}", "text", "", metadata), ""))
    return types


def segment_of(metadatas: Sequence[dict[str, Any]], cut: Callable[[pa.Array], Any] = lambda c: c) -> Segment:
    """A segment whose columns have the narrowest types; ``cut`` gives them another layout."""
    types = types_of(metadatas)
    documents = [Document(f"d{i}", "text", "", metadata) for i, metadata in enumerate(metadatas)]
    columns = {name: cut(column) for name, column in metadata_columns(documents, types.types).items()}
    ids = cut(pa.array([document.id for document in documents], pa.string()))
    return Segment(
        columns, pa.chunked_array([ids]) if isinstance(ids, pa.Array) else ids, types.types, metadatas
    )


def chunked(array: pa.Array, at: int) -> pa.ChunkedArray:
    """The same values as two slices, the first one perhaps empty."""
    return pa.chunked_array([array.slice(0, at), array.slice(at)], array.type)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Whole arrays, slices that begin inside, or several chunks."""
    names = draw(st.sets(st.sampled_from(sorted(FIELDS)), min_size=1))
    documents = draw(st.lists(metadatas(sorted(names)), min_size=draw(st.sampled_from([0, 6])), max_size=12))
    start = draw(st.integers(0, len(documents)))
    layout = draw(st.sampled_from(["whole", "slice", "chunks"]))
    cuts: dict[str, Callable[[pa.Array], Any]] = {
        "whole": lambda column: column,
        "slice": lambda column: column.slice(start),
        "chunks": lambda column: chunked(column, start),
    }
    return segment_of(documents, cuts[layout])
