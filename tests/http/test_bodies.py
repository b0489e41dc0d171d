from __future__ import annotations

import asyncio
import gzip
import io
import json
import random
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from starlette.requests import Request

from retrieval.corpus import ErrorPolicy, FieldNames, records_of
from retrieval.errors import DataError
from server.documents.bodies import DocumentRows, body_file, form_of, receive
from server.http.problems import ProblemError

GIVEN = [
    {"id": "a", "text": "thin wings", "title": "Lift", "metadata": {"year": 1958, "tags": ["x", "y"]}},
    {"id": "b/ü", "text": "slip flow", "title": "", "metadata": {"year": 1961, "tags": []}},
]


def as_json(documents: list[Any]) -> bytes:
    return json.dumps({"documents": documents}).encode()


def as_lines(documents: list[Any]) -> bytes:
    return "".join(json.dumps(document) + "\n" for document in documents).encode()


def stream_of_documents(documents: list[dict[str, Any]]) -> bytes:
    rows = [{**{k: v for k, v in each.items() if k != "metadata"}, **each["metadata"]} for each in documents]
    return stream_of(pa.Table.from_pylist(rows))


def stream_of(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


BODIES = {"json": as_json(GIVEN), "ndjson": as_lines(GIVEN), "arrow": stream_of_documents(GIVEN)}


def rows_of(content: bytes, form: Any, *, most: int | None = None) -> DocumentRows:
    return DocumentRows(io.BytesIO(content), form, max_depth=16, most=most)


def bad_rows(content: bytes, form: Any) -> list[tuple[str | None, str]]:
    policy = ErrorPolicy("skip")
    list(records_of(iter(rows_of(content, form)), FieldNames(), policy))
    return [(error.where, error.detail) for error in policy.errors]


@pytest.mark.parametrize("form", BODIES)
def test_every_form_says_the_same(form):
    rows = rows_of(BODIES[form], form)
    records = list(records_of(iter(rows), FieldNames(), ErrorPolicy()))
    assert [record.where for record in records] == ["/documents/0", "/documents/1"]
    assert [(r.document.id, r.document.text, r.document.title, r.document.metadata) for r in records] == [
        (d["id"], d["text"], d["title"], d["metadata"]) for d in GIVEN
    ]
    assert rows.ids == ["a", "b/ü"]


@pytest.mark.parametrize("form", BODIES)
def test_as_many_as_may_be_and_one_more(form):
    assert len(list(rows_of(BODIES[form], form, most=2))) == 2
    with pytest.raises(ProblemError, match="more than 1") as caught:
        list(rows_of(BODIES[form], form, most=1))
    assert (caught.value.status, caught.value.errors[0]["pointer"]) == (422, "/documents")


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("json", as_json([])),
        ("ndjson", b""),
        ("ndjson", b"\n \r\n"),
        ("arrow", stream_of(pa.table({"id": [], "text": []}))),
    ],
)
def test_no_documents_are_refused(form, content):
    with pytest.raises(ProblemError) as caught:
        list(rows_of(content, form))
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")
    assert caught.value.errors[0]["pointer"] == "/documents"


@pytest.mark.parametrize(
    ("content", "status", "pointer"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[]", 422, ""),
        (b"null", 422, ""),
        (b"{}", 422, "/documents"),
        (b'{"documents": {}}', 422, "/documents"),
        (b'{"documents": [{}], "a/b": 1}', 422, "/a~1b"),
        (b'{"documents": [{"id": "\\ud800"}]}', 422, "/documents/0/id"),
        (b"[" * 17 + b"]" * 17, 422, None),
    ],
)
def test_json_that_is_no_list_of_documents(content, status, pointer):
    with pytest.raises(ProblemError) as caught:
        list(rows_of(content, "json"))
    assert caught.value.status == status
    assert [error["pointer"] for error in caught.value.errors] == ([] if pointer is None else [pointer])


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (5, "an object, not int"),
        (None, "an object"),
        ({"id": "x", "text": "t", "year": 3}, "no member 'year'"),
        ({"id": "x", "text": "t", "metadata": [1]}, "'metadata' is an object"),
        ({"text": "t"}, "the id is missing"),
        ({"id": "x"}, "the text is missing"),
        ({"id": "x", "text": ""}, "empty"),
        ({"id": "\x00", "text": "t"}, "control character"),
        ({"id": True, "text": "t"}, "a string or an integer"),
        ({"id": "x" * 513, "text": "t"}, "513 bytes"),
    ],
)
def test_a_bad_document_of_json_is_wrong_by_itself(document, told):
    (found,) = bad_rows(as_json([GIVEN[0], document, GIVEN[1]]), "json")
    assert found[0] == "/documents/1"
    assert told in found[1]


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b"5", b'{"id": NaN}', b'{"id": 1, "id": 2}', b"\xff", b"[" * 100_000]
)
def test_a_bad_line_is_wrong_by_itself_and_the_others_are_read(line):
    body = (
        b"\xef\xbb\xbf\n" + as_lines([GIVEN[0]]) + b"\n" + line + b"\n" + as_lines([GIVEN[1]]).rstrip(b"\n")
    )
    rows = rows_of(body, "ndjson")
    policy = ErrorPolicy("skip")
    records = list(records_of(iter(rows), FieldNames(), policy))
    assert [record.document.id for record in records] == ["a", "b/ü"]
    assert [error.where for error in policy.errors] == ["/documents/1"]
    assert rows.ids == ["a", None, "b/ü"]
    assert rows.fraction() == 1.0


