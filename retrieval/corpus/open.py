"""From a path to a corpus: which format it is in, and how to read it again and again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from retrieval.corpus.document import FieldNames
from retrieval.corpus.given import records_of
from retrieval.corpus.jsonl import read_jsonl
from retrieval.corpus.parquet import read_parquet
from retrieval.corpus.policy import ErrorPolicy
from retrieval.corpus.source import Progress, Rows, Source, reading
from retrieval.corpus.table import read_csv, read_tsv
from retrieval.corpus.textfiles import TEXT_SUFFIXES, find_text_files, read_text_file
from retrieval.corpus.vector_file import VectorFile
from retrieval.errors import ConfigError, DataError
from retrieval.types import Record

__all__ = ["Corpus", "open_corpus"]

Reader = Callable[[Source, FieldNames, Progress], Rows]

_READERS: dict[str, Reader] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "text": read_text_file,
}
_FORMATS = ("auto", "beir", *_READERS)
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_UNDERSTOOD = (
    "understood are .jsonl, .ndjson, .csv, .tsv (each also with .gz) and .parquet files, BEIR folders "
    "(with corpus.jsonl or corpus.jsonl.gz), folders of such files, and folders of text files "
    f"({' '.join(TEXT_SUFFIXES)})"
)


class Corpus:
    """Documents on disk. Each ``iter()`` reads them anew, one at a time.

    ``names`` are paths relative to ``root``; they are all that is held in memory.
    """

    def __init__(
        self,
        root: Path,
        names: tuple[str, ...],
        format: str,
        fields: FieldNames,
        policy: ErrorPolicy,
        vectors: VectorFile | None = None,
    ) -> None:
        self.format = format
        self.policy = policy
        self._root = root
        self._names = names
        self._fields = fields
        self._vectors = vectors
        self._progress: Progress | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in the order in which they are read."""
        return tuple(self._paths())

    def fraction(self) -> float | None:
        """Share of the input's bytes that the newest iteration has read; None before the first."""
        return None if self._progress is None else self._progress.fraction()

    def __iter__(self) -> Iterator[Record]:
        self._progress = Progress(self._paths)
        return self._records(self._progress)

    def _records(self, progress: Progress) -> Iterator[Record]:
        read = _READERS[self.format]
        coming = iter(()) if self._vectors is None else self._vectors.each()
        for name in self._names:
            # Closed at once: an error holds on to this frame for as long as somebody looks at it.
            with closing(read(Source(self._root / name, name), self._fields, progress)) as rows:
                both = rows if self._vectors is None else self._vectors.beside(rows, coming)
                yield from records_of(both, self._fields, self.policy)
        if self._vectors is not None:
            self._vectors.check_spent(coming)
        progress.finished = True

    def _paths(self) -> Iterator[Path]:
        return (self._root / name for name in self._names)


def open_corpus(
    path: str | os.PathLike[str],
    *,
    policy: ErrorPolicy | None = None,
    format: str = "auto",
    id_field: str | None = None,
    title_field: str | None = None,
    text_field: str | None = None,
    vectors: bool | str | os.PathLike[str] = False,
    lengths: str | os.PathLike[str] | None = None,
) -> Corpus:
    """Find out what is at ``path`` and make it readable as documents.

    A file's format follows from its name. A folder is a BEIR collection if it has
    ``corpus.jsonl`` (or ``.gz``), else shards of one format, read in sorted order, else a tree
    of text files. Names in messages are relative to the folder.

    Args:
        path: a file or a folder.
        policy: what to do with a bad record; by default the first one stops the reading.
        format: auto, beir, jsonl, csv, tsv, parquet or text.
        id_field: where the id is; by default ``_id`` or ``id``.
        title_field: where the title is; by default ``title``, which may be missing.
        text_field: where the text is; by default ``text``.
        vectors: True: the field ``vector`` (numbers) or ``vectors`` (a list of numbers a token) of each
            document is its vectors, for an index of `GivenVectors`. Or a ``.npy`` file ``(n, d)`` that has
            them, in the order of the documents.
        lengths: a ``.npy`` file of how many rows of that each document has; by default one.

    Raises:
        DataError: nothing there, or nothing that is understood.
        ConfigError: an unknown format, or one that must be given because the folder is mixed; lengths
            without a file of vectors.
    """
    fields = FieldNames(id_field, title_field, text_field, vectors is not False)
    if lengths is not None and isinstance(vectors, bool):
        raise ConfigError("lengths divide a file of vectors; give that too (--vectors, vectors=)")
    file = None if isinstance(vectors, bool) else VectorFile(vectors, lengths)
    if format not in _FORMATS:
        raise ConfigError(f"format={format!r} is unknown; choose one of {', '.join(_FORMATS)}")
    where = Path(path)
    with reading(str(path)):
        if (where / "catalog.sqlite").is_file():
            raise DataError(
                f"{path} is an index, not documents; the order is: build SOURCE INDEX, add INDEX SOURCE"
            )
        if where.is_dir():
            format, names = _in_folder(where, format)
            root = where
        elif where.is_file():
            format, names = _of_file(where, format), (where.name,)
            root = where.parent
        elif where.exists():
            raise DataError(
                "is neither a file nor a folder; a corpus must be readable more than once", str(path)
            )
        else:
            raise DataError("there is no such file or folder", str(path))
    if format == "text" and fields != FieldNames(vectors=fields.vectors):
        raise ConfigError("id_field, title_field and text_field have no use for a folder of text files")
    return Corpus(root, names, format, fields, policy or ErrorPolicy(), file)


def _of_file(path: Path, format: str) -> str:
    if format in ("beir", "text"):
        raise ConfigError(f"format={format!r} is for folders, but {str(path)!r} is a file")
    found = _format_of(path.name) if format == "auto" else format
    if found is None:
        raise DataError(f"unknown kind of file; {_UNDERSTOOD}", str(path))
    return found


def _in_folder(folder: Path, format: str) -> tuple[str, tuple[str, ...]]:
    """The reader's name and the files to read, relative to ``folder``."""
    with os.scandir(folder) as entries:
        top = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    beir = [name for name in ("corpus.jsonl", "corpus.jsonl.gz") if name in top]
    if beir and format in ("auto", "beir"):
        return "jsonl", (beir[0],)
    shards = {name: found for name in top if (found := _format_of(name)) is not None}
    if format == "auto":
        format = _guess(folder, top, shards)
    names = find_text_files(folder) if format == "text" else tuple(n for n in shards if shards[n] == format)
    if not names:
        wanted = "no documents in it" if format == "text" else f"no {format} files in it"
        raise DataError(f"the folder has {wanted}; {_UNDERSTOOD}", str(folder))
    return format, names


def _guess(folder: Path, top: list[str], shards: dict[str, str]) -> str:
    found = sorted(set(shards.values()))
    if found and any(name.lower().endswith(TEXT_SUFFIXES) for name in top):
        found.append("text")
    if len(found) > 1:
        raise ConfigError(
            f"{str(folder)!r} holds files of several formats ({', '.join(found)}); say which one with format"
        )
    return found[0] if found else "text"


def _format_of(name: str) -> str | None:
    name = name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    return _SUFFIXES.get(Path(name.removesuffix(".gz")).suffix)
