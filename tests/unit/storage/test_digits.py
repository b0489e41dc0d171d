"""Stored integers that a float64 would round stay as they are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from retrieval import Document, Engine, RuntimeConfig
from retrieval.errors import DataError
from retrieval.storage.digits import rounded
from tests.encoders import BucketDense

BIG = 2**53 + 1
FLOATS = pa.float64()
LIST = pa.list_(FLOATS)
STRUCT = pa.struct([("a", FLOATS), ("b", LIST), ("c", pa.int64()), ("d", FLOATS)])
CASES = [
    ([1, BIG, None, -BIG, BIG - 1, 2**63 - 1, -(2**63), 2**62], FLOATS, [1, 3, 5]),
    ([1, BIG], pa.int64(), []),
    ([[], [1, BIG], None, [BIG - 1], [BIG, None], [None]], LIST, [1, 4]),
    ([{"a": BIG}, None, {"b": [BIG]}, {"b": [1], "c": BIG}, {"a": 1}], STRUCT, [0, 2]),
    (["BIG", None], pa.string(), []),
]


@pytest.mark.parametrize(("values", "kind", "expected"), CASES, ids=[str(kind) for _, kind, _ in CASES])
def test_rounded(values: list[object], kind: pa.DataType, expected: list[int]) -> None:
    stored = pa.array(values)
    for first in range(3):
        found = rounded(stored.slice(first), kind)
        assert len(found) == max(len(stored) - first, 0)
        assert [first + int(i) for i in found.nonzero()[0]] == [i for i in expected if i >= first]


@pytest.mark.parametrize("pending", [2, 100], ids=["segments", "pending"])
def test_a_field_with_large_integers_takes_no_floats(tmp_path: Path, pending: int) -> None:
    def one(doc_id: str, n: float) -> Document:
        return Document(doc_id, "word", metadata={"n": n, "in": {"n": [n]}})

    runtime = RuntimeConfig.of(maintenance="manual", pending_documents=pending)
    with Engine.create(tmp_path / "i", BucketDense(), runtime=runtime) as engine:
        engine.add([one("a", 1), one("b", BIG), one("c", BIG - 1)])
        for change in (engine.add, engine.upsert):
            with pytest.raises(DataError, match=f"document 2: field 'n' .* {BIG} of document 'b' would lose"):
                change([one("d", 2), one("e", 0.5)])
            with pytest.raises(DataError, match=f"document 4: field 'n' .* {BIG} of document 'b' would lose"):
                change([*(one(f"f{i}", i) for i in range(3)), one("e", 0.5)])
        assert len(engine) == 3
        engine.compact()
        assert engine.get("b").metadata == {"n": BIG, "in": {"n": [BIG]}}
        engine.upsert([one("b", 0.5)])  # in whose place it comes
        with pytest.raises(DataError, match=f"holds floats, and as one the integer {BIG} would lose"):
            engine.add([one("g", BIG)])
        engine.compact()
        assert [engine.get(i).metadata["n"] for i in "abc"] == [1.0, 0.5, BIG - 1]


def test_an_integer_that_came_while_floats_were_encoded(tmp_path: Path) -> None:
    class Slow(BucketDense):
        def encode_document(self, texts):
            if texts[0] == "slow":
                engine.add([Document("b", "word", metadata={"n": BIG})])
            return super().encode_document(texts)

    for pending in (1, 100):
        runtime = RuntimeConfig.of(maintenance="manual", pending_documents=pending)
        with Engine.create(tmp_path / f"{pending}", Slow(), runtime=runtime) as engine:
            engine.add([Document("a", "word", metadata={"n": 1})])
            with pytest.raises(DataError, match=f"the integer {BIG} of document 'b' would lose digits"):
                engine.add([Document(f"c{i}", "slow", metadata={"n": i / 2}) for i in range(2)])
            assert len(engine) == 2 and engine.verify().ok
