"""A download that is there whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from retrieval.errors import IndexExistsError, IndexFolderError

__all__ = ["new_file"]


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which has its name only when the block has ended well.

    Raises:
        IndexExistsError: there is something at ``path``.
        IndexFolderError: it cannot be written.
    """
    _check_free(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _check_free(path)
        part.rename(path)
    except OSError as error:
        raise IndexFolderError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _check_free(path: Path) -> None:
    if path.exists():
        raise IndexExistsError(f"{path} is there already; give a new file")
