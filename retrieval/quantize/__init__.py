"""Vectors to stored codes and back. One file a codec, one line in the registry.

Codecs expose their state as values; only ``storage`` touches disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval.errors import IndexFormatError
from retrieval.quantize.base import Arrays, Codec
from retrieval.quantize.floats import FloatCodec, check_precision

__all__ = ["Codec", "FloatCodec", "check_precision", "codec_from_state"]

CODECS: dict[str, type[Codec]] = {FloatCodec.name: FloatCodec}


def codec_from_state(name: str, config: Mapping[str, Any], arrays: Arrays) -> Codec:
    """The codec that ``state()`` described.

    Raises:
        IndexFormatError: no codec of this name, or one with options unknown to this version.
    """
    if name not in CODECS:
        raise IndexFormatError(f"the index uses the codec {name!r}, unknown to this version; upgrade")
    return CODECS[name].from_state(config, arrays)
