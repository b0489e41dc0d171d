"""Stored vectors as kernels take them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from retrieval.kernels.rescore.prepared import Rows, prepare_rows
from retrieval.kernels.token_rescore.prepared import Tokens, prepare_tokens
from retrieval.quantize import Codec, Int8Codec
from retrieval.types import IntArray

__all__ = ["stored_rows", "stored_tokens"]


def stored_rows(rows: NDArray[Any], codec: Codec) -> Rows:
    """Vectors ``(n, d)``, codes of ``codec``."""
    return prepare_rows(rows, codec.span, codec.low) if isinstance(codec, Int8Codec) else prepare_rows(rows)


def stored_tokens(codes: NDArray[Any], offsets: IntArray, codec: Codec, max_norm: float) -> Tokens:
    """Stored tokens ``(n_tokens, d)``, codes of ``codec``, as kernels take them."""
    if isinstance(codec, Int8Codec):
        return prepare_tokens(codes, offsets, codec.span, codec.low, max_norm)
    if codes.dtype.kind != "f":  # codes that stand for vectors only together
        return prepare_tokens(codec.decode(codes), offsets, max_norm=max_norm)
    return prepare_tokens(codes, offsets, max_norm=max_norm)
