"""Stored vectors as kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.rescore.prepared import Rows, prepare_rows
from retrieval.kernels.token_rescore.prepared import Tokens, prepare_tokens
from retrieval.quantize import Codec, Int8Codec
from retrieval.types import IntArray

__all__ = ["decoded_tokens", "stored_rows", "stored_tokens"]


def stored_rows(rows: NDArray[Any], codec: Codec) -> Rows:
    """Vectors ``(n, d)``, codes of ``codec``."""
    return prepare_rows(rows, codec.span, codec.low) if isinstance(codec, Int8Codec) else prepare_rows(rows)


def stored_tokens(codes: NDArray[Any], offsets: IntArray, codec: Codec, max_norm: float) -> Tokens:
    """Stored tokens ``(n_tokens, d)``, numbers of ``codec``, as kernels take them."""
    if isinstance(codec, Int8Codec):
        return prepare_tokens(codes, offsets, codec.span, codec.low, max_norm)
    return prepare_tokens(codes, offsets, max_norm=max_norm)


def decoded_tokens(
    codes: NDArray[Any], offsets: IntArray, codec: Codec, ordinals: IntArray, max_norm: float
) -> Tokens:
    """The tokens of these documents alone, in their order, where codes cannot be read as they are."""
    parts = [codes[offsets[i] : offsets[i + 1]] for i in ordinals.tolist()]
    own = np.zeros(len(ordinals) + 1, np.int64)
    np.cumsum(offsets[ordinals + 1] - offsets[ordinals], out=own[1:])
    values = codec.decode(np.concatenate([codes[:0], *parts]))
    return prepare_tokens(values, own, max_norm=max_norm)
