"""What was trained, on disk: the arrays of a codec generation, written once and then only mapped.

A generation that needs no arrays (plain floats, exact search) has no folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError, IndexFolderError
from retrieval.index import Pipeline
from retrieval.quantize import Codec, codec_from_state
from retrieval.storage.files import (
    FileRecord,
    HashingFile,
    check_size,
    hash_file,
    make_folder,
    map_array,
    remove,
    sync_folder,
)
from retrieval.storage.records import CodecRecord

__all__ = [
    "CODECS",
    "FEATURE",
    "Trained",
    "load_codec",
    "load_trained",
    "remove_trained",
    "trained_problems",
    "write_trained",
]

CODECS = "codecs"
FEATURE = "trained"
"""What an index with such arrays requires of its reader."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A codec generation, ready for use: how vectors are stored, and how they are found (None: by
    scoring all of them)."""

    codec: Codec
    pipeline: Pipeline | None = None


def write_trained(root: Path, generation: int, trained: Trained) -> dict[str, Any]:
    """Write the arrays of codec generation ``generation`` durably; gives its configuration for the
    catalog. Nothing of it exists until the catalog names it."""
    config, arrays = trained.codec.state()
    named = {f"codec/{name}": array for name, array in arrays.items()}
    if trained.pipeline is not None:
        config_of_pipeline, arrays = trained.pipeline.state()
        config = {**config, "pipeline": config_of_pipeline}
        named |= {f"pipeline/{name}": array for name, array in arrays.items()}
    if not named:
        return config
    folder = f"{CODECS}/{generation:08d}"
    remove(root / folder)  # left by a writer that died
    make_folder(root / folder)
    files = [_write_array(root, folder, name, np.asarray(array)) for name, array in named.items()]
    sync_folder(root / folder)
    return {**config, "files": [file.as_json() for file in files]}


def _write_array(root: Path, folder: str, name: str, array: NDArray[Any]) -> FileRecord:
    with HashingFile(root, f"{folder}/{name.replace('/', '-')}.bin") as file:
        file.write_array(array)
        return file.finish(name, array.dtype.name, array.shape)


def load_trained(root: Path, record: CodecRecord) -> Trained:
    """Map the arrays of a generation.

    Raises:
        IndexDamagedError: they are not as long as committed, or do not make a codec.
        IndexFormatError: a part that this version does not know.
    """
    codec = load_codec(root, record)
    if record.pipeline is None:
        return Trained(codec)
    with _usable(root, record):
        return Trained(codec, Pipeline.from_state(record.pipeline, _arrays(root, record, "pipeline/")))


def load_codec(root: Path, record: CodecRecord) -> Codec:
    """The codec of the stored vectors alone; raises as `load_trained`."""
    with _usable(root, record):
        return codec_from_state(record.name, record.stored, _arrays(root, record, "codec/"))


@contextmanager
def _usable(root: Path, record: CodecRecord) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise IndexDamagedError(
            f"{root / CODECS}: codec {record.codec} cannot be used ({error}); restore the index from a copy"
        ) from None


def _arrays(root: Path, record: CodecRecord, group: str) -> dict[str, NDArray[Any]]:
    files = [file for file in record.files if file.name.startswith(group)]
    return {file.name.removeprefix(group): map_array(root, file) for file in files}


def trained_problems(root: Path, record: CodecRecord) -> list[str]:
    """Arrays of a generation that are not what was committed, by size and checksum."""
    found = []
    for file in record.files:
        try:
            path = check_size(root, file)
            if hash_file(path) != file.sha256:
                found.append(
                    f"{path}: its bytes are not those that were committed; restore the index from a copy"
                )
        except IndexFolderError as error:
            found.append(str(error))
    return found


def remove_trained(root: Path, generation: int) -> None:
    """Unlink a generation that the catalog names no more."""
    remove(root / CODECS / f"{generation:08d}")
