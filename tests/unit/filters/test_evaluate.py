from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from retrieval.filters import (
    AnyOf,
    Exists,
    Filter,
    HasId,
    Match,
    Prefix,
    Range,
    check,
    evaluate,
)
from tests.unit.filters import strategies as made
from tests.unit.filters.reference import accepts


def accepted(condition, rows, index=None):
    """Numbers of the accepted documents; ``index`` gives further documents of the same index."""
    segment = made.segment_of(rows)
    fields = made.types_of([*rows, *(index or [])]).types
    checked = check(Filter(must=(condition,)), fields)
    mask = evaluate(checked, segment.columns.get, len(segment), lambda: segment.ids)
    assert mask.shape == (len(rows),) and mask.dtype == np.bool_
    return np.flatnonzero(mask).tolist()


def xs(*values):
    return [{"x": value} for value in values]


def index_types(segment, elsewhere):
    """Types of an index that knows every name and holds the segment among others."""
    names = {
        "place": {"city": None, "zip": None},
        "authors": [{"name": None, "papers": None, "born": None}],
    }
    names["group"] = dict(names)
    return made.types_of([dict.fromkeys(made.FIELDS), names, *segment.metadatas, *elsewhere]).types


@settings(max_examples=150)
@given(
    made.segments(),
    st.lists(made.metadatas(), max_size=2),
    st.lists(made.conditions(), min_size=1, max_size=12),
    made.filters,
)
def test_masks_are_what_the_reference_says(segment, elsewhere, conditions, nested) -> None:
    types = index_types(segment, elsewhere)
    # the index has this name as a field: the member of the same name is hidden
    rows = [{"place.city": None, **row} for row in segment.rows()]
    ids = segment.ids.to_pylist()
    for wanted in (*(Filter(must=(condition,)) for condition in conditions), nested):
        mask = evaluate(check(wanted, types), segment.columns.get, len(segment), lambda: segment.ids)
        expected = [accepts(wanted, doc_id, row) for doc_id, row in zip(ids, rows, strict=True)]
        assert mask.tolist() == expected, wanted
        event(f"{'several' if wanted is nested else 'one'}: {len(set(expected))} different answers")


def test_parts_of_a_filter() -> None:
    segment = made.segment_of(xs(*range(8)))

    def numbers(**parts):
        checked = check(Filter(**parts), segment.types)
        return np.flatnonzero(evaluate(checked, segment.columns.get, 8, lambda: segment.ids)).tolist()

    assert numbers() == list(range(8))
    assert numbers(must=[Range("x", gte=2), Range("x", lt=5)]) == [2, 3, 4]
    assert numbers(should=[Match("x", 1), Match("x", 7)]) == [1, 7]
    assert numbers(must_not=[Match("x", 1), Match("x", 7)]) == [0, 2, 3, 4, 5, 6]
    assert numbers(must=[Range("x", gte=2)], should=[Match("x", 1), Match("x", 7)]) == [7]
    assert numbers(must=[Filter(should=[Match("x", 1), Match("x", 2)])], must_not=[Match("x", 1)]) == [2]
    assert numbers(must=[HasId(("d3", "d5", "else"))], must_not=[HasId(("d5",))]) == [3]
    assert numbers(must=[HasId(())]) == []
    assert numbers(must=[AnyOf("x", ())]) == []


def test_only_the_needed_columns_are_read() -> None:
    segment = made.segment_of([{"x": 1, "y": 2}, {"x": 2, "y": 1}])
    asked = []

    def columns(name):
        asked.append(name)
        return segment.columns[name]

    def ids():
        pytest.fail("ids are not needed")

    assert evaluate(check(Filter([Match("x", 1)]), segment.types), columns, 2, ids).tolist() == [True, False]
    assert asked == ["x"]


def test_missing_and_null_are_false_and_their_negation_true() -> None:
    rows = [{"x": 1}, {"x": None}, {}]
    for condition in (
        Match("x", 1),
        AnyOf("x", (1, 2)),
        Range("x", gt=0),
        Exists("x"),
        Range("x", lt=10**30),
    ):
        assert accepted(condition, rows) == [0]
        assert accepted(Filter(must_not=(condition,)), rows) == [1, 2]


def test_a_segment_without_the_field_has_nulls() -> None:
    rows, index = [{"y": 1}, {}], [{"x": 1, "place": {"city": "a"}}]
    for condition in (Match("x", 1), Exists("x"), Match("place.city", "a")):
        assert accepted(condition, rows, index) == []
        assert accepted(Filter(must_not=(condition,)), rows, index) == [0, 1]
    checked = check(Filter(must=(Match("x", 1),)), {"x": pa.int64()})
    assert evaluate(checked, lambda name: None, 0, lambda: pa.chunked_array([], pa.string())).shape == (0,)


