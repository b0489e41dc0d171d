"""What was trained, on disk: the arrays of a codec generation, written once and then only mapped.

A generation that needs no arrays (plain floats, exact search) has no folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError, IndexFolderError
from retrieval.index import Searcher, searcher_from_state
from retrieval.quantize import Codec, codec_from_state
from retrieval.storage import disk
from retrieval.storage.files import (
    FileRecord,
    HashingFile,
    check_numbers,
    check_size,
    hash_file,
    make_folder,
    map_array,
    remove,
    sync_folder,
)
from retrieval.storage.records import CodecRecord

__all__ = [
    "CODEC",
    "CODECS",
    "FEATURE",
    "PIPELINE",
    "Trained",
    "load_codec",
    "load_current",
    "load_trained",
    "remove_trained",
    "remove_untrained",
    "trained_problems",
    "without_search",
    "write_trained",
]

T = TypeVar("T")

CODECS = "codecs"
FEATURE = "trained"
"""What an index with such arrays requires of its reader."""
CODEC, PIPELINE = "codec/", "pipeline/"
"""How the names of arrays begin: those that stored vectors cannot be read without, and those of the
search, without which every stored vector is scored."""
COPY = "restore the index from a copy"
REPAIR = "repair the index, or restore it from a copy"


@dataclass(frozen=True, slots=True)
class Trained:
    """A codec generation, ready for use: how vectors are stored, and how they are found (None: by
    scoring all of them)."""

    codec: Codec
    pipeline: Searcher | None = None


def write_trained(root: Path, generation: int, trained: Trained) -> dict[str, Any]:
    """Write the arrays of codec generation ``generation`` durably; gives its configuration for the
    catalog. Nothing of it exists until the catalog names it.

    Raises:
        ConfigError: numbers so large that no reader would take them.
    """
    config, arrays = trained.codec.state()
    named = {CODEC + name: array for name, array in arrays.items()}
    if trained.pipeline is not None:
        config_of_pipeline, arrays = trained.pipeline.state()
        config = {**config, "pipeline": config_of_pipeline}
        named |= {PIPELINE + name: array for name, array in arrays.items()}
    if not named:
        return config
    try:
        check_numbers(named)
    except ValueError as error:
        raise ConfigError(f"these vectors are too large to be trained on: {error}; normalise them") from None
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
    with _usable(root, record, REPAIR):
        return Trained(codec, searcher_from_state(record.pipeline, _arrays(root, record, PIPELINE)))


def load_codec(root: Path, record: CodecRecord) -> Codec:
    """The codec of the stored vectors alone; raises as `load_trained`."""
    with _usable(root, record, COPY):
        return codec_from_state(record.name, record.stored, _arrays(root, record, CODEC))


def load_current(
    root: Path, current: Callable[[], CodecRecord], load: Callable[[Path, CodecRecord], T]
) -> tuple[CodecRecord, T]:
    """The generation that the catalog names (``current``), and what ``load`` makes of it, while others may
    convert the index and take its files away."""
    while True:
        record = current()
        try:
            return record, load(root, record)
        except IndexDamagedError:
            if record == current():
                raise


@contextmanager
def _usable(root: Path, record: CodecRecord, remedy: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise IndexDamagedError(
            f"{root / CODECS}: codec {record.codec} cannot be used ({error}); {remedy}"
        ) from None


def _arrays(root: Path, record: CodecRecord, group: str) -> dict[str, NDArray[Any]]:
    files = [file for file in record.files if file.name.startswith(group)]
    arrays = {file.name.removeprefix(group): map_array(root, file) for file in files}
    check_numbers(arrays)
    return arrays


def trained_problems(root: Path, record: CodecRecord, group: str = "") -> list[str]:
    """Arrays of a generation, or of one group of them, that are not what was committed, by size and
    checksum."""
    found = []
    for file in record.files:
        if not file.name.startswith(group):
            continue
        try:
            path = check_size(root, file)
            if hash_file(path) != file.sha256:
                remedy = REPAIR if file.name.startswith(PIPELINE) else COPY
                found.append(f"{path}: its bytes are not those that were committed; {remedy}")
        except IndexFolderError as error:
            found.append(str(error))
    return found


def without_search(record: CodecRecord) -> CodecRecord:
    """The same generation, whose stored vectors are all scored."""
    kept = [file for file in record.files if file.name.startswith(CODEC)]
    config = {**record.stored, **({"files": [file.as_json() for file in kept]} if kept else {})}
    return replace(record, config=config)


def remove_trained(root: Path, generation: int) -> None:
    """Unlink a generation that the catalog names no more."""
    remove(root / CODECS / f"{generation:08d}")


def remove_untrained(root: Path, record: CodecRecord) -> None:
    """Unlink what lies in the folder of a generation and is none of its arrays."""
    folder, named = root / CODECS / f"{record.codec:08d}", {Path(file.path).name for file in record.files}
    if not named:
        return remove_trained(root, record.codec)
    with disk.telling("read", folder):
        there = list(folder.iterdir())
    for path in there:
        if path.name not in named:
            remove(path)
    return None
