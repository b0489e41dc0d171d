"""Vectors as they come over HTTP: lists of numbers, or base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from retrieval.client.packing import packed
from server.schemas.vectors import PackedVectors, UnfitVectors, vector_of, vectors_of

ROWS = np.array([[0.25, -1.0, 3.0], [1.0, 0.0, 0.5]], dtype=np.float32)


def half(array: Any) -> dict[str, Any]:
    content = base64.b64encode(array.astype("<f2").tobytes()).decode()
    return {"base64": content, "dtype": "float16", "shape": list(array.shape)}


@pytest.mark.parametrize("write", [np.ndarray.tolist, packed, half])
def test_every_form_is_the_same_array(write: Any) -> None:
    found = vectors_of(write(ROWS), dim=3, most=2)
    assert found.dtype == np.float32 and found.flags.writeable and (found == ROWS).all()
    assert (vector_of(write(ROWS[0]), dim=3) == ROWS[:1]).all()


def test_a_vector_needs_no_shape() -> None:
    # What OpenAI's encoding_format "base64" answers.
    assert (vector_of({"base64": packed(ROWS[1])["base64"]}) == ROWS[1:]).all()


@pytest.mark.parametrize("example", PackedVectors.model_config["json_schema_extra"]["examples"])  # type: ignore[index,call-overload]
def test_the_documented_examples_are_vectors(example: dict[str, Any]) -> None:
    read = vectors_of if "shape" in example else vector_of
    assert read(example)[0, :2].tolist() == [0.25, -1.0]


def sent(**changed: Any) -> dict[str, Any]:
    return {**packed(ROWS), **changed}


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ([], ""),
        ("AACAPw==", ""),
        ([[1.0], [1.0, 2.0]], "/1"),
        ([[1.0], []], "/1"),
        ([[1.0], [True]], "/1/0"),
        ([[1.0], [1e300]], "/1"),
        ([[1.0]] * 3, ""),
        (sent(base64="A"), "/base64"),
        (sent(base64=packed(ROWS)["base64"][:-4]), "/base64"),
        (sent(base64=packed(ROWS)["base64"].replace("A", "-")), "/base64"),
        (sent(base64="\n" + packed(ROWS)["base64"]), "/base64"),
        (packed(np.full(3, np.nan)[None]), "/base64"),
        (packed(np.full(3, -np.inf)[None]), "/base64"),
        (sent(dtype="float16"), "/base64"),
        (sent(shape=[3, 2**31 - 1]), ""),
        (sent(shape=[2, 2**31 - 1]), "/base64"),
        (sent(shape=[10**4299, 10**4299]), "/shape/0"),
        (sent(shape=[6]), "/shape"),
        (sent(shape=[1, 2, 3]), "/shape"),
        (sent(shape=[0, 6]), "/shape/0"),
        (sent(order="C"), "/order"),
    ],
    ids=range(21),
)
def test_what_is_wrong_is_pointed_at(value: Any, pointer: str) -> None:
    with pytest.raises(UnfitVectors) as found:
        vectors_of(value, most=2)
    assert found.value.pointer == pointer


def test_another_dimension_is_told() -> None:
    with pytest.raises(UnfitVectors, match="/shape: 3 numbers; there must be 4"):
        vectors_of(packed(ROWS), dim=4)
    with pytest.raises(UnfitVectors, match="/base64: 6 numbers; there must be 4"):
        vector_of({"base64": packed(ROWS)["base64"]}, dim=4)
