from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.corpus import FieldTypes, check_document, metadata_columns
from retrieval.errors import DataError
from retrieval.types import Document, Record


def record(metadata, where: str = "d.jsonl:7") -> Record:
    return Record(Document("a", "text", "", metadata), where)


def observed(*values) -> FieldTypes:
    types = FieldTypes()
    for value in values:
        types.observe(record({"x": value}))
    return types


WIDENED = [
    ((None,), pa.null()),
    ((None, 1), pa.int64()),
    ((True, None), pa.bool_()),
    ((1, 2.5), pa.float64()),
    ((2.5, 1), pa.float64()),
    (("s", None), pa.string()),
    ((date(2020, 1, 1),), pa.date32()),
    ((datetime(2020, 1, 1),), pa.timestamp("us")),
    ((datetime(2020, 1, 1, tzinfo=UTC),), pa.timestamp("us", tz="UTC")),
    (([],), pa.list_(pa.null())),
    (([], ["a"], [None]), pa.list_(pa.string())),
    (([1], [2.5]), pa.list_(pa.float64())),
    (((1, 2),), pa.list_(pa.int64())),
    (({"a": 1}, {"b": "s"}, {"a": 1.5}), pa.struct([("a", pa.float64()), ("b", pa.string())])),
    (([{"a": []}], [{"a": [1]}]), pa.list_(pa.struct([("a", pa.list_(pa.int64()))]))),
    (({},), pa.struct([])),
]


@pytest.mark.parametrize(("values", "kind"), WIDENED)
def test_widening(values, kind) -> None:
    types = observed(*values)
    assert types.types == {"x": kind}
    assert FieldTypes.from_json(types.to_json()).types == {"x": kind}
    column = metadata_columns([Document("a", "t", "", {"x": value}) for value in values], types.types)["x"]
    column.validate(full=True)
    assert column.type == kind
    assert len(column) == len(values)


CONFLICTS = [
    (1999, "1999", "field 'x' is string here but int64 before"),
    ("1999", 1999, "field 'x' is int64 here but string before"),
    (1, True, "field 'x' is bool here but int64 before"),
    (True, 1, "field 'x' is int64 here but bool before"),
    (1.5, True, "field 'x' is bool here but float64 before"),
    (["a"], "a", "field 'x' is string here but list before"),
    ("a", ["a"], "field 'x' is list here but string before"),
    ({"a": 1}, [1], "field 'x' is list here but struct before"),
    ([1], {"a": 1}, "field 'x' is struct here but list before"),
    (["a"], [1], "field 'x[]' is int64 here but string before"),
    ({"a": {"b": 1}}, {"a": {"b": "s"}}, "field 'x.a.b' is string here but int64 before"),
    (date(2020, 1, 1), datetime(2020, 1, 1), "field 'x' is timestamp[us] here but date32 before"),
    (
        datetime(2020, 1, 1),
        datetime(2020, 1, 1, tzinfo=UTC),
        "field 'x' is timestamp[us, tz=UTC] here but timestamp[us] before",
    ),
]


@pytest.mark.parametrize(("before", "here", "message"), CONFLICTS)
def test_conflicts_name_both_types_and_the_place(before, here, message) -> None:
    types = observed(before)
    with pytest.raises(DataError) as error:
        types.observe(record({"x": here}))
    assert str(error.value) == f"d.jsonl:7: {message}"
    assert error.value.where == "d.jsonl:7"


def nested(levels: int):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


HOLDABLE = "which metadata cannot hold; use a bool, number, string, date, time stamp, list or object"
UNUSABLE = [
    ({"x": 2**63}, "field 'x' has an integer that does not fit 64 bits; write it as a string"),
    ({"x": [-(2**63) - 1]}, "field 'x[]' has an integer that does not fit 64 bits; write it as a string"),
    ({"x": b"bytes"}, f"field 'x' is bytes, {HOLDABLE}"),
    ({"x": {1, 2}}, f"field 'x' is set, {HOLDABLE}"),
    ({"x": timedelta(1)}, f"field 'x' is timedelta, {HOLDABLE}"),
    ({"x": {1: 2}}, "field 'x' has the key 1; keys must be strings"),
    ({"x": "\ud800"}, "field 'x' is not valid Unicode: it has half of a surrogate pair"),
    ({"x": {"\ud800": 1}}, "field 'x' is not valid Unicode: it has half of a surrogate pair"),
    ({"\ud800": 1}, "field '\\ud800' is not valid Unicode: it has half of a surrogate pair"),
    ({"": 1}, "'' is no name for a field; use a string that is not empty"),
    ({5: 1}, "5 is no name for a field; use a string that is not empty"),
    ({"n" * 257: 1}, f"the field name '{'n' * 40}'... has 257 characters; at most 256"),
    ({"x": nested(40)}, "field 'x" + "[]" * 33 + "' is nested deeper than 32 levels"),
]


