"""Writers and readers at one time, over HTTP, against plain dicts that say what must come out.

Every writer has ids of its own, so each knows what its documents must be, whatever the others do. Beside them
each has a *group*: documents that are always written together, with the number of the batch in them. A reader
that sees two numbers in one answer has seen half of a commit.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.http.papers import PAPERS, read_all, serve_papers, until_ended
from tests.http.test_bodies import as_json, as_lines, stream_of_documents

WRITERS, READERS, STEPS, OWN, GROUP = 3, 2, 30, 12, 5
WORDS = ["wing", "rotor", "lift", "drag", "shock", "wave", "jet", "cone"]
FORMS: dict[str, Callable[[list[Any]], bytes]] = {
    "application/json": as_json,
    "application/x-ndjson": as_lines,
    "application/vnd.apache.arrow.stream": stream_of_documents,
}
Answer = dict[str, Any]


class Writer:
    """One client that writes, and what it knows must be there."""

    def __init__(self, client: TestClient, number: int, seed: int) -> None:
        self.client, self.number = client, number
        self.dice = random.Random(f"{seed}-{number}")
        self.own: dict[str, Answer] = {}
        self.group: dict[str, Answer] = {}
        self.step = 0

    @property
    def documents(self) -> dict[str, Answer]:
        return {**self.own, **self.group}

    def run(self) -> None:
        kinds = [
            self.upsert,
            self.upsert,
            self.later,
            self.later_and_at_once,
            self.add,
            self.add_some,
            self.delete,
            self.delete_filtered,
        ]
        for self.step in range(STEPS):
            self.dice.choice(kinds)()
            if self.dice.random() < 0.5:
                self.change_group()
            self.check()

    def upsert(self) -> None:
        given = self.batch()
        answer = self.post(given)
        assert answer.status_code == 200, answer.text
        self.expect(answer.json(), given)

    def later(self) -> None:
        given = self.batch()
        answer = self.post(given, ack="task")
        assert answer.status_code == 202, answer.text
        task = until_ended(self.client, answer.json()["id"])
        assert task["state"] == "succeeded", task
        self.expect(task["result"], given)

    def later_and_at_once(self) -> None:
        """What was accepted first takes effect first, although the task has hardly begun."""
        given, before = self.batch(), dict(self.own)
        answer = self.post(given, ack="task")
        assert answer.status_code == 202, answer.text
        self.own.update({document["id"]: document for document in given})
        self.dice.choice([self.upsert, self.delete, self.add])()
        after, self.own = self.own, before
        self.expect(until_ended(self.client, answer.json()["id"])["result"], given)
        self.own = after

    def add(self) -> None:
        """All or nothing."""
        given = self.batch()
        answer = self.post(given, mode="add")
        bad = self.there_already(given)
        if bad:
            assert answer.status_code == 422, answer.text
            found = [int(error["pointer"].removeprefix("/documents/")) for error in answer.json()["errors"]]
            assert found == bad
        else:
            assert answer.status_code == 200, answer.text
            self.expect(answer.json(), given)

    def add_some(self) -> None:
        """What is new."""
        given = self.batch()
        answer = self.post(given, mode="add", on_error="skip")
        assert answer.status_code == 200, answer.text
        bad = self.there_already(given)
        assert [error["index"] for error in answer.json()["errors"]] == bad
        self.expect(answer.json(), [each for i, each in enumerate(given) if i not in bad])

    def delete(self) -> None:
        ids = self.dice.sample([self.id_of(i) for i in range(OWN)], 4)
        self.delete_expecting({"ids": ids}, [doc_id for doc_id in self.own if doc_id in ids])

    def delete_filtered(self) -> None:
        mark = self.dice.randrange(3)
        wanted = {"filter": {"writer": self.number, "mark": mark}}
        ids = [doc_id for doc_id, document in self.own.items() if document["metadata"]["mark"] == mark]
        # A field that no document ever had is refused; this writer may be the first of all.
        if self.own:
            self.delete_expecting(wanted, ids)

    def change_group(self) -> None:
        """The group comes, changes or goes as a whole."""
        ids = [f"g{self.number}-{i}" for i in range(GROUP)]
        if self.group and self.dice.random() < 0.3:
            answer = self.client.post(f"{PAPERS}/delete", json={"filter": {"group": self.number}})
            assert answer.json()["deleted"] == GROUP, answer.text
            self.group = {}
            return
        metadata = {"group": self.number, "batch": self.step}
        given = [{"id": i, "title": "", "text": self.text(), "metadata": metadata} for i in ids]
        answer = self.post(given)
        assert answer.status_code == 200, answer.text
        assert answer.json()["replaced"] == len(self.group)
        self.group = {document["id"]: document for document in given}

    def check(self) -> None:
        """What was written is there as soon as the answer is."""
        ids = [*(self.id_of(i) for i in range(OWN)), *(f"g{self.number}-{i}" for i in range(GROUP))]
        answer = self.client.post(f"{PAPERS}/fetch", json={"ids": ids}).json()
        known = self.documents
        assert answer["documents"] == [known[doc_id] for doc_id in ids if doc_id in known]
        assert answer["missing"] == [doc_id for doc_id in ids if doc_id not in known]

    def post(self, given: list[Answer], **query: str) -> Any:
        media_type = self.dice.choice(list(FORMS))
        content, headers = FORMS[media_type](given), {"content-type": media_type}
        return self.client.post(PAPERS, content=content, headers=headers, params=query)

    def expect(self, result: Answer, given: list[Answer]) -> None:
        last = {document["id"]: document for document in given}
        assert result["documents"] == len(last), result
        assert result["replaced"] == len(last.keys() & self.own.keys()), result
        self.own.update(last)

    def delete_expecting(self, request: Answer, ids: list[str]) -> None:
        answer = self.client.post(f"{PAPERS}/delete", json=request)
        assert answer.status_code == 200, answer.text
        assert answer.json()["deleted"] == len(ids)
        for doc_id in ids:
            del self.own[doc_id]

    def there_already(self, given: list[Answer]) -> list[int]:
        ids = [document["id"] for document in given]
        return [i for i, doc_id in enumerate(ids) if doc_id in self.own or doc_id in ids[:i]]

    def batch(self) -> list[Answer]:
        return [
            {
                "id": self.id_of(self.dice.randrange(OWN)),
                "title": self.dice.choice(["", "Study"]),
                "text": self.text(),
                "metadata": {"writer": self.number, "mark": self.dice.randrange(3), "step": self.step},
            }
            for _ in range(self.dice.randint(1, 5))
        ]

    def id_of(self, i: int) -> str:
        return f"w{self.number}/{i}"

    def text(self) -> str:
        return " ".join(self.dice.choices(WORDS, k=4))


class Reader:
    """One client that reads until the writers are done."""

    def __init__(self, client: TestClient, number: int, seed: int, done: threading.Event) -> None:
        self.client, self.done = client, done
        self.dice = random.Random(f"{seed}-reader-{number}")
        self.generation = 0
        self.groups_seen = 0

    def run(self) -> None:
        while not self.done.is_set():
            self.whole_group(self.dice.randrange(WRITERS))
            self.scroll_in_order()

    def whole_group(self, number: int) -> None:
        wanted, ids = {"group": number}, [f"g{number}-{i}" for i in range(GROUP)]
        for path, body, part in [
            ("documents/fetch", {"ids": ids}, "documents"),
            ("documents/scroll", {"filter": wanted}, "documents"),
            ("search", {"query": "wing lift", "filter": wanted}, "hits"),
            ("documents/facets", {"field": "batch", "filter": wanted}, "values"),
        ]:
            answer = self.ask(path, body)
            if answer is None:
                continue
            found = answer[part]
            if part == "values":
                assert [value["count"] for value in found] in ([], [GROUP]), answer
                continue
            assert len({document["metadata"]["batch"] for document in found}) <= 1, answer
            assert sorted(document["id"] for document in found) in ([], ids), answer
            self.groups_seen += bool(found)
        counted = self.ask("documents/count", {"filter": wanted})
        assert counted is None or counted["count"] in (0, GROUP)

    def scroll_in_order(self) -> None:
        """No document twice in a walk, unless it was written meanwhile."""
        seen: dict[str, Any] = {}
        cursor = None
        while True:
            page = self.ask("documents/scroll", {"limit": 5, "cursor": cursor})
            assert page is not None
            for document in page["documents"]:
                assert seen.get(document["id"]) != document, f"twice: {document}"
                seen[document["id"]] = document
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def ask(self, path: str, body: Answer) -> Answer | None:
        """None where the filter names a field that no document has had yet."""
        response = self.client.post(f"/v1/collections/papers/{path}", json=body)
        if response.status_code == 422 and response.json()["code"] == "bad_filter":
            assert self.groups_seen == 0, response.text
            return None
        assert response.status_code == 200, response.text
        answer: Answer = response.json()
        assert answer["generation"] >= self.generation, "back in time"
        self.generation = answer["generation"]
        return answer


def tidy(client: TestClient, done: threading.Event) -> None:
    """Fold, merge and compact all the while."""
    while not done.wait(0.05):
        with client.app.state.context.registry.lease("papers") as engine:  # type: ignore[attr-defined]
            engine.flush()
            engine.maintain()
            engine.compact()


@pytest.mark.parametrize("seed", range(2))
def test_writers_and_readers_over_http_against_the_model(serve, tmp_path, seed):
    with serve_papers(serve, tmp_path / "data", search_threads=4) as client:
        done = threading.Event()
        writers = [Writer(client, number, seed) for number in range(WRITERS)]
        readers = [Reader(client, number, seed, done) for number in range(READERS)]
        with ThreadPoolExecutor(WRITERS + READERS + 1) as threads:
            others = [threads.submit(reader.run) for reader in readers]
            others.append(threads.submit(tidy, client, done))
            try:
                for writing in [threads.submit(writer.run) for writer in writers]:
                    writing.result()
            finally:
                done.set()
            for reading in others:
                reading.result()
        expected = {doc_id: each for writer in writers for doc_id, each in writer.documents.items()}
        assert expected
        assert any(reader.groups_seen for reader in readers)
        check_all(client, expected)
    with serve_papers(serve, tmp_path / "data") as client:
        check_all(client, expected)


def check_all(client: TestClient, expected: dict[str, Answer]) -> None:
    found = read_all(client)
    assert len(found) == len(expected)
    assert {document["id"]: document for document in found} == expected
    assert client.post(f"{PAPERS}/count", json={}).json()["count"] == len(expected)
