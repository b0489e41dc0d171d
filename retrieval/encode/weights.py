"""The weight files of a checkpoint: only safe formats, and a digest that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from retrieval.errors import EncoderError

__all__ = ["refuse_pickled", "settings_sha256", "tokenizer_sha256", "weights_sha256"]

CHUNK = 1 << 20
SAFE = "model.safetensors"
SAFE_SHARDS = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
EXPORTED = {"onnx": ("*.onnx", "*.onnx_data"), "openvino": ("*openvino*.xml", "*openvino*.bin")}
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "*.model", "added_tokens.json")
SETTINGS_FILES = ("config.json", "tokenizer_config.json")
NOT_SETTINGS = (
    *("_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"),
    *("model_max_length", "default_language", "is_local", "local_files_only", "tokenizer_class", "backend"),
)


def weights_sha256(folder: Path) -> str:
    """One digest of every weight file: over the sorted lines ``relative path, sha256``.

    Safetensors files count; a folder without any is named by its onnx or openvino files.

    Raises:
        EncoderError: no weights in a format that can be read.
    """
    files = _matching(folder, ["*.safetensors"], recursive=True)
    files = files or _matching(
        folder, [p for patterns in EXPORTED.values() for p in patterns], recursive=True
    )
    if not files:
        raise EncoderError(
            f"{str(folder)!r} holds no safetensors, onnx or openvino weights (pickled .bin weights are never "
            "read or downloaded, because opening them can run code)"
        )
    return _digest(folder, files)


def tokenizer_sha256(folder: Path) -> str | None:
    """One digest of the vocabulary files beside the weights, or None where there are none.

    ``tokenizer.json`` holds everything; older checkpoints are named by their vocabulary files.
    """
    files = _matching(folder, TOKENIZER_FILES[:1], recursive=True)
    files = files or _matching(folder, TOKENIZER_FILES[1:], recursive=True)
    return _digest(folder, files) if files else None


def settings_sha256(folder: Path, subfolders: Iterable[str]) -> str:
    """One digest of the settings that say how the weights and the vocabulary are used.

    ``subfolders`` are those of the modules with weights. What a file says of its origin, its
    precision and its text limit does not count: no vector follows from it, or the limit is named
    by itself.
    """
    lines = []
    for name in sorted(set(subfolders)):
        for path in (folder / name / file for file in SETTINGS_FILES):
            if path.is_file():
                values = json.loads(path.read_text(encoding="utf-8"))
                kept = {key: value for key, value in values.items() if key not in NOT_SETTINGS}
                lines.append(f"{name}/{path.name} {json.dumps(kept, sort_keys=True)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def refuse_pickled(folder: Path, subfolders: Iterable[str], *, shards: bool, backend: str) -> None:
    """Refuse a checkpoint that the library would have to unpickle, in any folder that it reads.

    ``subfolders`` are the modules' folders. ``shards`` says whether the root may come in several
    safetensors files. With an exported file for ``backend`` the root's own weights are not read.

    Raises:
        EncoderError: naming the file and the way out.
    """
    is_exported = bool(_matching(folder, EXPORTED.get(backend, ()), recursive=True))
    roots = [] if is_exported else [folder]
    nested = [path for name in subfolders if name for path in _with_folders(folder / name)]
    for place in [*roots, *nested]:
        pickled = [place / name for name in PICKLED if (place / name).is_file()]
        is_safe = (place / SAFE).is_file() or (shards and (place / SAFE_SHARDS).is_file())
        if pickled and not is_safe:
            raise EncoderError(
                f"{str(pickled[0])!r} is pickled, and opening it can run code: convert the checkpoint to "
                "safetensors (load it where you trust it and save it again with save_pretrained)"
            )


def _with_folders(folder: Path) -> list[Path]:
    return [folder, *(path for path in folder.rglob("*") if path.is_dir())]


def _matching(folder: Path, patterns: Iterable[str], *, recursive: bool) -> list[Path]:
    find = folder.rglob if recursive else folder.glob
    return sorted({path for pattern in patterns for path in find(pattern) if path.is_file()})


def _digest(folder: Path, files: Iterable[Path]) -> str:
    lines = sorted((path.relative_to(folder).as_posix(), _file_sha256(path)) for path in files)
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in lines).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