@pytest.mark.parametrize(("metadata", "message"), UNUSABLE, ids=[message[:50] for _, message in UNUSABLE])
@pytest.mark.parametrize("seen", [{}, {"x": None}])
def test_what_cannot_be_a_field(metadata, message, seen) -> None:
    types = FieldTypes()
    types.observe(record(seen))
    with pytest.raises(DataError) as error:
        types.observe(record(metadata))
    assert str(error.value) == f"d.jsonl:7: {message}"


def test_limits_are_usable() -> None:
    metadata = {"n" * 256: 1, "low": -(2**63), "high": 2**63 - 1, "deep": nested(32)}
    types = FieldTypes()
    types.observe(record(metadata))
    columns = metadata_columns([record(metadata).document], types.types)
    assert {name: column[0].as_py() for name, column in columns.items()} == metadata


def test_a_refused_record_changes_nothing() -> None:
    types = observed(1)
    before = types.to_json()
    with pytest.raises(DataError):
        types.observe(record({"new": 1, "x": 2.5, "other": b""}))
    with pytest.raises(DataError):
        types.observe(record({"x": "conflict", "new": 1}))
    assert types.to_json() == before == '{"x":"int64"}'


def test_missing_fields_are_null_and_integers_widen() -> None:
    big = 2**60
    documents = [
        Document("a", "t", "", {"n": big, "list": [big, 1.5, None], "in": {"f": big}}),
        Document("b", "t", "", {"n": 0.5, "in": {"f": 0.5, "g": "s"}}),
        Document("c", "t", "", {"n": None, "in": None}),
    ]
    types = FieldTypes()
    for document in documents:
        types.observe(Record(document, "d:1"))
    columns = metadata_columns(documents, types.types)
    assert columns["n"].to_pylist() == [float(big), 0.5, None]
    assert columns["list"].to_pylist() == [[float(big), 1.5, None], None, None]
    assert columns["in"].to_pylist() == [{"f": float(big), "g": None}, {"f": 0.5, "g": "s"}, None]
    assert list(columns) == list(types.types) == ["n", "list", "in"]
    assert all(len(column) == 0 for column in metadata_columns([], types.types).values())


BIG = 2**53 + 1
LOSING = [
    (BIG, 0.5, "field 'x' is a float here, and as one the integer 9007199254740993 of document 'a' would"),
    (0.5, BIG, "field 'x' holds floats, and as one the integer 9007199254740993 would lose digits; write"),
    ([1, -BIG], [2.5], "field 'x[]' is a float here, and as one the integer -9007199254740993 of document"),
    ([2.5], [1, BIG], "field 'x[]' holds floats, and as one the integer"),
    (1, [BIG, 1.5], "field 'x' is list here but int64 before"),
    (None, [BIG, 1.5], "field 'x[]' holds floats, and as one the integer"),
    (
        {"a": [{"b": 2**63 - 1}]},
        {"a": [{"b": 0.5}]},
        "field 'x.a[].b' is a float here, and as one the integer",
    ),
    (
        {"a": 0.5},
        {"a": 2**63 - 1},
        "field 'x.a' holds floats, and as one the integer 9223372036854775807 would",
    ),
]


@pytest.mark.parametrize(("before", "here", "message"), LOSING, ids=[message for *_, message in LOSING])
def test_no_integer_loses_digits(before, here, message) -> None:
    types = observed(before)
    known = types.to_json()
    for _ in range(2):
        with pytest.raises(DataError) as error:
            types.observe(record({"x": here}))
        assert str(error.value).startswith(f"d.jsonl:7: {message}")
    assert types.to_json() == known
    types.observe(record({"x": before}))