def test_dates_of_arrow_stay_dates():
    table = pa.table({"id": ["a"], "text": ["t"], "day": pa.array([date(1958, 3, 1)], pa.date32())})
    (record,) = records_of(iter(rows_of(stream_of(table), "arrow")), FieldNames(), ErrorPolicy())
    assert record.document.metadata == {"day": date(1958, 3, 1)}


def hostile_streams() -> dict[str, bytes]:
    plain = {"id": ["a"], "text": ["t"]}
    many = pa.table({"id": ["a"] * 200, "text": ["word " * 50] * 200})
    opaque = pa.opaque(pa.string(), "x", "y")
    nulls = pa.ListArray.from_arrays(pa.array([0, 2**30], pa.int32()), pa.nulls(2**30))
    return {
        "empty": b"",
        "zeros": bytes(64),
        "huge length": b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(64),
        "json": BODIES["json"],
        "compressed": stream_of(many, compression="zstd"),
        "no text": stream_of(pa.table({"id": ["a"]})),
        "twice": stream_of(pa.table([["a"], ["t"], ["u"]], names=["id", "text", "text"])),
        "extension": stream_of(
            pa.table({**plain, "e": pa.ExtensionArray.from_storage(opaque, pa.array(["s"]))})
        ),
        "binary": stream_of(pa.table({**plain, "b": pa.array([b"x"])})),
        "duration": stream_of(pa.table({**plain, "d": pa.array([1], pa.duration("s"))})),
        "a billion nulls": stream_of(pa.table({**plain, "n": nulls})),
    }


@pytest.mark.parametrize("name", hostile_streams())
def test_an_arrow_stream_that_cannot_be_taken_is_refused(name):
    with pytest.raises(DataError):
        list(rows_of(hostile_streams()[name], "arrow"))


def test_no_damage_to_an_arrow_stream_does_more_than_be_refused():
    whole, dice = BODIES["arrow"], random.Random(7)
    damaged = [whole[:end] for end in range(0, len(whole), 3)]
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(dice.choice([1, 1, 2, 8])):
            content[dice.randrange(len(content))] = dice.randrange(256)
        damaged.append(bytes(content))
    refused = 0
    for content in damaged:
        try:
            bad_rows(content, "arrow")
        except (DataError, ProblemError):
            refused += 1
    assert refused > len(damaged) // 2


# -- receiving ------------------------------------------------------------------------------------


def request_of(parts: list[bytes], *, is_cut: bool = False, query: str = "", **headers: str) -> Request:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.disconnect"} if is_cut else {"type": "http.request", "body": b""})
    waiting = iter(messages)

    async def receive_next() -> Any:
        return next(waiting)

    named = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "server": ("test", 80),
        "scheme": "http",
    }
    return Request(scope, receive_next)


def received(request: Request, limit: int = 1 << 24, folder: Any = None) -> tuple[bytes, str]:
    async def run() -> tuple[bytes, str]:
        async with body_file(folder) as file:
            digest = await receive(request, file, limit)
            return file.read(), digest

    return asyncio.run(run())


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
@pytest.mark.parametrize("is_gzip", [False, True])
def test_a_body_comes_whole_however_large(size, is_gzip, tmp_path):
    body = random.Random(size).randbytes(size)
    sent = gzip.compress(body, 1) if is_gzip else body
    parts = [sent[at : at + 70_000] for at in range(0, len(sent), 70_000)]
    headers = {"content_encoding": "gzip"} if is_gzip else {}
    assert received(request_of(parts, **headers), folder=tmp_path)[0] == body
    assert list(tmp_path.iterdir()) == []


def test_the_digest_is_of_the_body_and_the_query():
    digests = [
        received(request)[1]
        for request in (
            request_of([b"ab", b"c"]),
            request_of([b"abc"]),
            request_of([b"abd"]),
            request_of([b"abc"], query="mode=add"),
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_gzip_that_swells_is_stopped():
    with pytest.raises(ProblemError) as caught:
        received(request_of([gzip.compress(bytes(1 << 22))], content_encoding="gzip"), limit=1 << 20)
    assert (caught.value.status, caught.value.code) == (413, "body_too_large")


def test_a_client_that_goes_away_is_no_fault_of_ours():
    with pytest.raises(ProblemError) as caught:
        received(request_of([b"abc"], is_cut=True))
    assert (caught.value.status, caught.value.code) == (400, "body_cut_off")


def test_a_full_disk_is_told(tmp_path):
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(ProblemError, match="No space left") as caught:
        asyncio.run(receive(request_of([b"abc"]), Full(), 100))
    assert caught.value.status == 507


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("application/json", "json"),
        ("Application/JSON; charset=utf-8", "json"),
        ("application/x-ndjson", "ndjson"),
        ("application/vnd.apache.arrow.stream", "arrow"),
    ],
)
def test_the_form_follows_from_the_media_type(header, form):
    assert form_of(request_of([], content_type=header)) == form
