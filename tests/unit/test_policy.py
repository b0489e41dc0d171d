"""Bad documents: stop, skip, or refuse them all together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval import Document, Engine, ErrorPolicy, IndexConfig, Record, RuntimeConfig, open_corpus
from retrieval.errors import ConfigError, DataError
from tests.encoders import HashingDense

SMALL = 6
MANUAL = RuntimeConfig.of(maintenance="manual", pending_documents=SMALL)


class Counting(HashingDense):
    """Counts the texts it encodes."""

    encoded = 0

    def encode_document(self, texts):  # type: ignore[no-untyped-def]
        self.encoded += len(texts)
        return super().encode_document(texts)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine.create(tmp_path / "i", Counting(), runtime=MANUAL) as opened:
        opened.add([Document("there", "alpha", metadata={"year": 1999})])
        yield opened


def given(n_good: int) -> list[Record]:
    """Three bad documents at 0, 2 and the end, among so many good ones."""
    docs = [Document("", "no id"), Document("g0", "beta"), Document("g1", "gamma", metadata={"year": "x"})]
    docs += [Document(f"h{i}", "delta") for i in range(n_good)]
    docs.append(Document("blank", " "))
    return [Record(one, f"/documents/{i}") for i, one in enumerate(docs)]


TOLD = [
    ("/documents/0", "the id is empty ('')"),
    ("/documents/2", "the field 'year' has a string"),
    ("/documents/{last}", "the document is empty: title and text are both blank"),
]


@pytest.mark.parametrize("n_good", [1, 20], ids=["small", "large"])
@pytest.mark.parametrize("change", ["add", "upsert"])
def test_collected_errors_refuse_the_whole_commit(engine: Engine, n_good: int, change: str) -> None:
    before, encoded = engine.generation, engine.encoder.encoded  # type: ignore[attr-defined]
    policy = ErrorPolicy("collect")
    with pytest.raises(DataError) as error:
        getattr(engine, change)(given(n_good), policy=policy)
    errors = error.value.errors
    assert list(errors) == policy.errors and policy.skipped == 3
    assert [one.where for one in errors] == [where.format(last=3 + n_good) for where, _ in TOLD]
    assert all(str(one) == f"{one.where}: {one.detail}" for one in errors)
    assert errors[0].detail == TOLD[0][1] and errors[2].detail == TOLD[2][1] and "'year'" in errors[1].detail
    told = f"/documents/0: {errors[0].detail}; and 2 more; nothing was written"
    assert str(error.value) == error.value.detail == told and error.value.where is None
    assert (len(engine), engine.generation) == (1, before)
    assert engine.encoder.encoded == encoded  # type: ignore[attr-defined]
    assert engine.verify().ok
    good = [one for one in given(n_good) if one.where not in {bad.where for bad in errors}]
    assert getattr(engine, change)(good, policy=ErrorPolicy("collect")).documents == n_good + 1


def test_one_collected_error_is_told_as_it_is(engine: Engine) -> None:
    with pytest.raises(DataError) as error:
        engine.add([Document("a", "x"), Document("there", "y")], policy=ErrorPolicy("collect"))
    assert str(error.value) == f"{error.value.errors[0]}; nothing was written"
    assert error.value.errors[0].where == "document 2"


def test_a_large_commit_finds_ids_that_come_twice_after_it_gave_up(tmp_path: Path) -> None:
    config = IndexConfig(segment_documents=3)
    docs = [Document("" if i == 4 else f"d{i % 17}", "alpha") for i in range(19)]
    with Engine.create(tmp_path / "i", Counting(), config=config, runtime=MANUAL) as engine:
        with pytest.raises(DataError) as error:
            engine.add(docs, policy=ErrorPolicy("collect"))
        assert [one.where for one in error.value.errors] == ["document 5", "document 18", "document 19"]
        assert engine.encoder.encoded == 3  # type: ignore[attr-defined]
        assert len(engine) == 0 and engine.verify().ok
        assert not list((tmp_path / "i" / "segments").glob("*/*"))


def test_what_somebody_else_adds_meanwhile_is_collected_too(engine: Engine) -> None:
    class Racing(Counting):
        def encode_document(self, texts):  # type: ignore[no-untyped-def]
            if engine.fetch(["raced"]).missing:
                engine.add([Document("raced", "first")])
            return super().encode_document(texts)

    with Engine.open(engine.path, Racing(), runtime=MANUAL) as other:
        with pytest.raises(DataError) as error:
            other.add([Document("mine", "x"), Document("raced", "y")], policy=ErrorPolicy("collect"))
        assert [one.where for one in error.value.errors] == ["document 2"]
        assert sorted(one.id for one in other.scroll().documents) == ["raced", "there"]


@pytest.mark.parametrize("n_good", [1, 20], ids=["small", "large"])
def test_skip_keeps_the_errors_and_writes_the_rest(engine: Engine, n_good: int) -> None:
    policy = ErrorPolicy("skip")
    report = engine.add(given(n_good), policy=policy)
    assert (report.documents, report.skipped, len(policy.errors)) == (n_good + 1, 3, 3)
    assert [str(one) for one in policy.errors] == policy.samples == list(report.skipped_samples)


def test_no_more_errors_are_kept_than_allowed(engine: Engine) -> None:
    bad = [Document("", "x")] * 50
    for policy in (ErrorPolicy("skip", max_errors=30), ErrorPolicy("collect", max_errors=30)):
        if policy.on_error == "skip":
            engine.add(bad, policy=policy)
        else:
            with pytest.raises(DataError, match="and 49 more; nothing was written") as error:
                engine.add(bad, policy=policy)
            assert len(error.value.errors) == 30
        assert (policy.skipped, len(policy.errors), len(policy.samples)) == (50, 30, 20)
    with pytest.raises(ConfigError, match="max_errors=0"):
        ErrorPolicy("skip", max_errors=0)


def test_errors_of_the_reader_count_too(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": "a", "text": "x"}\nbroken\n{"id": "b"}\n')
    with pytest.raises(DataError) as error:
        engine.add(open_corpus(path, policy=ErrorPolicy("collect")))
    assert [one.where for one in error.value.errors] == ["c.jsonl:2", "c.jsonl:3"]
    assert len(engine) == 1


def test_a_build_cannot_collect(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="for add and upsert"):
        Engine.build(tmp_path / "i", [Document("a", "x")], HashingDense(), policy=ErrorPolicy("collect"))
    assert not (tmp_path / "i").exists()