def test_what_floats_hold_exactly_may_become_floats() -> None:
    for exact in (2**53, -(2**63), 2**60 + 2**20):
        assert observed(exact, 0.5).types == observed(0.5, exact).types == {"x": pa.float64()}
    types = observed(1)
    with pytest.raises(DataError):
        types.observe(record({"x": BIG, "y": b"no such value"}))
    types.observe(record({"x": 0.5}))  # what was refused does not count


def test_aware_time_stamps_are_kept_as_utc() -> None:
    there = datetime(2020, 6, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    types = observed(there)
    column = metadata_columns([record({"x": there}).document], types.types)["x"]
    assert column[0].as_py() == there
    assert str(column.type) == "timestamp[us, tz=UTC]"


def test_json_form_is_readable_and_refuses_others() -> None:
    types = observed([{"größe": 1.5, "at": None}])
    assert types.to_json() == '{"x":{"list":{"struct":{"größe":"float64","at":"null"}}}}'
    for text in (
        '{"x": "int128"}',
        '{"x": {"map": "string"}}',
        '{"x": {"list": "string", "y": 1}}',
        '{"x": 5}',
        "[]",
    ):
        with pytest.raises(ValueError, match=r"metadata type|field types must be"):
            FieldTypes.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.lists(st.dictionaries(st.sampled_from("xyz"), JSON, max_size=3), max_size=5))
def test_whatever_was_accepted_has_columns_and_order_does_not_matter(rows) -> None:
    types, accepted = FieldTypes(), []
    for i, row in enumerate(rows):
        before = types.to_json()
        try:
            types.observe(record(row, f"d:{i}"))
            accepted.append(row)
        except DataError as error:
            assert error.where == f"d:{i}"
            assert types.to_json() == before
    documents = [Document(str(i), "t", "", row) for i, row in enumerate(accepted)]
    for column in metadata_columns(documents, types.types).values():
        column.validate(full=True)
    again = types.to_json()
    for row in accepted:
        types.observe(record(row))
    assert types.to_json() == again
    for order in itertools.islice(itertools.permutations(accepted), 6):
        other = FieldTypes()
        for row in order:
            other.observe(record(row))
        assert by_name(other.types) == by_name(types.types)


def by_name(types: dict[str, pa.DataType]):
    """Types without the order of struct fields, which is the order of their appearance."""

    def plain(kind: pa.DataType):
        if pa.types.is_list(kind):
            return [plain(kind.value_type)]
        if pa.types.is_struct(kind):
            return {field.name: plain(field.type) for field in kind}
        return str(kind)

    return {name: plain(kind) for name, kind in types.items()}


def test_check_document_holds_callers_to_the_same_rules() -> None:
    check_document(Document("a", "t", metadata=MappingProxyType({"x": 1})))
    for document, message in (
        (Document("", "t"), "mine: the id is empty ('')"),
        (Document(5, "t"), "mine: an id must be a string or an integer, not int (5)"),  # type: ignore[arg-type]
        (Document("a", " "), "mine: the document is empty: title and text are both blank"),
        (Document("a", None), "mine: the text must be a string, not null"),  # type: ignore[arg-type]
        (Document("a", "t", None), "mine: the title must be a string, not null"),  # type: ignore[arg-type]
        (Document("a", "t", "", [1]), "mine: the metadata must be a mapping, not a list"),  # type: ignore[arg-type]
    ):
        with pytest.raises(DataError) as error:
            check_document(document, "mine")
        assert str(error.value) == message


def test_an_index_has_not_any_number_of_fields() -> None:
    types = FieldTypes()
    full = {f"f{i}": i for i in range(1000)}
    types.observe(Record(Document("a", "x", metadata=full), "document 1"))
    with pytest.raises(DataError, match="document 2: field 'one more' is one too many"):
        types.observe(Record(Document("b", "x", metadata={"f0": 1, "one more": 2}), "document 2"))
    types.observe(Record(Document("c", "x", metadata={"f0": 1.5}), "document 3"))  # known ones may widen
    assert "one more" not in types.types
