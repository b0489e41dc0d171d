"""Where and how a library model runs: device, arithmetic, backend, silence, and its failures."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from retrieval.config import RuntimeConfig
from retrieval.errors import EncoderError, MissingExtraError, RetrievalError

__all__ = [
    "check_backend",
    "library_errors",
    "library_kwargs",
    "pick_device",
    "quiet_loading",
    "spin_briefly",
]

MAX_REASON = 300
BACKEND_PACKAGES = {"onnx": "optimum.onnxruntime", "openvino": "optimum.intel"}

SPINS = "10000"
"""Rounds in which a thread of OpenMP waits busily for the next layer, half a millisecond: layers follow each
other sooner, queries do not. GNU's own number is thirty times as large, and keeps a core from whoever works
beside the model; where all cores have other work, a layer waits for threads that wait in vain, and a query
takes many times as long. With 2,000 threads fall asleep between layers, and a query takes 2 ms longer."""

# Progress bars are process-wide switches of the libraries, so one load at a time turns them.
_loading = threading.Lock()


def spin_briefly() -> None:
    """Have idle threads of OpenMP give up their cores soon, unless the environment says how they wait, or
    torch is there already: its OpenMP reads that once."""
    if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def pick_device(device: str) -> str:
    """``auto`` becomes the best device this machine has: cuda, then mps, then cpu."""
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise EncoderError(f"device={device!r}: this machine or this torch has no CUDA; use cpu")
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_backend(runtime: RuntimeConfig) -> None:
    """Refuse a backend whose packages are missing, or that cannot do what is asked.

    Raises:
        MissingExtraError: onnx or openvino without their packages.
        EncoderError: a dtype that only torch can choose.
    """
    if runtime.backend == "torch":
        return
    if not _is_installed(BACKEND_PACKAGES[runtime.backend]):
        raise MissingExtraError(f"the {runtime.backend} backend", runtime.backend)
    if runtime.dtype != "float32":
        raise EncoderError(
            f"dtype={runtime.dtype!r} needs the torch backend; {runtime.backend} runs the "
            "arithmetic that its exported file holds"
        )


def library_kwargs(runtime: RuntimeConfig) -> dict[str, Any]:
    """Keyword arguments for a sentence-transformers model read from a local folder.

    Weights come from safetensors only (pickles can run code), nothing is fetched, and code that
    the checkpoint carries runs only when the caller asked for it.
    """
    import torch

    torch_only = {"use_safetensors": True, "dtype": getattr(torch, runtime.dtype)}
    return {
        "device": pick_device(runtime.device),
        "backend": runtime.backend,
        "model_kwargs": torch_only if runtime.backend == "torch" else {},
        "trust_remote_code": runtime.trust_remote_code,
        "local_files_only": True,
    }


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No download or weight-loading bars inside; what the process had set comes back after."""
    from transformers.utils import logging

    with _loading:
        # A caller who set the variable has decided; the hub's switch warns when overruled.
        decided = "HF_HUB_DISABLE_PROGRESS_BARS" in os.environ
        if decided or not logging.is_progress_bar_enabled():
            yield
            return
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.enable_progress_bar()


@contextmanager
def library_errors(action: str) -> Iterator[None]:
    """Turn whatever the libraries raise into one `EncoderError` sentence: ``action: reason``."""
    try:
        yield
    except RetrievalError:
        raise
    except Exception as error:  # noqa: BLE001 - the libraries raise anything; users get a sentence
        raise EncoderError(f"{action}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """What went wrong, in one line."""
    lines = str(error).strip().splitlines()
    reason = lines[0].strip() if lines else ""
    if isinstance(error, KeyError) or not reason:
        reason = f"{type(error).__name__} {reason}".strip()
    return reason if len(reason) <= MAX_REASON else reason[:MAX_REASON] + "..."


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
