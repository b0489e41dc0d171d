"""A name to a local folder: a folder as it is, anything else from the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode.runtime import quiet_loading
from retrieval.errors import EncoderError

__all__ = ["is_folder", "resolve_folder"]

# What a model needs and nothing that can run code: never pickles, python only on request.
PATTERNS = ("*.json", "*.txt", "*.safetensors", "*.model", "*.jinja", "artifact.metadata")
BACKEND_PATTERNS = {
    "torch": (),
    "onnx": ("*.onnx", "*.onnx_data"),
    "openvino": ("*openvino*.xml", "*openvino*.bin"),  # these .bin files are raw arrays, not pickles
}


def is_folder(name: str) -> bool:
    """Whether ``name`` is a checkpoint folder on this machine."""
    return Path(name).expanduser().is_dir()


def resolve_folder(config: EncoderConfig, runtime: RuntimeConfig, known_names: tuple[str, ...]) -> Path:
    """The local folder of ``config.name``; a hub name is downloaded (or found in the hub's cache).

    ``known_names`` are the built-in names, for the message. ``HF_HUB_OFFLINE=1`` looks in the
    cache only.

    Raises:
        EncoderError: no such folder, and the hub has no such model or cannot be reached.
    """
    if is_folder(config.name):
        return Path(config.name).expanduser().resolve()
    advice = (
        f"give a checkpoint folder, a hub name like 'organisation/model', or one of {', '.join(known_names)}"
    )
    if _looks_like_path(config.name):
        raise EncoderError(f"no folder {config.name!r}; {advice}")
    return _download(config, runtime, advice)


def _looks_like_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or (os.sep == "\\" and "\\" in name) or name.count("/") > 1


def _download(config: EncoderConfig, runtime: RuntimeConfig, advice: str) -> Path:
    from huggingface_hub import errors, snapshot_download

    patterns = [*PATTERNS, *BACKEND_PATTERNS[runtime.backend]]
    if runtime.trust_remote_code:
        patterns.append("*.py")
    at = f" at revision {config.revision!r}" if config.revision else ""
    try:
        with quiet_loading():
            return Path(snapshot_download(config.name, revision=config.revision, allow_patterns=patterns))
    except errors.HFValidationError:
        reason = "it is neither a folder nor a valid hub name"
    except errors.GatedRepoError:
        reason = "its access is restricted; accept its terms on the hub and log in with 'hf auth login'"
    except errors.RevisionNotFoundError:
        reason = "the hub has the model, but not this revision"
    except errors.RepositoryNotFoundError:
        reason = "the hub has no such model (or it is private)"
    except errors.LocalEntryNotFoundError:
        reason = "it is not in the hub's cache, and the hub is offline or cannot be reached"
    except OSError as error:
        reason = f"the download failed ({type(error).__name__})"
    raise EncoderError(f"cannot find encoder {config.name!r}{at}: {reason}; {advice}")
