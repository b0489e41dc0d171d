"""Vectors to stored codes and back. One file a codec, one line in the registry.

Codecs expose their state as values; only ``storage`` touches disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval.errors import ConfigError, IndexFormatError
from retrieval.quantize.base import Arrays, Codec, Factors, SearchCodec, TableCodec
from retrieval.quantize.bits import BitsCodec
from retrieval.quantize.float16 import Float16Codec
from retrieval.quantize.floats import FloatCodec, check_precision
from retrieval.quantize.imported import (
    GivenCodec,
    VectorCodec,
    bits_from_arrays,
    check_given,
    codec_from_file,
    codec_settings,
    int8_from_arrays,
    pq_from_arrays,
    residual_from_arrays,
)
from retrieval.quantize.int8 import Int8Codec
from retrieval.quantize.opq import OPQCodec
from retrieval.quantize.pq import PQCodec
from retrieval.quantize.residual import ResidualCodec
from retrieval.quantize.sign import SignCodec
from retrieval.types import FloatArray

__all__ = [
    "CODECS",
    "SEARCH_CODECS",
    "BitsCodec",
    "Codec",
    "Factors",
    "Float16Codec",
    "FloatCodec",
    "GivenCodec",
    "Int8Codec",
    "OPQCodec",
    "PQCodec",
    "ResidualCodec",
    "SearchCodec",
    "SignCodec",
    "TableCodec",
    "VectorCodec",
    "bits_from_arrays",
    "check_given",
    "check_precision",
    "codec_from_file",
    "codec_from_state",
    "codec_settings",
    "fit_codec",
    "int8_from_arrays",
    "pq_from_arrays",
    "residual_from_arrays",
]

SEARCH_CODECS: dict[str, type[SearchCodec]] = {
    BitsCodec.name: BitsCodec,
    Float16Codec.name: Float16Codec,
    Int8Codec.name: Int8Codec,
    OPQCodec.name: OPQCodec,
    PQCodec.name: PQCodec,
    SignCodec.name: SignCodec,
}
"""What indexes may code with."""

CODECS: dict[str, type[Codec]] = {
    FloatCodec.name: FloatCodec,
    ResidualCodec.name: ResidualCodec,
    **SEARCH_CODECS,
}


def fit_codec(
    name: str, sample: FloatArray, options: Mapping[str, Any], seed: int = 0, threads: int = 1
) -> SearchCodec:
    """A codec trained on ``(n, d)`` float32; of ``options`` (a recipe's) it takes those it knows. With the
    option ``given`` it is that one, which was trained elsewhere.

    Raises:
        ConfigError: no codec of this name, options that do not fit, too small a sample, or a given codec of
            another dimension.
    """
    given: VectorCodec | None = options.get("given")
    if given is not None:
        check_given(given, sample.shape[1])
        return given
    if name not in SEARCH_CODECS:
        raise ConfigError(f"codec={name!r}: there are {', '.join(sorted(SEARCH_CODECS))}")
    return SEARCH_CODECS[name].fit(sample, options, seed, threads)


def codec_from_state(name: str, config: Mapping[str, Any], arrays: Arrays) -> Codec:
    """The codec that ``state()`` described.

    Raises:
        IndexFormatError: no codec of this name, or one with options unknown to this version.
        IndexDamagedError: arrays that are not what a codec of this name has.
    """
    if name not in CODECS:
        raise IndexFormatError(f"the index uses the codec {name!r}, unknown to this version; upgrade")
    return CODECS[name].from_state(config, arrays)
