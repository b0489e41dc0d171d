"""What a checkpoint folder holds: which kind of encoder, which modules, and whether it is trained.

The answers follow the rules of ``sentence_transformers.MultiVectorEncoder`` (``_get_model_type``,
``_load_default_modules``, ``_load_converted_modules``), read from files before any model is built.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.encode.weights import refuse_pickled
from retrieval.errors import EncoderError, UntrainedProjectionError
from retrieval.types import EncoderKind

__all__ = ["Checkpoint"]

LATE_TYPES = ("MultiVectorEncoder", "ColBERT")  # ColBERT: PyLate up to version 3
STANFORD = "HF_ColBERT"
WEIGHTED = ("Transformer", "Dense")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A local checkpoint folder and what its json files say.

    ``model_type`` is None when the folder does not say; ``modules`` holds
    ``(type, folder)`` of each module, and is None without a ``modules.json``.
    """

    folder: Path
    model_type: str | None
    architectures: tuple[str, ...]
    modules: tuple[tuple[str, str], ...] | None
    prompts: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Read the json files of ``folder``.

        Raises:
            EncoderError: not a checkpoint, one that json cannot read, or an adapter without its model.
        """
        modules = _read_json(folder / "modules.json")
        config = _read_json(folder / "config.json")
        if modules is None and config is None:
            raise EncoderError(
                f"{str(folder)!r} is not a checkpoint: it has no config.json and no modules.json"
            )
        if (folder / "adapter_config.json").is_file():
            raise EncoderError(
                f"{str(folder)!r} is an adapter whose base model lies elsewhere: merge it "
                "(merge_and_unload) and save the whole model"
            )
        settings = _read_json(folder / "config_sentence_transformers.json") or {}
        try:
            return cls(
                folder=folder,
                # A null is not an absent type: the library then trusts nothing but the backbone.
                model_type=str(settings["model_type"]) if "model_type" in settings else None,
                architectures=tuple((config or {}).get("architectures") or ()),
                modules=None if modules is None else tuple((m["type"], m["path"]) for m in modules),
                prompts={k: v for k, v in (settings.get("prompts") or {}).items() if v},
            )
        except (KeyError, TypeError, AttributeError):
            raise EncoderError(
                f"{str(folder)!r} is not a checkpoint: its json files have another form"
            ) from None

    @property
    def weighted_folders(self) -> tuple[str, ...]:
        """Folders, below this one, of the modules that hold weights: the backbone and dense heads."""
        if self.modules is None:
            return ("",)
        return tuple(path for name, path in self.modules if name.rsplit(".", 1)[-1] in WEIGHTED)

    @property
    def kind(self) -> EncoderKind:
        """What the checkpoint was made for.

        Raises:
            EncoderError: made for something else (a sparse encoder, a reranker).
        """
        if self.model_type in LATE_TYPES:
            return "late"
        if self.model_type not in (None, "SentenceTransformer"):
            raise EncoderError(
                f"{str(self.folder)!r} is a {self.model_type}, which is neither dense nor late: "
                "give an encoder checkpoint, or name the kind to use its backbone"
            )
        is_late = self.model_type is None and (self._is_stanford or self._is_native_retriever)
        return "late" if is_late else "dense"

    @property
    def is_late_checkpoint(self) -> bool:
        """Whether it is a late-interaction model as it stands, with nothing to convert."""
        if self._is_rebuilt:
            return self._is_stanford or self._is_native_retriever
        return self._late_type in LATE_TYPES

    @property
    def is_stanford(self) -> bool:
        """Whether Stanford ColBERT wrote it, and nothing rewrote its markers as prompts since."""
        return self.modules is None and self._is_stanford

    @property
    def has_trained_projection(self) -> bool:
        """Whether the late-interaction loader would use only weights that the checkpoint holds.

        Otherwise it appends a projection with *random* weights. A dense head counts: the loader
        applies it to every token.
        """
        has_head = any(name.rsplit(".", 1)[-1] == "Dense" for name, _ in self.modules or ())
        return self.is_late_checkpoint or (has_head and not self._is_rebuilt)

    def check_weights(self, backend: str) -> None:
        """Refuse pickled weights; see `refuse_pickled`."""
        # The Stanford projection is read by a loader that knows no shards and would unpickle.
        refuse_pickled(
            self.folder,
            (path for _, path in self.modules or ()),
            shards=not self._is_stanford,
            backend=backend,
        )

    def check_projection(self) -> None:
        """Refuse to go on with token vectors out of a random projection.

        Raises:
            UntrainedProjectionError: the checkpoint holds no token projection.
        """
        if not self.has_trained_projection:
            raise UntrainedProjectionError(
                f"{str(self.folder)!r} has no trained token projection, and a random one gives meaningless "
                "vectors: use projection='none' for the backbone's own token vectors, kind='dense', or a "
                "late-interaction checkpoint"
            )

    @property
    def _late_type(self) -> str:
        """The type as the late-interaction loader reads it from a folder with a ``modules.json``."""
        if self.model_type is not None:
            return self.model_type
        return LATE_TYPES[0] if self._is_stanford else "SentenceTransformer"

    @property
    def _is_rebuilt(self) -> bool:
        """Whether the loader keeps only the backbone and makes the other modules itself."""
        return self.modules is None or self._late_type not in (*LATE_TYPES, "SentenceTransformer")

    @property
    def _is_stanford(self) -> bool:
        return STANFORD in self.architectures

    @property
    def _is_native_retriever(self) -> bool:
        """A transformers-native late-interaction model: its own head projects and normalises."""
        return any(name.endswith("ForRetrieval") for name in self.architectures)


def _read_json(path: Path) -> Any:
    """The content of a json file, or None when there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"cannot read {str(path)!r}: {error}") from None
