from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import FilterError
from retrieval.filters import check_facet, count_values, top_counts
from tests.unit.filters import strategies as made
from tests.unit.filters.reference import values_of

NAMES = [name for names in made.KINDS.values() for name in names]
COUNTABLE = [name for name in NAMES if name not in ("place", "authors", "group.authors")]


def counted(rows, mask, name, kind) -> list:
    """The counts in plain Python."""
    found: Counter = Counter()
    for row, accepted in zip(rows, mask, strict=True):
        values = set(values_of(row, name)) if accepted else set()
        if pa.types.is_floating(kind):
            values = {float(value) + 0.0 for value in values if value == value}
        found.update(values)
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))


@settings(max_examples=150)
@given(st.data(), st.lists(made.segments(), max_size=3), st.integers(1, 6))
def test_counts_over_segments_are_what_plain_python_counts(data, segments, limit) -> None:
    everything = [metadata for segment in segments for metadata in segment.metadatas]
    fields = made.types_of([dict.fromkeys(made.FIELDS), *everything]).types
    known = [name for name in COUNTABLE if "." not in name or name == "place.city"]
    name = data.draw(st.sampled_from(known))
    leaf = check_facet(name, fields)
    parts, rows, masks = [], [], []
    for segment in segments:
        mask = np.array(
            data.draw(st.lists(st.booleans(), min_size=len(segment), max_size=len(segment))), bool
        )
        parts.append(count_values(segment.columns.get(name), mask, leaf.path[1:]))
        rows += [{"place.city": None, **row} for row in segment.rows()]
        masks += mask.tolist()
    # a value that an older segment holds as an integer is counted as the float that the index has
    assert top_counts(parts, leaf.kind, limit) == counted(rows, masks, name, leaf.kind)[:limit]


def facets(values, mask=None, limit=10):
    column = made.segment_of([{"x": value} for value in values]).columns["x"]
    part = count_values(column, np.ones(len(values), bool) if mask is None else np.array(mask, bool))
    return top_counts([part], part[0].type, limit)


FACETS = [
    ((True, False, True, None), [(True, 2), (False, 1)]),
    ((3, 1, 1, 2, None), [(1, 2), (2, 1), (3, 1)]),
    (("b", "a", "ä", "a"), [("a", 2), ("b", 1), ("ä", 1)]),
    ((0.0, -0.0, 1.5, float("nan"), None), [(0.0, 2), (1.5, 1)]),
    ((date(2020, 1, 1), date(2019, 1, 1)), [(date(2019, 1, 1), 1), (date(2020, 1, 1), 1)]),
    ((datetime(2020, 1, 1), None), [(datetime(2020, 1, 1), 1)]),
    ((datetime(2020, 1, 1, tzinfo=UTC),), [(datetime(2020, 1, 1, tzinfo=UTC), 1)]),
    ((["a", "b", "a"], ["a", None], [], None), [("a", 2), ("b", 1)]),
    (([None], [], None), []),
    ((None, None), []),
]


@pytest.mark.parametrize(("values", "expected"), FACETS)
def test_each_kind_of_value(values, expected) -> None:
    assert facets(values) == expected


def test_only_accepted_documents_are_counted() -> None:
    assert facets(("a", "b", "a"), [True, True, False]) == [("a", 1), ("b", 1)]
    assert facets(("a", "b"), [False, False]) == []
    assert facets((["a", "b"], ["a"]), [False, True]) == [("a", 1)]


def test_the_limit_cuts_ties_by_value() -> None:
    assert facets(("d", "c", "b", "a", "d"), limit=2) == [("d", 2), ("a", 1)]
    for limit in (0, -1, True, 2.5, None):
        with pytest.raises(FilterError, match="the limit of facets is a whole number of at least 1"):
            facets(("a",), limit=limit)


def test_members_of_lists_of_objects_count_once_a_document() -> None:
    rows = [{"a": [{"n": "x"}, {"n": "x"}, {"n": "y"}]}, {"a": [{"n": "x"}, None]}, {"a": None}]
    segment = made.segment_of(rows)
    leaf = check_facet("a.n", segment.types)
    part = count_values(segment.columns["a"], np.ones(3, bool), leaf.path[1:])
    assert top_counts([part], leaf.kind, 10) == [("x", 2), ("y", 1)]


def test_segments_of_narrower_types_and_without_the_field_are_added_up() -> None:
    columns = [pa.array([1, 2, 2]), pa.array([2.0, 2.5]), pa.array([None, None], pa.null()), None]
    parts = [count_values(c, np.ones(0 if c is None else len(c), bool)) for c in columns]
    found = top_counts(parts, pa.float64(), 10)
    assert found == [(2.0, 3), (1.0, 1), (2.5, 1)]
    assert {type(value) for value, _ in found} == {float}
    assert top_counts([], pa.int64(), 10) == []


def test_what_cannot_be_counted_is_named() -> None:
    fields = {"place": pa.struct([("city", pa.string())])}
    with pytest.raises(FilterError, match="the field 'place' holds objects; name a member to count"):
        check_facet("place", fields)
    with pytest.raises(FilterError, match="unknown field 'plaec'; did you mean 'place'"):
        check_facet("plaec", fields)
    assert check_facet("place.city", fields).path == ("place", "city")
