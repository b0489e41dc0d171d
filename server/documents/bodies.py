"""Documents as a request brings them: the body is kept as it comes, then read document by document.

A body that waits for its turn lies in a file, not in memory; it is parsed on the thread that writes it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Literal, cast

from fastapi import Request
from pydantic import Field, ValidationError
from starlette.requests import ClientDisconnect

from retrieval.corpus import FieldNames, arrow_rows, line_rows
from retrieval.corpus.source import Row, Rows
from retrieval.errors import DataError
from retrieval.types import FloatArray
from server.documents.idempotency import request_digest
from server.http.media import ARROW, JSON, NDJSON
from server.http.problems import ProblemError, invalid_request
from server.schemas.base import Strict
from server.schemas.vectors import UnfitVectors, vector_of, vectors_of
from server.security.limits import check_values, gunzip_limited, parse_json

__all__ = ["FORMS", "DocumentRows", "Form", "body_file", "form_of", "receive", "with_vectors"]

Form = Literal["json", "ndjson", "arrow"]
FORMS: dict[str, Form] = {JSON: "json", NDJSON: "ndjson", ARROW: "arrow"}

IN_MEMORY = 1 << 20
VECTORS: dict[str, Callable[[Any], FloatArray]] = {"vector": vector_of, "vectors": vectors_of}
MEMBERS = frozenset({"id", "title", "text", "metadata", *VECTORS})


def form_of(request: Request) -> Form:
    """What the body is, by its media type; the route has checked that it is one of `FORMS`."""
    return FORMS[request.headers["content-type"].partition(";")[0].strip().lower()]


@asynccontextmanager
async def body_file(folder: Path | None) -> AsyncIterator[BinaryIO]:
    """A file for a body until it is written: small ones stay in memory, larger ones lie in ``folder``
    (None: the system's place for such) without a name."""
    place = None if folder is None else str(folder)
    file = SpooledTemporaryFile(max_size=IN_MEMORY, dir=place)  # noqa: SIM115 - closed on a thread
    try:
        yield cast(BinaryIO, file)
    finally:
        await asyncio.to_thread(file.close)


async def receive(request: Request, file: BinaryIO, limit: int) -> str:
    """Put the body into ``file``, decompressed. Gives the digest for `Idempotency.run`.

    Raises:
        ProblemError: 413 for more than ``limit`` bytes, 400 for broken gzip or a client that is gone, 507
            where there is no room for it.
    """
    chunks: AsyncIterator[bytes] = request.stream()
    if request.headers.get("content-encoding", "identity").lower() == "gzip":
        chunks = gunzip_limited(chunks, limit)
    digest, held = request_digest(request), 0
    try:
        async for chunk in chunks:
            digest.update(chunk)
            held += len(chunk)
            # Once it lies on a disk, a write may take its time.
            if held > IN_MEMORY:
                await asyncio.to_thread(file.write, chunk)
            else:
                file.write(chunk)
    except ClientDisconnect:
        raise ProblemError(400, "body_cut_off", "the client went away before the body had come") from None
    except OSError as error:
        told = f"there is no room for the body ({error.strerror or type(error).__name__}); send less at once"
        raise ProblemError(507, "no_room", told) from None
    file.seek(0)
    return str(digest.hexdigest())


class DocumentRows:
    """The documents of a body, as `retrieval.corpus.records_of` takes them: the place (a JSON pointer,
    whatever the form), and the fields or what is wrong with them. To be read once.

    Raises:
        ProblemError: while it is read: no JSON, no list of documents, too many values in it or in a line, no
            documents at all, or more than ``most``.
        DataError: no readable Arrow stream.
    """

    def __init__(self, file: BinaryIO, form: Form, *, max_depth: int, most: int | None = None) -> None:
        self._file, self.form = file, form
        self._max_depth, self._most = max_depth, most
        self._size = max(1, file.seek(0, os.SEEK_END))
        self._share: Callable[[], float] = lambda: 0.0
        self.ids: list[str | None] = []
        """Of the documents read so far, as far as they have one."""

    def fraction(self) -> float:
        """Share of the body that was read, 0 to 1."""
        return min(1.0, self._share())

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any] | DataError]]:
        self._file.seek(0)
        for where, row in self._rows():
            if self._most is not None and len(self.ids) == self._most:
                told = f"there are more than {self._most}, which is the most in one request; send several"
                raise invalid_request([("/documents", told)])
            self.ids.append(_id_of(row))
            yield where, row
        if not self.ids:
            raise invalid_request([("/documents", "there are no documents")])

    def _rows(self) -> Iterator[tuple[str, dict[str, Any] | DataError]]:
        if self.form == "ndjson":
            self._share = lambda: self._file.tell() / self._size
            return line_rows(self._lines(), _pointer)
        if self.form == "arrow":
            return arrow_rows(self._file.read(), FieldNames(), _pointer)
        given = _listed(parse_json(self._file.read(), self._max_depth))
        self._share = lambda: len(self.ids) / len(given)
        return ((_pointer(i), _document(item, _pointer(i))) for i, item in enumerate(given))

    def _lines(self) -> Iterator[bytes]:
        for line in self._file:
            check_values(line)
            yield line


def with_vectors(rows: Iterable[Row]) -> Rows:
    """The rows of documents, with arrays in place of ``vector`` (a list of numbers, or base64) and
    ``vectors``; what is wrong with them is the row's error, at its own place."""
    for where, row in rows:
        if isinstance(row, DataError):
            yield where, row
            continue
        try:
            for name in VECTORS.keys() & row.keys():
                if row[name] is not None:
                    row[name] = VECTORS[name](row[name])
        except UnfitVectors as error:
            place = f"{where}/{name}{error.pointer}"
            yield place, DataError(error.told, place)
        else:
            yield where, row


class _Listed(Strict):
    """As `DocumentsRequest`, but what is no object is wrong by itself, and not the whole request."""

    documents: list[Any] = Field(min_length=1)


def _listed(value: Any) -> list[Any]:
    try:
        return _Listed.model_validate(value).documents
    except ValidationError as error:
        found = [
            ("".join(f"/{_escaped(part)}" for part in item["loc"]), item["msg"]) for item in error.errors()
        ]
        raise invalid_request(found) from None


def _document(item: Any, where: str) -> dict[str, Any] | DataError:
    if not isinstance(item, dict):
        return DataError(f"a document is an object, not {type(item).__name__}", where)
    if unknown := item.keys() - MEMBERS:
        return DataError(
            f"a document has no member {min(unknown)[:100]!r}; what else is known of it goes into 'metadata'",
            where,
        )
    if not isinstance(item.get("metadata"), dict | None):
        return DataError("'metadata' is an object: field names and values", where)
    return item


def _id_of(row: dict[str, Any] | DataError) -> str | None:
    found = None if isinstance(row, DataError) else row.get("_id", row.get("id"))
    return found if isinstance(found, str) else None


def _pointer(number: int) -> str:
    return f"/documents/{number}"


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")
