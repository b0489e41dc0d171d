from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from retrieval.errors import FilterError, QueryError
from retrieval.filters import AnyOf, Exists, Filter, HasId, Match, Prefix, Range, check

FIELDS = {
    "lang": pa.string(),
    "language_code": pa.string(),
    "year": pa.int64(),
    "price": pa.float64(),
    "open": pa.bool_(),
    "day": pa.date32(),
    "local": pa.timestamp("us"),
    "moment": pa.timestamp("us", tz="UTC"),
    "tags": pa.list_(pa.string()),
    "place": pa.struct([("city", pa.string()), ("zip", pa.int64())]),
    "authors": pa.list_(pa.struct([("name", pa.string())])),
    "nothing": pa.null(),
    "nowhere": pa.list_(pa.null()),
    "place.zip": pa.string(),
}
DAY, LOCAL, MOMENT = date(2020, 1, 31), datetime(2020, 1, 31, 12), datetime(2020, 1, 31, 12, tzinfo=UTC)


def one(condition, fields=FIELDS):
    checked = check(Filter(must_not=(Filter(should=(condition,)),)), fields)
    return checked.filter.must_not[0].should[0]


FITTING = [
    (Match("lang", "en"), "en"),
    (Match("year", 2000), 2000),
    (Match("year", 2000.5), 2000.5),
    (Match("price", 2**53 + 1), 2**53 + 1),
    (Match("open", True), True),
    (Match("day", "2020-01-31"), DAY),
    (Match("day", DAY), DAY),
    (Match("local", "2020-01-31T12:00:00"), LOCAL),
    (Match("moment", "2020-01-31T13:00:00+01:00"), MOMENT),
    (Match("moment", "2020-01-31T12:00:00"), MOMENT),
    (Match("moment", LOCAL), MOMENT),
    (Match("tags", "a"), "a"),
    (Match("place.city", "a"), "a"),
    (Match("place.zip", "the field, not the member"), "the field, not the member"),
    (Match("authors.name", "a"), "a"),
    (Match("nothing", 3), 3),
    (Match("nowhere", "a"), "a"),
]


@pytest.mark.parametrize(("condition", "value"), FITTING)
def test_values_get_the_type_of_the_field(condition, value) -> None:
    found = one(condition)
    assert (type(found.value), found.value) == (type(value), value)
    assert one(AnyOf(condition.field, (condition.value,))).values == (value,)


def test_what_has_no_value_is_kept() -> None:
    for condition in (
        Exists("place"),
        Exists("authors"),
        HasId(("a",)),
        Prefix("tags", "a"),
        Prefix("nothing", ""),
    ):
        assert one(condition) is condition


def test_days_as_bounds_of_moments() -> None:
    found = one(Range("local", gt="2020-01-31", gte=DAY, lt="2020-01-31T12:00", lte=DAY))
    end = datetime(2020, 1, 31, 23, 59, 59, 999999)
    assert found == Range("local", gt=end, gte=datetime(2020, 1, 31), lt=LOCAL, lte=end)
    assert one(Range("moment", lte=date.max)).lte == datetime.max.replace(tzinfo=UTC)
    assert one(Range("day", gte="2020-01-31")).gte == DAY


def test_paths() -> None:
    names = ("place.city", "authors.name", "place.zip", "year")
    checked = check(Filter(must=tuple(Exists(name) for name in names)), FIELDS)
    assert checked.paths == {
        "place.city": ("place", "city"),
        "authors.name": ("authors", "name"),
        "place.zip": ("place.zip",),
        "year": ("year",),
    }


WRONG = [
    (Match("lang", 5), "the field 'lang' holds string, not 5; use a string"),
    (Match("year", "2000"), "the field 'year' holds int64, not '2000'; use a number without quotes"),
    (Match("year", True), "the field 'year' holds int64, not True; use a number"),
    (Match("price", True), "the field 'price' holds double, not True; use a number"),
    (Match("open", 1), "the field 'open' holds bool, not 1; use true or false"),
    (AnyOf("tags", ("a", 5)), "the field 'tags' holds string, not 5"),
    (Match("day", "31.1.2020"), "the field 'day' holds date32.*not '31.1.2020'; use a date such as"),
    (Match("day", "2020-02-30"), "not '2020-02-30'"),
    (Match("day", LOCAL), "the field 'day' holds date32.*use a date such as"),
    (Match("day", 2020), "not 2020; use a date such as"),
    (Match("local", MOMENT), "the field 'local' holds timestamp.us., not .*use a time stamp without a zone"),
    (Match("local", "2020-01-31T12:00:00Z"), "use a time stamp without a zone"),
    (Match("moment", "2020-01-31"), "not '2020-01-31'; use a time stamp such as .*or a range for whole days"),
    (Match("moment", DAY), "or a range for whole days"),
    (Match("moment", "noon"), "not 'noon'; use a time stamp"),
    (Range("moment", gt=5), "the field 'moment' holds timestamp.*not 5"),
    (Range("lang", gt="a"), "'lang' holds string, but a range .gt 'a'. needs numbers, dates or time stamps"),
    (Range("open", gt=0), "'open' holds bool, but a range"),
    (Range("year", gt="2000"), "the field 'year' holds int64, not '2000'"),
    (
        Range("place", gt=1),
        "the field 'place' holds objects; name a member to compare .place.city, place.zip",
    ),
    (Match("place", "a"), "the field 'place' holds objects"),
    (Match("authors", "a"), "the field 'authors' holds objects; name a member to compare .authors.name."),
    (Prefix("year", "20"), "the field 'year' holds int64, but the prefix '20' needs strings"),
    (Prefix("place", "a"), "the prefix 'a' needs strings"),
    (Match("langg", "en"), "unknown field 'langg'; did you mean 'lang'"),
    (Exists("place.cities"), "unknown field 'place.cities'; did you mean 'place.city'"),
    (Exists("authors.name.first"), "unknown field 'authors.name.first'; did you mean 'authors.name'"),
    (Exists("authors[].name"), "unknown field 'authors..?.name'; did you mean 'authors.name'"),
    (Exists("qqq"), "unknown field 'qqq'; there are: lang, language_code, year, "),
    (Exists("q" * 1000), "unknown field 'qqqq.*; there are: lang"),
    (Exists("."), "unknown field '.'; there are"),
]


@pytest.mark.parametrize(("condition", "told"), WRONG)
def test_what_does_not_fit_is_named(condition, told) -> None:
    with pytest.raises(FilterError, match=told) as caught:
        one(condition)
    assert len(str(caught.value)) < 300


def test_unknown_fields_of_odd_indexes() -> None:
    with pytest.raises(FilterError, match="this index has no metadata fields"):
        one(Exists("x"), {})
    with pytest.raises(FilterError, match=r"there are: a0, .*, a19 and 980 more$"):
        one(Exists("zzzz"), {f"a{i}": pa.null() for i in range(1000)})


def test_a_filter_error_is_a_query_error_with_its_own_code() -> None:
    assert issubclass(FilterError, QueryError)
    assert FilterError.code == "bad_filter"
