from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import FilterError
from retrieval.filters import AnyOf, Exists, Filter, HasId, Match, Prefix, Range, check
from retrieval.filters.expression import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES
from tests.unit.filters import strategies as made

FULL = {
    "must": [
        {"key": "lang", "match": {"value": "en"}},
        {"key": "lang", "match": {"any": ["en", "de"]}},
        {"key": "year", "range": {"gte": 2000}},
        {"key": "x", "exists": True},
        {"key": "title", "match": {"prefix": "Foo"}},
        {"has_id": ["a", "b"]},
        {"should": [{"key": "y", "match": {"value": True}}]},
    ],
    "must_not": [{"key": "z", "range": {"gt": 1.5, "lt": 2}}],
}
FULL_FILTER = Filter(
    must=(
        Match("lang", "en"),
        AnyOf("lang", ("en", "de")),
        Range("year", gte=2000),
        Exists("x"),
        Prefix("title", "Foo"),
        HasId(("a", "b")),
        Filter(should=(Match("y", True),)),
    ),
    must_not=(Range("z", gt=1.5, lt=2),),
)


def test_the_full_spelling() -> None:
    assert Filter.from_json(FULL) == FULL_FILTER
    assert Filter.from_json(json.dumps(FULL)) == FULL_FILTER
    assert FULL_FILTER.to_json() == FULL


SHORT = [
    ({}, Filter()),
    ({"lang": "en"}, Filter((Match("lang", "en"),))),
    (
        {"lang": "en", "year": {"gte": 2000, "lt": 2010}, "tags": ["a", "b"]},
        Filter((Match("lang", "en"), Range("year", gte=2000, lt=2010), AnyOf("tags", ("a", "b")))),
    ),
    ({"open": True, "place.city": "Paris"}, Filter((Match("open", True), Match("place.city", "Paris")))),
    ({"title": {"prefix": "Foo"}, "x": {"exists": True}}, Filter((Prefix("title", "Foo"), Exists("x")))),
    ({"x": {"exists": False}}, Filter((Filter(must_not=(Exists("x"),)),))),
    ({"has_id": ["a"]}, Filter((HasId(("a",)),))),
    ({"key": "value"}, Filter((Match("key", "value"),))),
    ({"match": "value", "range": 1}, Filter((Match("match", "value"), Match("range", 1)))),
    ({"tags": []}, Filter((AnyOf("tags", ()),))),
]


@pytest.mark.parametrize(("given", "expected"), SHORT)
def test_the_short_spelling(given, expected) -> None:
    assert Filter.from_json(given) == expected


ALIKE = [
    ({"must": {"key": "x", "exists": True}}, Filter((Exists("x"),))),
    ({"must": None, "should": []}, Filter()),
    ({"must_not": {"must": {"has_id": ["a"]}}}, Filter(must_not=(Filter((HasId(("a",)),)),))),
    ({"must": [{}]}, Filter((Filter(),))),
    (
        {"must": [{"key": "x", "exists": False}]},
        Filter((Filter(must_not=(Exists("x"),)),)),
    ),
    ({"must": [{"key": "x", "range": {"gte": 1, "lt": None}}]}, Filter((Range("x", gte=1),))),
]


@pytest.mark.parametrize(("given", "expected"), ALIKE)
def test_one_condition_needs_no_list(given, expected) -> None:
    assert Filter.from_json(given) == expected


@settings(max_examples=100)
@given(made.filters)
def test_json_and_back(given) -> None:
    text = json.dumps(given.to_json(), allow_nan=False)
    again = Filter.from_json(text)
    assert again.to_json() == json.loads(text)
    # dates come back as strings: the same filter once the fields' types are known
    assert exactly(check(again, ALL_TYPES).filter) == exactly(check(given, ALL_TYPES).filter)


ALL_TYPES = made.types_of(
    [
        {
            "flag": True,
            "n": 1,
            "x": 1.5,
            "word": "a",
            "day": date(2020, 1, 1),
            "local": datetime(2020, 1, 1),
            "moment": datetime(2020, 1, 1, tzinfo=UTC),
            "words": ["a"],
            "numbers": [1.5],
            "grid": [[1]],
            "place": {"city": "a", "zip": 1},
            "authors": [{"name": "a", "papers": [1], "born": date(2020, 1, 1)}],
            "group": {"authors": [{"name": "a"}], "place": {"city": "a", "zip": 1}},
            "empty": [],
            "place.city": "a",
        }
    ]
).types


