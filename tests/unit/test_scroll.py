"""Documents by id, and all of them a page at a time, while the index changes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval import Document, Engine, IndexConfig, Page, RuntimeConfig
from retrieval.errors import FilterError, IndexFolderError, QueryError
from retrieval.search import Cursor
from tests.encoders import HashingDense

SMALL = 4
"""Documents that still go to the buffer of pending ones; more of them go to segments at once."""
MANUAL = RuntimeConfig.of(maintenance="manual", pending_documents=SMALL)


def document(name: str, n: int) -> Document:
    metadata = {"n": n, "tags": ["x", name]} if n % 2 else {"n": n, "place": {"x": n / 2}}
    return Document(name, f"alpha {name} {n}", f"title {n}" if n % 3 else "", metadata)


def documents(name: str, first: int, stop: int) -> list[Document]:
    return [document(f"{name}{n:03d}", n) for n in range(first, stop)]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """25 documents in three segments, one of them deleted, and two pending ones."""
    Engine.build(
        tmp_path / "i", documents("d", 0, 25), HashingDense(), config=IndexConfig(segment_documents=10)
    )
    with Engine.open(tmp_path / "i", HashingDense(), runtime=MANUAL) as opened:
        opened.add(documents("new", 0, 2))
        opened.delete(["d003"])
        yield opened


def pages(engine: Engine, limit: int, **options: object) -> list[Page]:
    found = [engine.scroll(limit=limit, **options)]  # type: ignore[arg-type]
    while (after := found[-1].next_after) is not None:
        found.append(engine.scroll(after, limit, **options))  # type: ignore[arg-type]
    return found


def test_fetch_keeps_the_order_and_says_what_is_missing(engine: Engine) -> None:
    asked = ["new001", "d024", "nowhere", "d003", "d000", "d024", "d011", "new000"]
    page = engine.fetch(iter(asked))
    assert [one.id for one in page.documents] == ["new001", "d024", "d000", "d011", "new000"]
    assert list(page.documents) == [engine.get(one.id) for one in page.documents]
    assert page.missing == ("nowhere", "d003")
    assert page.generation == engine.generation == engine.search("alpha").generation
    assert engine.fetch([]) == Page((), page.generation)


def test_fields_that_are_not_asked_for_are_empty(engine: Engine) -> None:
    full = engine.get("d011")
    assert full.metadata == {"n": 11, "tags": ["x", "d011"]} and full.title == "title 11"
    for fields, expected in {
        (): Document("d011", ""),
        ("title",): Document("d011", "", full.title),
        ("text",): Document("d011", full.text),
        ("metadata",): Document("d011", "", "", full.metadata),
    }.items():
        assert engine.fetch(["d011"], fields=fields).documents == (expected,)
        assert engine.scroll(str(Cursor(2 << 32)), 1, fields=fields).documents[0] == expected


def test_thousands_of_ids_at_once(tmp_path: Path) -> None:
    many = documents("d", 0, 3000)
    Engine.build(tmp_path / "i", many, HashingDense(), config=IndexConfig(segment_documents=1100))
    with Engine.open(tmp_path / "i", HashingDense()) as engine:
        random.Random(5).shuffle(many)
        assert list(engine.fetch([one.id for one in many]).documents) == many
        sparse = many[:40]
        assert list(engine.fetch([one.id for one in sparse]).documents) == sparse


@pytest.mark.parametrize("limit", [1, 3, 10, 26, 27, 1000])
def test_pages_hold_every_document_once_in_order(engine: Engine, limit: int) -> None:
    found = pages(engine, limit)
    expected = [one for one in documents("d", 0, 25) if one.id != "d003"] + documents("new", 0, 2)
    assert [one for page in found for one in page.documents] == expected
    assert {len(page.documents) for page in found[:-1]} <= {limit}
    assert len(found) == -(-len(expected) // limit)
    engine.compact()
    assert [one for page in pages(engine, limit) for one in page.documents] == expected


def test_a_filter_goes_down_into_the_pages(engine: Engine) -> None:
    found = [one.id for page in pages(engine, 4, filter={"n": {"gte": 20}}) for one in page.documents]
    assert found == ["d020", "d021", "d022", "d023", "d024"]
    assert engine.scroll(filter={"n": {"lt": 0}}) == Page((), engine.generation)
    with pytest.raises(FilterError):
        engine.scroll(filter={"unknown": 1})


def test_pending_documents_that_come_behind_a_large_commit(tmp_path: Path) -> None:
    """The buffer has the smaller number, and grows after the cursor has left it."""
    with Engine.create(tmp_path / "i", HashingDense(), runtime=MANUAL) as engine:
        engine.add(documents("small", 0, 2))
        engine.add(documents("large", 0, 8))
        first = engine.scroll(limit=5)
        assert [one.id for one in first.documents][:3] == ["small000", "small001", "large000"]
        engine.upsert([document("large007", 99)])  # not read yet, and now born behind the cursor
        engine.add(documents("small", 2, 4))
        second = engine.scroll(first.next_after, 2)
        engine.flush()
        engine.add(documents("later", 0, 2))
        rest = [one for page in _from(engine, second.next_after, 2) for one in page.documents]
        names = [one.id for page in (first, second) for one in page.documents] + [one.id for one in rest]
        assert sorted(names) == sorted(
            [f"small{n:03d}" for n in range(4)]
            + [f"large{n:03d}" for n in range(8)]
            + ["later000", "later001"]
        )


def _from(engine: Engine, after: str | None, limit: int) -> Iterator[Page]:
    while after is not None:
        page = engine.scroll(after, limit)
        yield page
        after = page.next_after


class Changing:
    """An index that something is done to between pages, and what is in it by id."""

    def __init__(self, engine: Engine, rng: random.Random) -> None:
        self.engine, self.rng = engine, rng
        self.held: dict[str, int] = {}
        self.made = 0

    def new(self, ids: list[str]) -> list[Document]:
        made = []
        for doc_id in ids:
            self.made += 1
            self.held[doc_id] = self.made
            made.append(document(doc_id, self.made))
        return made

    def step(self) -> None:
        engine, rng = self.engine, self.rng
        some = rng.sample(sorted(self.held), min(len(self.held), rng.choice([1, 2, 3, 7])))
        match rng.choice(
            ["add", "add", "large", "upsert", "upsert", "delete", "flush", "maintain", "compact"]
        ):
            case "add":
                engine.add(self.new([f"a{self.made + i}" for i in range(rng.randint(1, SMALL))]))
            case "large":
                engine.add(self.new([f"l{self.made + i}" for i in range(rng.randint(SMALL + 1, 9))]))
            case "upsert":
                engine.upsert(self.new(some))
            case "delete":
                engine.delete(some)
                self.held = {name: n for name, n in self.held.items() if name not in some}
            case upkeep:
                getattr(engine, upkeep)()


@pytest.mark.parametrize("seed", range(25))
def test_nothing_is_left_out_or_comes_twice_while_the_index_changes(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.storage.merge_policy.FACTOR", 2)
    monkeypatch.setattr("retrieval.storage.merge_policy.FLOOR_BYTES", 400)
    rng = random.Random(seed)
    config = IndexConfig(segment_documents=3)
    with Engine.create(tmp_path / "i", HashingDense(8), config=config, runtime=MANUAL) as engine:
        changing = Changing(engine, rng)
        changing.engine.add(changing.new([f"f{i}" for i in range(rng.choice([3, 20]))]))
        seen: list[tuple[str, int]] = []
        after, steps = None, rng.randint(5, 30)
        for number in range(1000):
            page = engine.scroll(after, rng.randint(1, 6), fields=["metadata"])
            seen += [(one.id, one.metadata["n"]) for one in page.documents]
            if (after := page.next_after) is None:
                break
            for _ in range(rng.randint(0, 3) if number < steps else 0):
                changing.step()
        assert after is None
        assert len(set(seen)) == len(seen)
        assert set(changing.held.items()) <= set(seen)
        # Born after all that it replaces: the last time that an id came, it was as it is now.
        assert {name: n for name, n in seen if name in changing.held} == changing.held


def test_a_cursor_is_written_and_read() -> None:
    for cursor in (Cursor(5 << 32 | 7), Cursor(5 << 32, 3 << 32 | 9), Cursor(0)):
        assert Cursor.parse(str(cursor)) == cursor
    births = np.array([1 << 32, 3 << 32 | 8, 3 << 32 | 9, 3 << 32 | 10, 4 << 32, 5 << 32, 5 << 32 | 1])
    assert [births[a:b].tolist() for a, b in Cursor(5 << 32, 3 << 32 | 9).runs(births)] == [
        [3 << 32 | 10],
        [5 << 32 | 1],
    ]


@pytest.mark.parametrize(
    "after",
    ["", "x", "1", "1:", ":1", "1:2:3", "-1:2", " 1:2", "1:2\n", "1:2,", "1:2,1:3", "1:2,4:0", "4294967296:0",
     "2147483648:0", "0:2147483648", "99999999999:1", "1:99999999999999999999", "\u0661:\u0662", 7, b"1:2"],
)  # fmt: skip
def test_what_is_no_cursor_is_refused(engine: Engine, after: str) -> None:
    with pytest.raises(QueryError, match="is no place to go on from"):
        engine.scroll(after)


def test_a_cursor_beyond_all_documents_gives_an_empty_page(engine: Engine) -> None:
    assert engine.scroll("2147483647:2147483647") == Page((), engine.generation)


def test_what_cannot_be_asked_for(engine: Engine) -> None:
    with pytest.raises(QueryError, match=r"the ids to fetch are a list of strings, such as \['d001'\]"):
        engine.fetch("d001")
    with pytest.raises(QueryError, match="a document id is a string, not 7"):
        engine.fetch(["d001", 7])  # type: ignore[list-item]
    for ask in (lambda: engine.fetch(["d001"], fields=["x"]), lambda: engine.scroll(fields=["x"])):
        with pytest.raises(QueryError, match="unknown field"):
            ask()
    with pytest.raises(QueryError, match="limit must be a whole number of at least 1, not 0"):
        engine.scroll(limit=0)
    engine.close()
    for ask in (lambda: engine.fetch(["d001"]), engine.scroll, lambda: engine.generation):  # type: ignore[assignment]
        with pytest.raises(IndexFolderError, match="closed"):
            ask()
