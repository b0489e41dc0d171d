from __future__ import annotations

import pytest

from retrieval.errors import ConfigError
from retrieval.evaluate.where import FilteredCorpus, parse_where
from retrieval.types import Document, Record


class Corpus:
    def __init__(self, *metadata: dict[str, object]) -> None:
        self.records = [Record(Document(str(i), "x", metadata=m), f"c:{i}") for i, m in enumerate(metadata)]

    def __iter__(self):
        return iter(self.records)

    def fraction(self) -> float:
        return 0.25


def kept(conditions: list[str], *metadata: dict[str, object]) -> list[str]:
    where = parse_where(conditions)
    assert where is not None
    return [record.document.id for record in FilteredCorpus(Corpus(*metadata), where)]


def test_all_conditions_must_hold() -> None:
    metadata = ({"lang": "en", "year": 1999}, {"lang": "en", "year": 2000}, {"lang": "de", "year": 1999}, {})
    assert kept(["lang=en"], *metadata) == ["0", "1"]
    assert kept(["lang = en", "year=1999"], *metadata) == ["0"]


def test_values_compare_as_json_writes_them() -> None:
    metadata = ({"open": True}, {"open": "true"}, {"open": False}, {"open": 1.5})
    assert kept(["open=true"], *metadata) == ["0", "1"]
    assert kept(["open=1.5"], *metadata) == ["3"]


def test_a_field_that_is_missing_is_not_the_value_null_by_accident() -> None:
    assert kept(["lang=en=x"], {"lang": "en=x"}, {"lang": "en"}) == ["0"]


def test_no_condition_is_no_filter() -> None:
    assert parse_where([]) is None


@pytest.mark.parametrize("condition", ["lang", "=en", ""])
def test_a_condition_without_field_or_value_is_refused(condition: str) -> None:
    with pytest.raises(ConfigError, match="write field=value"):
        parse_where([condition])


def test_progress_is_the_corpus_own() -> None:
    where = parse_where(["a=b"])
    assert where is not None
    assert FilteredCorpus(Corpus(), where).fraction() == 0.25