def exactly(value):
    """Equal values of equal types: 1, 1.0 and True are equal in Python."""
    if dataclasses.is_dataclass(value):
        return [exactly(getattr(value, part.name)) for part in dataclasses.fields(value)]
    return [exactly(item) for item in value] if isinstance(value, tuple) else (type(value).__name__, value)


WRONG = [
    ([], r"the filter: a filter is an object, not \[\]"),
    (7, "the filter: a filter is an object, not 7"),
    ('"x"', "the filter: a filter is an object, not 'x'"),
    ({"must": [], "mast": []}, "/mast: unknown key; a filter has must, should, must_not"),
    ({"must": 5}, "/must: expected a list of conditions, not 5"),
    ({"must": [5]}, "/must/0: a condition is an object, not 5"),
    (
        {"must": [{"key": "x", "exists": True}, {"key": "y", "range": {"gtee": 1}}]},
        "/must/1/range/gtee: unknown key; a range has gt, gte, lt, lte",
    ),
    (
        {"must": {"key": "x", "mtch": {}}},
        "/must/mtch: unknown key; a condition has key, match, range, exists",
    ),
    ({"must": {"a/b~c": 1}}, "/must/a~1b~0c: unknown key; a condition has key, match, range, exists"),
    ({"must": {"match": {"value": 1}}}, "/must: the condition has no 'key', the field it is about"),
    ({"must": {"key": "x"}}, "/must: exactly one of match, range, exists is expected, not none"),
    (
        {"must": {"key": "x", "exists": True, "match": {"value": 1}}},
        "/must: exactly one of match, range, exists is expected, not exists and match together",
    ),
    ({"must": {"key": 5, "exists": True}}, "/must/key: a field's name is a string"),
    ({"must": {"key": "", "exists": True}}, "/must/key: a field's name is a string that is not empty"),
    ({"must": {"key": "x", "exists": "no"}}, "/must/exists: expected true or false, not 'no'"),
    ({"must": {"key": "x", "match": "a"}}, "/must/match: a match is an object, not 'a'"),
    ({"must": {"key": "x", "match": {"text": "a"}}}, "/must/match/text: unknown key; a match has value, any"),
    (
        {"must": {"key": "x", "match": {}}},
        "/must/match: exactly one of value, any, prefix is expected, not none",
    ),
    ({"must": {"key": "x", "match": {"any": "a"}}}, "/must/match/any: expected a list of values, not 'a'"),
    ({"must": {"key": "x", "match": {"value": None}}}, "/must/match/value: null is no value to compare with"),
    (
        {"must": {"key": "x", "match": {"value": [1]}}},
        r"/must/match/value: \[1\] is no value to compare with",
    ),
    ({"must": {"key": "x", "match": {"any": [1, {}]}}}, "/must/match/any: {} is no value to compare with"),
    ({"must": {"key": "x", "match": {"prefix": 5}}}, "/must/match/prefix: a prefix is a string, not 5"),
    ({"must": {"key": "x", "range": {}}}, "/must/range: the range of 'x' has no bounds"),
    ({"must": {"key": "x", "range": [1, 2]}}, r"/must/range: a range is an object, not \[1, 2\]"),
    ({"must": {"key": "x", "range": {"gt": True}}}, "/must/range: a range's gt is a number, date or time"),
    ({"must": {"has_id": "a"}}, "/must/has_id: expected a list of ids, not 'a'"),
    ({"must": {"has_id": [5]}}, "/must/has_id: an id is a string, not 5"),
    ({"must": {"has_id": ["a"], "key": "x"}}, "/must/key: unknown key; beside has_id there is has_id"),
    ({"key": "x", "match": {"value": 1}}, "the filter: a single condition stands in a list"),
    ({"x": None}, "/x: null is no value to compare with; for missing values use must_not with exists"),
    ({"a/b": {"c": 1}}, "/a~1b/c: unknown key; "),
    ({"x": {}}, "/x: the range of 'x' has no bounds"),
    ({"x": {"prefix": "a", "gt": 1}}, "/x: exactly one of prefix, exists is expected, not gt and prefix"),
    ({"x": {"exists": 1}}, "/x/exists: expected true or false, not 1"),
    ({5: 1}, "/5: a field's name is a string"),
    ({"x": float("nan")}, "/x: nan is no value"),
    ({"x": float("-inf")}, "/x: -inf is no value"),
    ({"x": 10**400}, "/x: an integer of 1329 bits is no value to compare with; at most 1023"),
    ({"x": "\ud800"}, "/x: '.ud800' is not valid Unicode"),
    ({"\ud800": 1}, "'.ud800' is not valid Unicode"),
    ("{", "the filter is not JSON: "),
    ("", "the filter is not JSON: "),
    ('{"x": NaN}', "the filter is not JSON: NaN is no number of JSON"),
    ('{"x": 1e999}', "/x: inf is no value"),
    ('{"x": 1, "x": 2}', "the filter is not JSON: the key 'x' is given twice"),
    ('{"x": ' + "9" * 5000 + "}", "the filter is not JSON: "),
    ('{"must":' * 100_000, "the filter is nested deeper than 32 levels"),
]


