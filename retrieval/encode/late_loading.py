"""A ``MultiVectorEncoder`` from a checkpoint, never with weights that nobody trained."""

from __future__ import annotations

from typing import Any

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode.builtin import SkipList
from retrieval.encode.checkpoint import Checkpoint
from retrieval.encode.late_markers import repair_markers
from retrieval.encode.runtime import library_kwargs, quiet_loading
from retrieval.errors import EncoderError

__all__ = ["load_late"]


def load_late(
    config: EncoderConfig, checkpoint: Checkpoint, runtime: RuntimeConfig, skiplist: SkipList | None
) -> Any:
    """The library's model for ``checkpoint``.

    With ``projection="none"`` the modules are put together here, because the library would append
    a projection with random weights.

    Raises:
        UntrainedProjectionError: the checkpoint has no token projection.
        EncoderError: ``projection="none"`` for a checkpoint that is nothing without its projection, or
            markers that its tokenizer cannot write.
    """
    from sentence_transformers import MultiVectorEncoder

    if config.projection == "none":
        if checkpoint.is_late_checkpoint:
            raise EncoderError(
                f"projection='none' is for checkpoints without a token projection; {config.name!r} is a "
                "late-interaction checkpoint, use it as it is"
            )
        return _without_projection(checkpoint, runtime, skiplist)
    checkpoint.check_projection()
    with quiet_loading():
        model = MultiVectorEncoder(str(checkpoint.folder), **library_kwargs(runtime))
    if checkpoint.is_stanford:
        repair_markers(model, config)
    return model


def _without_projection(checkpoint: Checkpoint, runtime: RuntimeConfig, skiplist: SkipList | None) -> Any:
    """Backbone, scoring mask, normalised token vectors."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    mask = (
        MultiVectorMask(list(skiplist.words), skiplist_tasks=list(skiplist.tasks))
        if skiplist
        else MultiVectorMask()
    )
    options = library_kwargs(runtime)
    with quiet_loading():
        backbone = _backbone(checkpoint, options)
        return MultiVectorEncoder(
            modules=[backbone, mask, Normalize(module_input_name="token_embeddings")],
            device=options["device"],
            prompts=dict(checkpoint.prompts),
            backend=runtime.backend,
            local_files_only=True,
        )


def _backbone(checkpoint: Checkpoint, options: dict[str, Any]) -> Any:
    from sentence_transformers.base.modules import Transformer

    shared = {key: options[key] for key in ("trust_remote_code", "local_files_only")}
    if checkpoint.modules is None:
        return Transformer(
            str(checkpoint.folder),
            model_kwargs={**shared, **options["model_kwargs"]},
            processor_kwargs=dict(shared),
            config_kwargs=dict(shared),
            backend=options["backend"],
        )
    name, subfolder = checkpoint.modules[0] if checkpoint.modules else ("nothing", "")
    if name.rsplit(".", 1)[-1] != "Transformer":
        raise EncoderError(
            f"{str(checkpoint.folder)!r} starts with {name}, which gives no token vectors: use kind='dense'"
        )
    return Transformer.load(
        str(checkpoint.folder),
        subfolder=subfolder,
        model_kwargs=options["model_kwargs"],
        backend=options["backend"],
        **shared,
    )