def test_a_segment_of_a_narrower_type() -> None:
    floats = xs(2.5)
    assert accepted(Range("x", gt=2.5), xs(2, 3), floats) == [1]
    assert accepted(AnyOf("x", (2.5, 3.0)), xs(2, 3), floats) == [1]
    assert accepted(Match("x", 2.5), xs(2, 3), floats) == []
    assert accepted(Match("x", 2.5), xs(None, None), floats) == []
    assert accepted(Match("x", "a"), xs([], [None]), xs(["a"])) == []
    assert accepted(Match("x.b", 1), [{"x": {"a": 1}}, {"x": None}], [{"x": {"b": 1}}]) == []
    assert accepted(Match("x.b", 1), xs([], []), xs([{"b": 1}])) == []
    assert accepted(Exists("x.b"), [{"x": {}}], xs({"b": 1})) == []


NUMBERS = [
    (Match("x", 3), (3, 4), [0]),
    (Match("x", 3), (3.0, 4.5), [0]),
    (Match("x", 3.0), (3, 4), [0]),
    (Match("x", made.BIG + 1), (made.BIG, made.BIG + 1), [1]),
    (Match("x", float(made.BIG)), (made.BIG, made.BIG + 1), [0]),
    (Match("x", made.BIG + 1), (float(made.BIG), 1.5), []),
    (Range("x", gt=made.BIG + 1), (float(made.BIG), float(made.BIG + 2)), [1]),
    (Range("x", gte=made.BIG + 1), (float(made.BIG), float(made.BIG + 2)), [1]),
    (Range("x", lt=made.BIG + 1), (float(made.BIG), float(made.BIG + 2)), [0]),
    (Range("x", gt=made.BIG + 1, gte=5), (6.0, float(made.BIG), float(made.BIG + 2)), [2]),
    (Range("x", gt=made.BIG + 3), (float(made.BIG + 2), float(made.BIG + 4)), [1]),
    (Range("x", lte=made.BIG + 3), (float(made.BIG + 2), float(made.BIG + 4)), [0]),
    (Match("x", 2**63), (2**63 - 1, None), []),
    (AnyOf("x", (-(2**63) - 1, 1e300, 7)), (-(2**63), 7), [1]),
    (Range("x", gt=float(made.BIG)), (made.BIG, made.BIG + 1), [1]),
    (Range("x", gt=2**63 - 2), (2**63 - 2, 2**63 - 1), [1]),
    (Range("x", gt=2**63 - 1), (2**63 - 1,), []),
    (Range("x", lt=-(2**63)), (-(2**63),), []),
    (Range("x", lt=-(2**63) + 1), (-(2**63), 0), [0]),
    (Range("x", gte=-(10**30), lte=10**307), (1, None), [0]),
    (Range("x", gt=10**307), (1e306, 1e308, float("inf")), [1, 2]),
    (Range("x", lte=10**307), (1e306, 1e308, float("inf"), float("nan")), [0]),
    (Range("x", gt=2.5, lt=3.5), (2, 3, 4), [1]),
    (Range("x", gt=3, lt=1), (1, 2, 3), []),
    (Match("x", 0), (0.0, -0.0, 1.0), [0, 1]),
    (Match("x", -0.0), (0.0, -0.0, 1.0), [0, 1]),
    (AnyOf("x", (0, 1)), (0.0, -0.0, 1.0, float("nan")), [0, 1, 2]),
    (Exists("x"), (0.0, float("nan"), None), [0, 1]),
]


@pytest.mark.parametrize(("condition", "values", "expected"), NUMBERS)
def test_numbers_are_compared_exactly(condition, values, expected) -> None:
    assert accepted(condition, xs(*values)) == expected


DAY = date(2020, 2, 29)
MOMENTS = [
    datetime(2020, 2, 28, 23, 59, 59, 999999),
    datetime(2020, 2, 29),
    datetime(2020, 2, 29, 23, 59, 59, 999999),
    datetime(2020, 3, 1),
]


@pytest.mark.parametrize("zone", [None, UTC])
@pytest.mark.parametrize("bound", [DAY, "2020-02-29"])
def test_a_day_as_bound_of_moments_is_the_whole_day(zone, bound) -> None:
    rows = xs(*(moment.replace(tzinfo=zone) for moment in MOMENTS))
    assert accepted(Range("x", gte=bound), rows) == [1, 2, 3]
    assert accepted(Range("x", gt=bound), rows) == [3]
    assert accepted(Range("x", lt=bound), rows) == [0]
    assert accepted(Range("x", lte=bound), rows) == [0, 1, 2]
    assert accepted(Range("x", lte=date.max, gte=date.min), rows) == [0, 1, 2, 3]


