"""Codecs of tokens from arrays that were trained elsewhere."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.kernels.coded_maxsim.reference import unpack
from retrieval.quantize import ResidualCodec, codec_from_file, codec_settings, residual_from_arrays

DIM, K = 10, 12
rng = np.random.default_rng(4)
CENTROIDS = 3 * np.linalg.qr(rng.standard_normal((K, K)))[0][:, :DIM] + 2 * np.eye(K, DIM)
"""Far enough from each other that nobody takes one for another."""
WEIGHTS = np.array([-0.5, -0.1, 0.2, 0.6])
CUTOFFS = np.array([-0.4, 0.15, 0.3])
ARRAYS: dict[str, dict[str, Any]] = {
    "none": {},
    "pq": {"codebooks": 0.3 * rng.standard_normal((5, 16, 2))},
    "pq of 256 words": {"codebooks": 0.3 * rng.standard_normal((2, 256, 5))},
    "pq in unequal parts": {"codebooks": 0.3 * rng.standard_normal((4, 16, 3))},
    "bits": {"bucket_weights": WEIGHTS, "bucket_cutoffs": CUTOFFS},
    "bits, cut in the middle": {"bucket_weights": WEIGHTS},
    "bits of each dimension": {
        "bucket_weights": WEIGHTS * np.linspace(0.5, 2, DIM)[:, None],
        "bucket_cutoffs": CUTOFFS * np.linspace(0.5, 2, DIM)[:, None],
    },
    "1 bit": {"bucket_weights": [-0.3, 0.3], "bucket_cutoffs": [0.05]},
    "4 bits": {"bucket_weights": np.linspace(-1, 1, 16)},
    "ternary": {"bucket_weights": [-0.4, 0, 0.4]},
    "ternary, cut elsewhere": {"bucket_weights": [-0.4, 0, 0.4], "bucket_cutoffs": [-0.3, 0.1]},
}
ARRAYS["pq in unequal parts"]["codebooks"][[0, 2], :, 2] = 0  # parts of 2, 3, 2 and 3 dimensions
each = pytest.mark.parametrize("name", ARRAYS)


def tokens(n: int = 50) -> np.ndarray:
    random = np.random.default_rng(5)
    return (CENTROIDS[random.integers(0, K, n)] + 0.25 * random.standard_normal((n, DIM))).astype(np.float32)


def levels(residuals: np.ndarray, bucket_weights: Any, bucket_cutoffs: Any = None) -> np.ndarray:
    """How many cutoffs a number is above."""
    weights = np.broadcast_to(np.asarray(bucket_weights), (DIM, np.shape(bucket_weights)[-1]))
    cuts = (weights[:, 1:] + weights[:, :-1]) / 2 if bucket_cutoffs is None else bucket_cutoffs
    return (residuals[:, :, None] > np.broadcast_to(cuts, (DIM, weights.shape[1] - 1))).sum(axis=2)


@each
def test_codes_are_what_the_arrays_say(name: str) -> None:
    arrays, values = ARRAYS[name], tokens()
    codec = residual_from_arrays(CENTROIDS, **arrays)
    made = codec.encode_tokens(values)
    nearest = ((values[:, None] - CENTROIDS) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(made.centroids, nearest)
    residuals, decoded = values - CENTROIDS[nearest], CENTROIDS[nearest].copy()
    if "codebooks" in arrays:
        books = arrays["codebooks"]
        codes = unpack(made.codes, books.shape[1].bit_length() - 1, len(books))
        for part, (first, last) in enumerate(pairwise(np.arange(len(books) + 1) * DIM // len(books))):
            words = books[part, :, : last - first]
            expected = ((residuals[:, None, first:last] - words) ** 2).sum(axis=2).argmin(axis=1)
            np.testing.assert_array_equal(codes[:, part], expected)
            decoded[:, first:last] += words[expected]
    elif arrays:
        expected, weights = levels(residuals, **arrays), np.asarray(arrays["bucket_weights"])
        bits = {2: 1, 3: 2, 4: 2, 16: 4}[weights.shape[-1]]
        np.testing.assert_array_equal(unpack(made.codes, bits, DIM), expected)
        decoded += np.broadcast_to(weights, (DIM, weights.shape[-1]))[np.arange(DIM), expected]
    lengths = np.linalg.norm(values, axis=1) / np.linalg.norm(decoded, axis=1)
    np.testing.assert_allclose(codec.decode_tokens(made), decoded * lengths[:, None], rtol=2e-3, atol=1e-4)


@each
def test_a_given_codec_is_stored_whole(name: str) -> None:
    codec = residual_from_arrays(CENTROIDS, **ARRAYS[name])
    config, arrays = codec.state()
    again = ResidualCodec.from_state(config, arrays)
    np.testing.assert_array_equal(again.encode(tokens()), codec.encode(tokens()))
    for key in arrays:
        with pytest.raises(IndexDamagedError, match="is missing"):
            ResidualCodec.from_state(config, {k: v for k, v in arrays.items() if k != key})
    if "residual/cutoffs" in arrays:
        falling = arrays["residual/cutoffs"][..., ::-1].copy()
        wrong = [falling] if falling.shape[-1] > 1 else []
        for cutoffs in (*wrong, arrays["residual/cutoffs"][..., :-1].copy()):
            with pytest.raises(IndexDamagedError):
                ResidualCodec.from_state(config, {**arrays, "residual/cutoffs": cutoffs})


def test_the_settings_of_a_recipe_with_it() -> None:
    made = {name: residual_from_arrays(CENTROIDS, **arrays) for name, arrays in ARRAYS.items()}
    told = {name: codec_settings(codec) for name, codec in made.items()}
    assert told["none"] == {"codec": "none", "ncentroids": K}
    assert told["pq of 256 words"] == {"codec": "pq", "ncentroids": K, "m": 2, "nbits": 8}
    assert told["bits of each dimension"]["buckets"] == "dimension"
    assert told["4 bits"] == {"codec": "bits", "ncentroids": K, "bits": 4, "buckets": "global"}
    assert told["ternary"]["codec"] == "ternary"


@pytest.mark.parametrize(
    ("arrays", "told"),
    (
        WRONG := [
            ({"centroids": np.zeros((4, 16, 2))}, "centroids is float32"),
            ({"centroids": np.full((3, DIM), np.nan)}, "centroids has a number that is not finite"),
            ({"centroids": np.zeros((0, DIM))}, "centroids is float32"),
            ({"codebooks": np.zeros((5, 17, 2))}, "17 codewords a part"),
            ({"codebooks": np.zeros((5, 16, 3))}, "5 parts of 3, and the centroids have 10 dimensions"),
            ({"codebooks": np.ones((4, 16, 3))}, "beyond the end of a part"),
            ({"codebooks": np.full((5, 16, 2), np.inf)}, "codebooks has a number"),
            ({"bucket_weights": [1, 2, 3, 4, 5]}, "5 bucket_weights: give 2, 4 or 16, or 3"),
            ({"bucket_weights": [0, 2, 1, 3]}, "bucket_weights are not ascending"),
            ({"bucket_weights": [-1, 0, 2]}, "bucket_weights are not -b, 0, b"),
            ({"bucket_weights": np.zeros((9, 4))}, "bucket_weights is float32"),
            (
                {"bucket_weights": WEIGHTS, "bucket_cutoffs": CUTOFFS[::-1]},
                "bucket_cutoffs are not ascending",
            ),
            ({"bucket_weights": WEIGHTS, "bucket_cutoffs": WEIGHTS}, "bucket_cutoffs is float32"),
            ({"bucket_cutoffs": CUTOFFS}, "no use without bucket_weights"),
            ({"bucket_weights": WEIGHTS, "codebooks": np.zeros((5, 16, 2))}, "give one of them"),
        ]
    ),
    ids=[told for _, told in WRONG],
)
def test_arrays_that_cannot_work(arrays: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        residual_from_arrays(**{"centroids": CENTROIDS, **arrays})


def test_files_of_them(tmp_path: Path) -> None:
    arrays = {"centroids": CENTROIDS.astype(np.float16), **ARRAYS["bits"]}
    save_file(arrays, tmp_path / "a.safetensors")
    (tmp_path / "plaid").mkdir()
    for name, array in {**arrays, "0.codes": np.zeros(3), "avg_residual": np.zeros(DIM)}.items():
        np.save(tmp_path / "plaid" / f"{name}.npy", array)
    expected = residual_from_arrays(**arrays).encode(tokens())
    for path in (tmp_path / "a.safetensors", tmp_path / "plaid"):
        np.testing.assert_array_equal(codec_from_file(path).encode(tokens()), expected)
    np.save(tmp_path / "plaid" / "bucket_weights.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"plaid cannot be read as a folder of \.npy files"):
        codec_from_file(tmp_path / "plaid")
    (tmp_path / "plaid" / "bucket_weights.npy").unlink()
    with pytest.raises(ConfigError, match=r"plaid: bucket_cutoffs are of no use"):
        codec_from_file(tmp_path / "plaid")
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="it has no arrays: there must be centroids"):
        codec_from_file(tmp_path / "none")
