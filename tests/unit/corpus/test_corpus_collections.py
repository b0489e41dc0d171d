"""Reading the judged collections, where they are present."""

from __future__ import annotations

import pytest

from retrieval.corpus import ErrorPolicy, FieldTypes, open_corpus
from retrieval.errors import DataError


def test_cranfield_has_two_empty_documents(judged_collections) -> None:
    with pytest.raises(DataError) as error:
        list(open_corpus(judged_collections / "cranfield"))
    first = "corpus.jsonl.gz:471: the document is empty: title and text are both blank"
    assert str(error.value) == first
    policy = ErrorPolicy("skip")
    assert len(list(open_corpus(judged_collections / "cranfield", policy=policy))) == 1398
    assert policy.skipped == 2
    assert policy.samples == [first, first.replace("471", "995")]


@pytest.mark.parametrize(
    ("name", "count"), [("scifact", 5183), ("vaswani", 11429), ("xquad", 2880), ("qmsum", 232)]
)
def test_all_documents_are_read_with_their_metadata(name, count, judged_collections) -> None:
    types, ids = FieldTypes(), set()
    for record in open_corpus(judged_collections / name):
        types.observe(record)
        ids.add(record.document.id)
    assert len(ids) == count
    if name == "xquad":
        assert str(types.types["lang"]) == "string"
