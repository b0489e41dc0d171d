"""Collections in BEIR form: a corpus, queries, and relevance judgements (qrels) per split.

scifact/
  corpus.jsonl[.gz]      {"_id", "title", "text", "metadata"}, read by `retrieval.corpus`
  queries.jsonl[.gz]     {"_id", "text"}
  qrels/test.tsv[.gz]    query-id <tab> corpus-id <tab> score, or TREC's four columns
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import ConfigError, DataError
from retrieval.evaluate.lines import numbered_lines

__all__ = ["BeirDataset", "Qrels", "load_qrels", "load_queries"]

Qrels = dict[str, dict[str, int]]
"""Query id -> document id -> grade. Grades above zero are relevant."""

QRELS_ENDINGS = (".tsv", ".tsv.gz", ".txt", ".txt.gz")
# In these collections queries are themselves documents: finding itself is no answer.
SAME_ID_COLLECTIONS = ("arguana", "quora")


@dataclass(frozen=True, slots=True)
class BeirDataset:
    """One split of a collection: only queries that have judgements."""

    folder: Path
    split: str
    queries: dict[str, str]
    """Query id -> text, in the order of the queries file."""
    qrels: Qrels
    ignore_same_id: bool
    """Whether a hit with the query's own id is dropped."""
    unjudged_queries: int
    """Queries of the collection that this split does not judge."""

    @classmethod
    def open(
        cls, folder: str | Path, split: str = "test", *, ignore_same_id: bool | None = None
    ) -> BeirDataset:
        """Read the queries and judgements of a split.

        ``ignore_same_id``: None decides by the folder's name (ArguAna and Quora ignore).

        Raises:
            ConfigError: there is no such split; the message lists those there are.
            DataError: a file is missing or cannot be read, or a judged query has no text.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give the folder of a BEIR collection")
        qrels_path = _find_qrels(folder, split)
        queries_path = _find(folder, "queries")
        queries, qrels = load_queries(queries_path), load_qrels(qrels_path)
        for query_id in qrels:
            if not queries.get(query_id, "").strip():
                told = "has no text in" if query_id in queries else "is missing from"
                raise DataError(f"query {query_id!r}, judged in {qrels_path}, {told} {queries_path}")
        if ignore_same_id is None:
            ignore_same_id = _name(folder).lower().startswith(SAME_ID_COLLECTIONS)
        judged = {query_id: text for query_id, text in queries.items() if query_id in qrels}
        return cls(folder, split, judged, qrels, ignore_same_id, len(queries) - len(judged))

    @property
    def name(self) -> str:
        """The folder's name."""
        return _name(self.folder)

    @property
    def corpus_path(self) -> Path:
        """Where the documents are; raises `DataError` when there is no corpus file."""
        return _find(self.folder, "corpus")


def load_queries(path: str | Path) -> dict[str, str]:
    """Read ``{"_id": ..., "text": ...}`` lines: query id -> text, in the file's order.

    Raises:
        DataError: a line is not such an object, or an id comes twice (``file:line`` told).
    """
    queries: dict[str, str] = {}
    for where, line in numbered_lines(Path(path)):
        record = _parse_object(line, where)
        query_id = _string(record, "_id", where)
        if not query_id:
            raise DataError('"_id" is empty; every query needs an id', where)
        if query_id in queries:
            raise DataError(f"query {query_id!r} comes a second time; ids must be unique", where)
        queries[query_id] = _string(record, "text", where)
    if not queries:
        raise DataError(f"{path} holds no queries")
    return queries


def load_qrels(path: str | Path) -> Qrels:
    """Read judgements: BEIR's three columns (with or without header) or TREC's four.

    Raises:
        DataError: a line has other columns, a grade is not an integer, or a pair is judged
            twice (``file:line`` told).
    """
    qrels: Qrels = {}
    header_may_come = True
    for where, line in numbered_lines(Path(path)):
        columns = _split_qrels_line(line, where)
        if header_may_come and _is_header(columns):
            header_may_come = False
            continue
        header_may_come = False
        query_id, doc_id, grade = columns
        judged = qrels.setdefault(query_id, {})
        if doc_id in judged:
            raise DataError(f"query {query_id!r} judges document {doc_id!r} a second time", where)
        judged[doc_id] = _parse_grade(grade, where)
    if not qrels:
        raise DataError(f"{path} holds no judgements")
    return qrels


def _split_qrels_line(line: str, where: str) -> tuple[str, str, str]:
    """Query id, document id, grade. BEIR ids may hold blanks, so tabs are tried first."""
    columns = line.split("\t")
    if len(columns) not in (3, 4):
        columns = line.split()
    if len(columns) not in (3, 4):
        raise DataError(
            f"{len(columns)} columns {line.strip()[:80]!r}; expected query-id, corpus-id, score "
            "or TREC's four: query-id, 0, document-id, grade",
            where,
        )
    query_id, doc_id, grade = (columns[0].strip(), columns[-2].strip(), columns[-1].strip())
    if not query_id or not doc_id:
        raise DataError("an id is empty", where)
    return query_id, doc_id, grade


def _is_header(columns: tuple[str, str, str]) -> bool:
    """A first line such as ``query-id  corpus-id  score``."""
    return columns[0].lower().startswith("query") and columns[2].isalpha()


def _parse_grade(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"grade {text!r} is not an integer", where) from None


def _parse_object(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", where) from None
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {type(record).__name__}", where)
    return record


def _string(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        told = f"is {value!r}, not a string" if key in record else "is missing"
        raise DataError(f'"{key}" {told}', where)
    return value


def _name(folder: Path) -> str:
    return folder.resolve().name


def _find(folder: Path, stem: str) -> Path:
    for path in (folder / f"{stem}.jsonl", folder / f"{stem}.jsonl.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} has no {stem}.jsonl or {stem}.jsonl.gz; is it a BEIR collection?")


def _find_qrels(folder: Path, split: str) -> Path:
    """The judgements of ``split``, looked up by name so that no split reads outside the folder."""
    found: dict[str, Path] = {}
    for path in sorted((folder / "qrels").glob("*")):
        ending = next((ending for ending in QRELS_ENDINGS if path.name.endswith(ending)), None)
        if ending and path.is_file():
            found.setdefault(path.name.removesuffix(ending), path)
    if not found:
        raise DataError(f"{folder} has no judgements (qrels/*.tsv); is it a BEIR collection?")
    if split not in found:
        raise ConfigError(f"{folder} has no split {split!r}; there are: {', '.join(found)}")
    return found[split]