def test_moments_with_a_zone() -> None:
    rows = xs(*(moment.replace(tzinfo=UTC) for moment in MOMENTS))
    plus_two = timezone(timedelta(hours=2))
    assert accepted(Match("x", datetime(2020, 2, 29, 2, tzinfo=plus_two)), rows) == [1]
    assert accepted(Match("x", "2020-02-29T02:00:00+02:00"), rows) == [1]
    assert accepted(Match("x", "2020-02-29T00:00:00Z"), rows) == [1]
    assert accepted(Match("x", "2020-02-29T00:00:00"), rows) == [1]
    assert accepted(AnyOf("x", ("2020-03-01T00:00", datetime(2020, 2, 29))), rows) == [1, 3]


def test_dates() -> None:
    rows = xs(date(2020, 2, 28), DAY, None, date(2020, 3, 1))
    assert accepted(Match("x", "2020-02-29"), rows) == [1]
    assert accepted(AnyOf("x", (DAY, "2020-02-28")), rows) == [0, 1]
    assert accepted(Range("x", gt="2020-02-28", lt=date(2020, 3, 1)), rows) == [1]


def test_lists_hold_if_any_element_does() -> None:
    rows = xs(["a", "b"], ["b"], [], None, [None], [None, "a"])
    assert accepted(Match("x", "a"), rows) == [0, 5]
    assert accepted(AnyOf("x", ("a", "b")), rows) == [0, 1, 5]
    assert accepted(Prefix("x", "a"), rows) == [0, 5]
    assert accepted(Exists("x"), rows) == [0, 1, 5]
    assert accepted(Filter(must_not=(Match("x", "a"),)), rows) == [1, 2, 3, 4]
    # each condition looks for its own element
    assert accepted(Filter(must=(Range("x", gt=2), Range("x", lt=1))), xs([0, 3], [2])) == [0]
    assert accepted(Range("x", gt=2, lt=1), xs([0, 3], [2])) == []


def test_members_of_objects_and_of_lists_of_objects() -> None:
    rows = [
        {"authors": [{"name": "Ada", "papers": [1, 2]}, {"name": "Bob"}]},
        {"authors": [{"name": "Cy", "papers": [3]}]},
        {"authors": [{"papers": []}, None]},
        {"authors": []},
        {},
    ]
    assert accepted(Match("authors.name", "Bob"), rows) == [0]
    assert accepted(Match("authors.papers", 3), rows) == [1]
    assert accepted(Exists("authors"), rows) == [0, 1, 2]
    assert accepted(Exists("authors.name"), rows) == [0, 1]
    assert accepted(Exists("authors.papers"), rows) == [0, 1]


def test_the_longest_name_wins() -> None:
    rows = [{"a.b": 1, "a": {"b": 2, "b.c": {"d": 3}}}, {"a.b": 2, "a": {"b": 1}}]
    assert accepted(Match("a.b", 1), rows) == [0]
    assert accepted(Match("a.b.c.d", 3), rows) == [0]
    assert accepted(Match("a.b.c", 1), [{"a.b": {"c": 1}, "a": {"b.c": 2}}]) == [0]
    assert accepted(Match("a.b.d", 2), [{"a.b": {"c": 1}, "a": {"b.d": 2}}]) == [0]
    assert accepted(Match("a.b", 2), [{"a": {"b": 2}}], rows) == []  # hidden in the whole index


def test_values_under_a_null_do_not_count() -> None:
    """Arrow may keep values below a null: they are not there."""
    inner = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 5], pa.int32()), pa.array([1, 2, 2, 4, 2]), mask=pa.array([False, True, False])
    )
    outer = pa.StructArray.from_arrays(
        [pa.array([[2], [2, 3], [4]]), inner], ["l", "i"], mask=pa.array([False, True, False])
    )

    def mask(name, column):
        checked = check(Filter(must=(Match(name, 2),)), {"x": column.type})
        return evaluate(checked, lambda _: column, len(column), lambda: None).tolist()

    assert mask("x", inner) == [True, False, True]
    assert mask("x.l", outer) == [True, False, False]
    assert mask("x.i", outer) == [True, False, True]
    assert mask("x.i", outer.slice(1)) == [False, True]
    nested = pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), outer)
    assert mask("x.l", nested) == [True, False]
    assert mask("x.i", nested) == [True, True]


def test_the_mask_may_be_written_to() -> None:
    segment = made.segment_of(xs(1, 2))
    mask = evaluate(check(Filter(), segment.types), segment.columns.get, 2, lambda: segment.ids)
    mask &= np.array([True, False])
    assert mask.tolist() == [True, False]


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 63, 64, 65, 1000])
@pytest.mark.parametrize("start", [0, 1, 7, 8, 13])
def test_awkward_lengths_and_starts(n, start) -> None:
    values = np.arange(n + start) % 5
    column = pa.array([None if v == 4 else int(v) for v in values], pa.int64()).slice(start)
    for condition, wanted in ((Range("x", gte=2), [2, 3]), (Exists("x"), [0, 1, 2, 3])):
        checked = check(Filter(must=(condition,)), {"x": pa.int64()})
        mask = evaluate(checked, lambda _: column, n, lambda: None)
        assert mask.tolist() == np.isin(values[start:], wanted).tolist()
