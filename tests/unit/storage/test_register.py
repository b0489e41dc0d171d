"""The register: the living, the dead and the pending, as one catalog keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval import Engine
from retrieval.errors import IndexDamagedError
from retrieval.storage import Catalog
from retrieval.storage.records import PendingBatch
from retrieval.storage.register import Birth
from tests.encoders import HashingDense


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    Engine.create(tmp_path / "i", HashingDense()).close()
    with Catalog.open(tmp_path / "i", write=True) as catalog:
        yield catalog


def add(catalog: Catalog, origin: int, ids: list[str], first: int = 0) -> int:
    with catalog.transaction("add") as generation:
        catalog.register.add(origin, ids, first)
    return generation


def bury(catalog: Catalog, *ids: str) -> int:
    with catalog.transaction("delete") as generation:
        catalog.register.bury(ids, generation)
    return generation


def batch(generation: int, buffer: int, first: int, n: int) -> PendingBatch:
    return PendingBatch(generation, buffer, first, n, n, 1.0, b"documents", b"doclens", b"codes")


def test_a_birth_is_origin_and_ordinal(catalog: Catalog) -> None:
    add(catalog, 3, ["a", "b"])
    add(catalog, 3, ["c"], first=2)
    add(catalog, 7, ["d"])
    register = catalog.register
    births = {doc_id: register.find(doc_id) for doc_id in "abcd"}
    assert births == {"a": Birth(3, 0), "b": Birth(3, 1), "c": Birth(3, 2), "d": Birth(7, 0)}
    assert register.find("e") is None and register.count() == 4


def test_the_buried_are_no_longer_found(catalog: Catalog) -> None:
    add(catalog, 3, ["a", "b", "c"])
    with catalog.transaction("delete") as generation:
        assert catalog.register.bury(["c", "none", "a"], generation) == ["c", "a"]
        assert catalog.register.bury(["a"], generation) == []
    register = catalog.register
    assert register.find("a") is None and register.count() == 1
    assert register.tombstones([3]).tolist() == [[3, 0], [3, 2]]
    assert register.tombstones([4]).tolist() == []
    assert register.count_tombstones() == 2 and register.count_damaged_tombstones() == 0


def test_an_id_may_come_again_and_die_again(catalog: Catalog) -> None:
    add(catalog, 3, ["a"])
    bury(catalog, "a")
    add(catalog, 4, ["a"])
    assert catalog.register.find("a") == Birth(4, 0)
    bury(catalog, "a")
    assert catalog.register.tombstones([4, 3]).tolist() == [[3, 0], [4, 0]]


def test_tombstones_by_generation(catalog: Catalog) -> None:
    before = add(catalog, 3, ["a", "b", "c"])
    first, second = bury(catalog, "b"), bury(catalog, "a")
    register = catalog.register
    assert register.tombstones_since(before).tolist() == [[3, 0], [3, 1]]
    assert register.tombstones_since(first).tolist() == [[3, 0]]
    assert register.tombstones_since(second).tolist() == []


def test_stones_set_after_a_generation_stay_when_the_others_are_cleared(catalog: Catalog) -> None:
    """A document that is deleted while its segment is being merged must stay deleted."""
    add(catalog, 3, ["a", "b"])
    add(catalog, 4, ["c"])
    merged_from = bury(catalog, "a", "c")
    bury(catalog, "b")
    with catalog.transaction("merge"):
        catalog.register.clear_tombstones([3], merged_from)
    assert catalog.register.tombstones([3, 4]).tolist() == [[3, 1], [4, 0]]


def test_a_failed_transaction_changes_nothing(catalog: Catalog) -> None:
    generation = add(catalog, 3, ["a"])
    with pytest.raises(KeyError), catalog.transaction("upsert") as number:
        catalog.register.bury(["a"], number)
        catalog.register.add(4, ["a", "b"])
        catalog.register.add_pending(batch(number, 4, 0, 2))
        raise KeyError
    register = catalog.register
    assert register.find("a") == Birth(3, 0) and register.count() == 1
    assert register.count_tombstones() == 0 and register.buffer() is None
    assert catalog.generation() == generation


def test_pending_batches_come_back_in_order(catalog: Catalog) -> None:
    register, batches = catalog.register, []
    assert register.buffer() is None and register.pending_size() == (0, 0)
    for first, n in ((0, 2), (2, 1), (3, 4)):
        with catalog.transaction("add") as generation:
            batches.append(batch(generation, 9, first, n))
            register.add_pending(batches[-1])
    assert list(register.pending()) == batches
    assert list(register.pending(batches[0].generation)) == batches[1:]
    assert list(register.pending(batches[-1].generation)) == []
    assert register.buffer() == 9
    assert register.pending_size() == (7, sum(one.bytes for one in batches))
    with catalog.transaction("fold"):
        register.clear_pending()
    assert register.buffer() is None and list(register.pending()) == []


@pytest.mark.parametrize("column", ["buffer", "first", "n_documents", "documents", "doclens", "codes"])
def test_a_changed_pending_row_is_refused(catalog: Catalog, column: str) -> None:
    with catalog.transaction("add") as generation:
        catalog.register.add_pending(batch(generation, 9, 0, 2))
    assert len(list(catalog.register.pending())) == 1
    value = b"other" if column in ("documents", "doclens", "codes") else 77
    with catalog.committing():
        catalog.execute(f"UPDATE pending SET {column} = ?", (value,))
    with pytest.raises(IndexDamagedError, match=f"since generation {generation} are not"):
        list(catalog.register.pending())


def test_a_changed_tombstone_is_counted(catalog: Catalog) -> None:
    add(catalog, 3, ["a", "b"])
    bury(catalog, "a", "b")
    with catalog.committing():
        catalog.execute("UPDATE tombstones SET ordinal = 5 WHERE ordinal = 1")
    assert catalog.register.count_damaged_tombstones() == 1


def test_numbers_never_return(catalog: Catalog) -> None:
    taken = []
    for _ in range(3):
        with catalog.transaction("reserve"):
            taken.append(catalog.take_number())
    with pytest.raises(KeyError), catalog.transaction("reserve"):
        catalog.take_number()
        raise KeyError
    with catalog.transaction("reserve"):
        taken.append(catalog.take_number())
    assert taken == list(range(taken[0], taken[0] + 4))
