"""Products of bytes by AMX equal the definition, whatever the lengths; what does not fit is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels import host
from retrieval.kernels.maxsim import reference
from retrieval.kernels.simd.tiles import configure, tile_width

tiles = pytest.importorskip("retrieval.kernels.maxsim.tiles")
needs_tiles = pytest.mark.skipif(not host.has_tiles(), reason="no AMX here")
LENGTHS = [0, 1, 15, 16, 17, 31, 32, 33, 64, 100, 2]


def bytes_of(lengths: list[int], n_q: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(d)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    query = rng.integers(-128, 128, (n_q, d), dtype=np.int8)
    return query, rng.integers(0, 256, (int(offsets[-1]), d), dtype=np.uint8), offsets


@needs_tiles
@pytest.mark.parametrize("d", [32, 48, 96, 128, 320])
@pytest.mark.parametrize("n_q", [2, 16, 17, 33, 50])
def test_maxsim_is_the_definition(n_q: int, d: int) -> None:
    query, values, offsets = bytes_of(LENGTHS, n_q, d)
    assert tiles.fits(values, offsets)
    for ordinals in (np.arange(len(LENGTHS)), np.array([10, 3, 3, 0, 1])):
        scores = np.full(len(ordinals) + 2, -7, np.int32)
        tiles.maxsim_i8(query, values, offsets, ordinals, scores[1:-1])
        expected = reference.maxsim_i8(query, values, offsets, ordinals)
        assert scores.tolist() == [-7, *expected, -7]


@needs_tiles
def test_the_last_tile_ends_with_memory() -> None:
    query, values, offsets = bytes_of([13, 3], 5, 64)
    scores = np.empty(2, np.int32)
    tiles.maxsim_i8(query, values, offsets, np.array([1, 0]), scores)
    assert scores.tolist() == reference.maxsim_i8(query, values, offsets, np.array([1, 0])).tolist()


def test_what_does_not_fill_a_tile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "has_tiles", lambda: True)
    assert tiles.fits(*bytes_of([16, 16], 2, 128)[1:])
    assert not tiles.fits(*bytes_of([16, 15], 2, 128)[1:])
    assert not tiles.fits(*bytes_of([15], 2, 128)[1:])
    assert not tiles.fits(*bytes_of([40], 2, 45)[1:])
    monkeypatch.setattr(host, "has_tiles", lambda: False)
    assert not tiles.fits(*bytes_of([16, 16], 2, 128)[1:])


def test_a_tile_takes_an_even_share_of_a_token() -> None:
    assert [tile_width(d) for d in (128, 96, 48, 32, 31, 100, 384)] == [64, 48, 48, 32, 0, 0, 64]
    config = configure(48)
    assert config[16:32].view(np.uint16).tolist() == [64, 64, 64, 64, 48, 48, 64, 64]
    assert config[48:56].tolist() == [16, 16, 16, 16, 16, 16, 12, 12]
