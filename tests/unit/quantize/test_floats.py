"""Plain floats refuse precisions that they do not know."""

from __future__ import annotations

from typing import Any

import pytest

from retrieval.errors import ConfigError, IndexFormatError
from retrieval.quantize import FloatCodec, check_precision, codec_from_state


@pytest.mark.parametrize("precision", ["int8", "float64", "foo", ["float16"], None])
def test_unknown_precisions_are_refused(precision: Any) -> None:
    with pytest.raises(ConfigError, match="choose float32 or float16") as caught:
        FloatCodec(precision)
    assert repr(precision) in str(caught.value)


@pytest.mark.parametrize(("config", "told"), [({"precision": "int8"}, "'int8'"), ({}, "None")])
def test_an_index_with_an_unknown_precision_is_of_another_version(config: dict[str, Any], told: str) -> None:
    with pytest.raises(IndexFormatError, match=f"{told}, unknown to this version"):
        codec_from_state("float", config, {})


@pytest.mark.parametrize("precision", ["float64", "foo", None])
def test_what_can_be_stored_is_named(precision: Any) -> None:
    for known in ("float32", "float16", "int8"):
        check_precision(known)
    with pytest.raises(ConfigError, match="choose float32 or float16 or int8"):
        check_precision(precision)
