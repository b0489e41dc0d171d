"""Checkpoints saved once a session, and the library's own models to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_models

DENSE = {
    "mean": lambda folder: tiny_models.save_dense(folder),
    "cls": lambda folder: tiny_models.save_dense(folder, pooling="cls", normalize=False, similarity="dot"),
    "prompts": lambda folder: tiny_models.save_dense(
        folder, prompts={"query": "query: ", "document": "the document: "}
    ),
    "head": lambda folder: tiny_models.save_dense(folder, head=12),
    "euclidean": lambda folder: tiny_models.save_dense(folder, normalize=False, similarity="euclidean"),
    "bare": lambda folder: tiny_models.save_backbone(folder),
}
LATE = {
    "native": lambda folder: tiny_models.save_late(folder, prompts={"query": "query: ", "document": "a "}),
    "skips": lambda folder: tiny_models.save_late(folder, skiplist=["the", ",", "!"], query_length=12),
    "min": lambda folder: tiny_models.save_late(
        folder, expansion={"strategy": "min", "length": 10}, query_length=30, similarity="meanmaxsim"
    ),
    "attends": lambda folder: tiny_models.save_late(
        folder, expansion={"strategy": "fixed", "length": 14, "attend": True}, document_length=20
    ),
    "pylate": lambda folder: tiny_models.save_pylate(folder),
    "stanford": lambda folder: tiny_models.save_stanford(folder),
    "modernbert": lambda folder: tiny_models.save_pylate(folder, family="modernbert"),
    "xmod": lambda folder: tiny_models.save_stanford(folder, family="xmod"),
}


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    """No test reaches the hub, whatever the environment says."""
    import huggingface_hub.constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a named tiny checkpoint, saved at its first use; tests only read it."""
    root = tmp_path_factory.mktemp("checkpoints")
    saved: dict[str, Path] = {}

    def save(name: str) -> Path:
        if name not in saved:
            saved[name] = {**DENSE, **LATE}[name](root / name)
        return saved[name]

    return save


@pytest.fixture(scope="session")
def library() -> Callable[..., Any]:
    """The library's own model for a folder."""

    def load(folder: Path, kind: str, **options: Any) -> Any:
        from sentence_transformers import MultiVectorEncoder, SentenceTransformer

        model_class = SentenceTransformer if kind == "dense" else MultiVectorEncoder
        return model_class(str(folder), device="cpu", local_files_only=True, **options)

    return load
