"""Documents on their way to the service."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from retrieval import Document, ErrorPolicy, Record, open_corpus
from retrieval.client import RemoteError
from retrieval.client.writing import BATCH_DOCUMENTS
from retrieval.errors import ConfigError, DataError
from retrieval.types import BuildProgress
from tests.unit.client.service import Service, answer, problem

WRITE = "POST /collections/papers/documents"


def documents(n: int) -> Iterator[Document]:
    return (Document(f"d{i}", f"text {i}", metadata={"n": i}) for i in range(n))


def written(service: Service, **more: Any) -> Any:
    """Answers that all documents of the request were written."""

    def answer_to(request: httpx.Request) -> httpx.Response:
        n = len(service.lines())
        timings = {"encode": 1500.0, "total": 2000.0}
        body = {
            "documents": n,
            "replaced": 0,
            "skipped": 0,
            "errors": [],
            "generation": 2,
            "timings_ms": timings,
        }
        return answer({**body, **more})

    return answer_to


def test_documents_become_lines(engine: Any, service: Service) -> None:
    service.on(WRITE, written(service))
    given = [
        Document("ünï/1", "文 text", "Title", {"n": 1, "tags": ["a"], "x": math.nan}),
        Record(Document("b", "x"), "corpus.jsonl:17"),
    ]
    report = engine.add(given)
    assert service.lines() == [
        {"id": "ünï/1", "title": "Title", "text": "文 text", "metadata": {"n": 1, "tags": ["a"], "x": None}},
        {"id": "b", "title": "", "text": "x"},
    ]
    assert service.last.headers["content-type"] == "application/x-ndjson"
    assert dict(service.last.url.params) == {"mode": "add", "ack": "searchable", "on_error": "stop"}
    assert (report.documents, report.skipped, report.encode_seconds) == (2, 0, 1.5)
    engine.upsert(given, ack="durable")
    assert dict(service.last.url.params) == {"mode": "upsert", "ack": "durable", "on_error": "stop"}


def test_batches_by_count(engine: Any, service: Service) -> None:
    service.on(WRITE, written(service, replaced=1))
    seen: list[BuildProgress] = []
    report = engine.upsert(documents(2 * BATCH_DOCUMENTS + 1), progress=seen.append)
    assert [len(service.lines(at)) for at in range(3)] == [BATCH_DOCUMENTS, BATCH_DOCUMENTS, 1]
    assert (report.documents, report.replaced) == (2 * BATCH_DOCUMENTS + 1, 3)
    assert [one.documents for one in seen] == [BATCH_DOCUMENTS, 2 * BATCH_DOCUMENTS, 2 * BATCH_DOCUMENTS + 1]
    assert len({request.headers["idempotency-key"] for request in service.asked}) == 3


def test_batches_by_size(engine: Any, service: Service) -> None:
    service.on(WRITE, written(service))
    engine.add([Document(str(i), "x" * (1 << 20)) for i in range(6)] + [Document("l", "y" * (5 << 20))])
    assert [len(service.lines(at)) for at in range(3)] == [3, 3, 1]


def test_nothing_is_sent_of_nothing(engine: Any, service: Service) -> None:
    assert engine.add([]).documents == 0 and engine.upsert(iter(()), ack="task").documents == 0
    assert service.asked == []


def test_the_idempotency_key_stays_the_same(engine: Any, service: Service, pauses: list[float]) -> None:
    service.on(
        WRITE,
        httpx.ReadError("reset"),
        problem(409, "idempotency_in_progress", headers={"Retry-After": "1"}),
        problem(503, "overloaded"),
        written(service),
    )
    assert engine.add(documents(3)).documents == 3
    assert len({request.headers["idempotency-key"] for request in service.asked}) == 1
    assert len({request.content for request in service.asked}) == 1
    assert len(service.asked) == 4 and len(pauses) == 3


def test_dates_keep_their_type(engine: Any, service: Service) -> None:
    service.on(WRITE, answer({"documents": 2, "replaced": 0, "skipped": 0, "errors": [], "generation": 2}))
    stamp = datetime(2001, 2, 3, 4, 5, 6, 7)
    given = [
        Document("a", "x", "t", {"published": date(1958, 3, 1), "id": 5, "deep": {"at": [stamp]}}),
        Document("b", "y", metadata={"n": 2}),
    ]
    engine.add(given)
    assert service.last.headers["content-type"] == "application/vnd.apache.arrow.stream"
    rows = pa.ipc.open_stream(service.last.content).read_all().to_pylist()
    assert rows == [
        {
            "id": "a",
            "title": "t",
            "text": "x",
            "metadata": {"published": date(1958, 3, 1), "id": 5, "deep": {"at": [stamp]}, "n": None},
        },
        {
            "id": "b",
            "title": "",
            "text": "y",
            "metadata": {"published": None, "id": None, "deep": None, "n": 2},
        },
    ]


BAD = [
    (Document("", "x"), "the id is empty"),
    (Document("a", ""), "empty"),
    (Document("a", "\ud800"), "surrogate"),
    (Document("a", 3), "string"),  # type: ignore[arg-type]
    (Document("a", "x", metadata={"f": object()}), "object"),
    (Document("a", "x", metadata={"f": 1 << 70}), "64 bits"),
    (Document("a", "x", metadata=[1]), "mapping"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("document", "told"), BAD)
def test_a_bad_document_is_refused_here_as_by_the_engine(
    engine: Any, service: Service, document: Document, told: str
) -> None:
    with pytest.raises(DataError, match=told) as caught:
        engine.add([Document("fine", "x"), document])
    assert caught.value.where == "document 2" and service.asked == []
    service.on(WRITE, written(service))
    policy = ErrorPolicy("skip")
    report = engine.add([document, Document("fine", "x")], policy=policy)
    assert (report.documents, report.skipped) == (1, 1) and told in report.skipped_samples[0]
    assert dict(service.last.url.params)["on_error"] == "skip"
    collecting = ErrorPolicy("collect")
    with pytest.raises(DataError, match=told):
        engine.add([document, Document("fine", "x")], policy=collecting)
    assert len(service.asked) == 1


@pytest.mark.parametrize("given", ["text", Document("a", "x"), 3])
def test_documents_come_in_a_list(engine: Any, service: Service, given: Any) -> None:
    with pytest.raises(DataError, match="iterable"):
        engine.add(given)


def test_bad_documents_are_named_as_the_caller_knows_them(engine: Any, service: Service) -> None:
    wrong = [
        {"pointer": "/documents/1", "detail": "the id 'b' is there"},
        {"pointer": "/documents/0", "detail": "x"},
    ]
    refused = problem(422, "bad_documents", "2 of 2 documents cannot be used", errors=wrong)
    service.on(WRITE, refused)
    given = [Record(Document(name, "x"), f"corpus.jsonl:{line}") for name, line in (("a", 4), ("b", 9))]
    with pytest.raises(DataError) as caught:
        engine.add(given)
    assert str(caught.value) == "corpus.jsonl:9: the id 'b' is there; and 1 more"
    assert [error.where for error in caught.value.errors] == ["corpus.jsonl:9", "corpus.jsonl:4"]
    assert isinstance(caught.value.__cause__, RemoteError)


@pytest.mark.parametrize(
    "failure",
    [
        problem(403, "read_only", "it may not be written to"),
        problem(422, "bad_documents", "no", errors=[{"pointer": "/documents/0", "detail": "no"}]),
        problem(422, "bad_documents", "no", errors=[{"pointer": "/odd", "detail": "no"}]),
        httpx.ConnectError("refused"),
    ],
)
def test_a_failure_in_the_middle_says_what_is_written(engine: Any, service: Service, failure: Any) -> None:
    service.on(WRITE, written(service), failure)
    with pytest.raises((DataError, RemoteError), match=f"; {BATCH_DOCUMENTS} documents of batches before it"):
        engine.add(documents(BATCH_DOCUMENTS + 1))
    service.on(WRITE, failure)
    with pytest.raises((DataError, RemoteError)) as caught:
        engine.add(documents(1))
    assert "before it" not in str(caught.value)


def test_what_the_server_leaves_out_is_counted(engine: Any, service: Service) -> None:
    left = {"index": 1, "id": "d1", "detail": "its field 'n' is text", "code": "bad_data"}
    unknown = {"index": 99, "id": None, "detail": "odd", "code": "bad_data"}
    service.on(WRITE, written(service, documents=1, skipped=2, errors=[left, unknown]))
    policy = ErrorPolicy("skip")
    report = engine.add(documents(3), policy=policy)
    assert (report.documents, report.skipped) == (1, 2)
    assert report.skipped_samples == ("document 2: its field 'n' is text", "odd")


def test_a_corpus_brings_its_policy(engine: Any, service: Service, tmp_path: Path) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_text('{"id": "a", "text": "x"}\n{"id": "b"}\n{"id": "c", "text": "z"}\n')
    service.on(WRITE, written(service))
    corpus = open_corpus(file, policy=ErrorPolicy("skip"))
    report = engine.add(corpus)
    assert (report.documents, report.skipped) == (2, 1) and "docs.jsonl:2" in report.skipped_samples[0]
    with pytest.raises(ConfigError, match="two different policies"):
        engine.add(corpus, policy=ErrorPolicy())


def task(state: str, **more: Any) -> dict[str, Any]:
    return {"id": "t1", "kind": "ingest", "collection": "papers", "state": state, "progress": {}, **more}


def test_as_a_task_all_go_in_one_request(engine: Any, service: Service, pauses: list[float]) -> None:
    n = 3 * BATCH_DOCUMENTS
    result = {"documents": n - 1, "replaced": 2, "skipped": 1, "errors": [{"index": 5, "detail": "bad"}]}
    service.on(WRITE, httpx.ReadError("reset"), answer(task("queued"), 202))
    service.on("GET /tasks/t1", answer(task("running")), answer(task("succeeded", result=result)))
    report = engine.add(documents(n), ack="task", policy=ErrorPolicy("skip"))
    assert (report.documents, report.replaced, report.skipped) == (n - 1, 2, 1)
    assert report.skipped_samples == ("document 6: bad",)
    first, second = service.asked[0], service.asked[1]
    assert len(service.lines(0)) == n and first.content == second.content
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.headers["content-length"] == str(len(first.content))
    assert "transfer-encoding" not in first.headers
    assert dict(first.url.params)["ack"] == "task"


def test_a_task_that_fails_raises_what_it_failed_with(engine: Any, service: Service) -> None:
    failed = task("failed", problem={"code": "bad_data", "detail": "document 3: no", "status": 422})
    service.on(WRITE, answer(failed, 202))
    with pytest.raises(DataError, match="document 3: no"):
        engine.upsert(documents(3), ack="task")


def test_dates_are_not_sent_as_a_task(engine: Any, service: Service) -> None:
    with pytest.raises(DataError, match=r"document 1: metadata with dates.*ack='searchable'"):
        engine.add([Document("a", "x", metadata={"on": date(1958, 3, 1)})], ack="task")
    with pytest.raises(ConfigError, match="'later'"):
        engine.add([], ack="later")
    assert service.asked == []


def test_delete(engine: Any, service: Service) -> None:
    route = "POST /collections/papers/documents/delete"
    service.on(route, answer({"deleted": 2, "generation": 3}))
    assert engine.delete(iter(["a", "b/c", "a"])) == 2
    assert service.body() == {"ids": ["a", "b/c"]}
    engine.delete(filter={"year": 1})
    assert service.body() == {"filter": {"must": [{"key": "year", "match": {"value": 1}}]}}
    service.on(route, httpx.ReadError("reset"), answer({"deleted": 1, "generation": 3}))
    assert engine.delete(["a"]) == 1
    keys = [request.headers["idempotency-key"] for request in service.asked]
    assert len(keys) == 4 and keys[2] == keys[3] and len(set(keys)) == 3
