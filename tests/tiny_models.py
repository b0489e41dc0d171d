"""Tiny random checkpoints in every form that encoders are shipped in.

The backbones of `tests.tiny_backbones`, saved by the libraries themselves where they can.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from tests.tiny_backbones import HIDDEN, POSITIONS, Backbone, backbone

TEXTS = [
    "the wing",
    "Heat flow, in the wing: searching vectors & tokens!",
    "a",
    "late dense late dense query document engine of the search engine",
    "zebra quux 42 (unknown words, é and 漢字 too)",
    "x " * 200,
    "the query is a document and the document is a query",
]


def save_backbone(folder: Path, seed: int = 0, family: str = "bert", **config: Any) -> Path:
    """A bare transformers checkpoint: no pooling, no modules.json."""
    return _save(backbone(family, seed, **config), folder)


def save_dense(
    folder: Path,
    *,
    pooling: str = "mean",
    normalize: bool = True,
    head: int | None = None,
    prompts: dict[str, str] | None = None,
    similarity: str | None = None,
    max_seq_length: int = 64,
    seed: int = 0,
) -> Path:
    """A SentenceTransformer; ``head`` adds a Dense layer of that width after the pooling."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = _transformer(folder.with_name(f"{folder.name}-backbone"), seed)
    transformer.max_seq_length = max_seq_length
    modules = [transformer, Pooling(HIDDEN, pooling)]
    if head is not None:
        torch.manual_seed(seed + 1)
        modules.append(Dense(HIDDEN, head))
    if normalize:
        modules.append(Normalize())
    model = SentenceTransformer(
        modules=modules, prompts=prompts, similarity_fn_name=similarity, device="cpu", local_files_only=True
    )
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def save_late(
    folder: Path,
    *,
    dim: int = 16,
    prompts: dict[str, str] | None = None,
    expansion: dict[str, Any] | None = None,
    skiplist: list[str] | None = None,
    query_length: int | None = None,
    document_length: int | None = None,
    similarity: str | None = None,
    pool_factor: int | None = None,
    seed: int = 0,
    family: str = "bert",
    **config: Any,
) -> Path:
    """A native MultiVectorEncoder with a token projection; ``config`` is the backbone's."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask

    transformer = _transformer(folder.with_name(f"{folder.name}-backbone"), seed, family, **config)
    transformer.query_length, transformer.document_length = query_length, document_length
    transformer.query_expansion = expansion
    modules = [
        transformer,
        _projection(dim, seed),
        MultiVectorMask(skiplist_words=skiplist),
        Normalize(module_input_name="token_embeddings"),
    ]
    if pool_factor is not None:
        modules.append(HierarchicalTokenPooling(pool_factor=pool_factor))
    model = MultiVectorEncoder(
        modules=modules, prompts=prompts, similarity_fn_name=similarity, device="cpu", local_files_only=True
    )
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def save_pylate(
    folder: Path,
    *,
    dim: int = 16,
    query_length: int = 24,
    expands: bool = True,
    attends: bool = False,
    seed: int = 0,
    family: str = "bert",
    **config: Any,
) -> Path:
    """What PyLate 3 writes: prefixes and lengths at the top, only Transformer and Dense as modules.

    ``expands`` says whether queries are padded with mask tokens, ``attends`` whether those are seen.
    """
    base = backbone(family, seed, **config)
    base.tokenizer.add_tokens(["[Q] ", "[D] "])
    _save(base, folder)
    head = folder / "1_Dense"
    head.mkdir()
    _projection(dim, seed).save(str(head))
    write_json(
        head / "config.json",
        {
            "in_features": HIDDEN,
            "out_features": dim,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": POSITIONS, "do_lower_case": False})
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "ColBERT",
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "MaxSim",
            "query_prefix": "[Q] ",
            "document_prefix": "[D] ",
            "query_length": query_length,
            "document_length": 40,
            "do_query_expansion": expands,
            "attend_to_expansion_tokens": attends,
            "skiplist_words": list(string.punctuation),
        },
    )
    return folder


def save_stanford(
    folder: Path,
    *,
    dim: int = 16,
    query_length: int = 20,
    attends: bool = False,
    masks_punctuation: bool = True,
    adds_markers: bool = True,
    seed: int = 0,
    family: str = "bert",
    **config: Any,
) -> Path:
    """What Stanford ColBERT writes: one weight file with ``linear.weight``, and artifact.metadata.

    ``adds_markers`` puts the markers into a vocabulary that lacks them; without it they stay
    unknown, as in ColBERT-XM.
    """
    from safetensors.torch import save_file

    base = backbone(family, seed, **config)
    if adds_markers:
        known = base.tokenizer.get_vocab()
        base.tokenizer.add_tokens([marker for marker in ("[unused0]", "[unused1]") if marker not in known])
    _save(base, folder)
    weights = {f"{base.prefix}.{name}": tensor for name, tensor in base.model.state_dict().items()}
    weights["linear.weight"] = _projection(dim, seed).linear.weight.detach()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**settings, "architectures": ["HF_ColBERT"]})
    write_json(
        folder / "artifact.metadata",
        {
            "dim": dim,
            "query_token_id": "[unused0]",
            "doc_token_id": "[unused1]",
            "query_maxlen": query_length,
            "doc_maxlen": 48,
            "mask_punctuation": masks_punctuation,
            "attend_to_mask_tokens": attends,
        },
    )
    return folder


def pickle_weights(folder: Path) -> None:
    """Replace the safetensors file of ``folder`` by the pickled file of older checkpoints."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as json."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _save(base: Backbone, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def _transformer(folder: Path, seed: int, family: str = "bert", **config: Any) -> Any:
    from sentence_transformers.base.modules import Transformer

    return Transformer(str(save_backbone(folder, seed, family, **config)))


def _projection(dim: int, seed: int) -> Any:
    import torch
    from sentence_transformers.base.modules import Dense
    from torch import nn

    torch.manual_seed(seed + 1)
    return Dense(
        HIDDEN, dim, bias=False, activation_function=nn.Identity(), module_input_name="token_embeddings"
    )
