"""Tiny random backbones with their tokenizers: BERT, ModernBERT and XMOD.

Two layers, 32 dimensions and a vocabulary of single letters and a few words: small enough to save
in milliseconds. The tokenizers are of the three kinds in use: WordPiece that lower-cases (BERT),
byte-level BPE (ModernBERT) and SentencePiece unigrams (XMOD, as XLM-R).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WORDS = [
    *("the", "a", "of", "and", "to", "in", "is", "wing", "flow", "heat"),
    *("search", "engine", "token", "vector", "query", "document", "late", "dense"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
LETTERS = [*string.ascii_lowercase, *string.digits, *string.punctuation]
VOCAB = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS, "##s", "##ing"]
LANGUAGES = ("en_XX", "de_DE", "fr_XX")
HIDDEN = 32
POSITIONS = 128
SPARE = 8
"""Rows of the embedding beyond the vocabulary, for tokens that a checkpoint adds."""


@dataclass(frozen=True)
class Backbone:
    """An untrained transformer and the tokenizer that goes with it.

    ``prefix`` is what its weights are called by inside a Stanford checkpoint.
    """

    model: Any
    tokenizer: Any
    prefix: str


def backbone(family: str = "bert", seed: int = 0, **config: Any) -> Backbone:
    """The backbone of a family, with weights by ``seed``; ``config`` goes to its configuration."""
    import torch

    torch.manual_seed(seed)
    return {"bert": _bert, "modernbert": _modernbert, "xmod": _xmod}[family](**config)


def tokenizer() -> Any:
    """A lower-casing WordPiece tokenizer over `VOCAB`."""
    from transformers import BertTokenizerFast

    vocab = {word: i for i, word in enumerate(dict.fromkeys(VOCAB))}
    return BertTokenizerFast(vocab=vocab, model_max_length=POSITIONS)


def _bert(**config: Any) -> Backbone:
    from transformers import BertConfig, BertModel

    words = tokenizer()
    sizes = _sizes(len(words), max_position_embeddings=POSITIONS, initializer_range=0.5)
    return Backbone(BertModel(BertConfig(**sizes | config)), words, "bert")


def _modernbert(**config: Any) -> Backbone:
    """Rotary positions, no token types; every second layer looks only at its neighbourhood."""
    from transformers import ModernBertConfig, ModernBertModel

    words = _byte_pairs()
    sizes = _sizes(
        len(words),
        max_position_embeddings=POSITIONS,
        initializer_range=0.3,
        layer_types=["full_attention", "sliding_attention"],
        local_attention=64,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.cls_token_id,
        eos_token_id=words.sep_token_id,
        cls_token_id=words.cls_token_id,
        sep_token_id=words.sep_token_id,
    )
    return Backbone(ModernBertModel(ModernBertConfig(**sizes | config)), words, "model")


def _xmod(**config: Any) -> Backbone:
    """Positions that begin after the padding's, and one adapter a language in every layer."""
    from transformers import XmodConfig, XmodModel

    words = _unigrams()
    sizes = _sizes(
        len(words),
        max_position_embeddings=POSITIONS + words.pad_token_id + 1,
        initializer_range=0.5,
        languages=list(LANGUAGES),
        default_language=LANGUAGES[0],
    )
    return Backbone(XmodModel(XmodConfig(**sizes | config)), words, "roberta")


def _sizes(n_words: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": n_words + SPARE,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        **more,
    }


def _byte_pairs() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    merges = list(
        dict.fromkeys(pair for word in WORDS for form in (word, "Ġ" + word) for pair in _pairs(form))
    )
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, *SPECIAL]))}
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(word, normalized=False) for word in ("[unused0]", "[unused1]")])
    words = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token=AddedToken("[MASK]", lstrip=True, special=True),
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=POSITIONS,
    )
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")],
    )
    return words


def _pairs(word: str) -> Sequence[tuple[str, str]]:
    """The merges that put ``word`` together from left to right."""
    return [(word[:i], word[i]) for i in range(1, len(word))]


def _unigrams() -> Any:
    from transformers import XLMRobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words = [f"▁{word}" for word in WORDS]
    pieces = [*((word, -2.0) for word in words), *((letter, -9.0) for letter in ("▁", *LETTERS))]
    vocab = [*((token, 0.0) for token in special), *dict(pieces).items(), ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocab, model_max_length=POSITIONS)