@pytest.mark.parametrize(("given", "told"), WRONG)
def test_mistakes_are_pointed_at(given, told) -> None:
    with pytest.raises(FilterError, match=f"^{told}" if "ud800" not in told else told) as caught:
        Filter.from_json(given)
    assert len(str(caught.value)) < 300


def nested(depth: int) -> dict:
    given: dict = {"must": []}
    for _ in range(depth - 1):
        given = {"must": [given]}
    return given


def test_limits_at_and_one_beyond() -> None:
    assert Filter.from_json(nested(MAX_DEPTH)).to_json()
    for deep in (MAX_DEPTH + 1, 10_000):
        with pytest.raises(FilterError, match="deeper than 32"):
            Filter.from_json(nested(deep))
    with pytest.raises(FilterError, match="deeper than 32"):
        Filter((Filter.from_json(nested(MAX_DEPTH)),))

    def conditions(n: int) -> dict:
        some = [{"key": "x", "match": {"value": i}} for i in range(n)]
        return {"must": some[::2], "should": [{"must_not": some[1::2]}]}

    assert Filter.from_json(conditions(MAX_CONDITIONS - 1))
    with pytest.raises(FilterError, match="the filter has 1001 conditions; at most 1000"):
        Filter.from_json(conditions(MAX_CONDITIONS))
    with pytest.raises(FilterError, match="must is a list of at most 1000 items, not 1001"):
        Filter.from_json({"must": [{"key": "x", "exists": True}] * (MAX_CONDITIONS + 1)})

    assert len(AnyOf("x", range(MAX_VALUES)).values) == MAX_VALUES
    with pytest.raises(FilterError, match="at most 100000 items, not 100001"):
        Filter.from_json({"x": list(range(MAX_VALUES + 1))})
    with pytest.raises(FilterError, match="at most 100000 items, not 100001"):
        HasId([str(i) for i in range(MAX_VALUES + 1)])


def test_objects_take_any_sequence_and_numpy_values() -> None:
    assert Filter(must=[Match("x", np.int64(3))]) == Filter((Match("x", 3),))
    assert type(Match("x", np.int64(3)).value) is int
    assert AnyOf("x", np.array([1, 2])).values == (1, 2)
    assert AnyOf("x", {"a"}).values == ("a",)
    assert HasId(i for i in "ab") == HasId(("a", "b"))
    assert type(Range("x", gt=np.float32(0.5)).gt) is float


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Filter(must=Match("x", 1)), "must is a list, not Match"),
        (lambda: Filter(must=["x"]), "must holds 'x', which is no condition"),
        (lambda: Filter(must={"x": 1}), "must is a list, not {'x': 1}"),
        (lambda: Match("x", None), "null is no value"),
        (lambda: Match("x", b"a"), "b'a' is no value to compare with"),
        (lambda: Match(3, 1), "a field's name is a string that is not empty, not 3"),
        (lambda: AnyOf("x", "abc"), "the values of AnyOf are a list, not 'abc'"),
        (lambda: HasId("abc"), "has_id takes a list, not 'abc'"),
        (lambda: Range("x"), "the range of 'x' has no bounds; give gt, gte, lt or lte"),
        (lambda: Range("x", gt=False), "a range's gt is a number, date or time stamp, not False"),
        (lambda: Prefix("x", 3), "a prefix is a string, not 3"),
    ],
)
def test_objects_refuse_what_they_cannot_be(make, told) -> None:
    with pytest.raises(FilterError, match=told):
        make()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "must",
                        "should",
                        "must_not",
                        "key",
                        "match",
                        "range",
                        "exists",
                        "value",
                        "any",
                        "gt",
                        "has_id",
                    ]
                )
                | st.text(max_size=2),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_filter_or_a_filter_error(given) -> None:
    try:
        found = Filter.from_json(given if not isinstance(given, str) else [given])
    except FilterError as error:
        assert "\n" not in str(error)
    else:
        assert Filter.from_json(found.to_json()) == found
