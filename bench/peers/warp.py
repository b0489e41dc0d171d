"""WARP: xtr-warp-rs (Rust over torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import folder_bytes
from bench.peers.late_base import AskTokens, LateBytes, LateEngine, LateSetting, Tokens
from bench.peers.torch_builds import check_torch
from retrieval.types import FloatArray

__all__ = ["XtrWarp", "engines"]

PROBES = (16, 32, 64, 128)


class XtrWarp:
    shared, copies = True, 2.0

    def __init__(self, bits: int) -> None:
        self.name, self._bits = f"xtr-warp-rs {bits} bits", bits

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:  # noqa: ARG002
        check_torch("xtr-warp-rs")
        import torch
        from xtr_warp import XTRWarp

        self._folder = folder / "index"
        self._index = XTRWarp(str(self._folder), device="cpu")
        # Copies: torch asks for memory that can be written to.
        texts = [torch.from_numpy(np.array(documents[i])) for i in range(len(documents))]
        self._index.create(texts, device="cpu", nbits=self._bits, show_progress=False)
        self._index.load("cpu", mmap=False)

    def settings(self, k: int) -> list[LateSetting]:  # noqa: ARG002
        return [{}, *({"nprobe": probes, "bound": 8 * probes} for probes in PROBES)]

    def prepare(self, k: int, setting: LateSetting) -> AskTokens:
        import torch

        search = self._index.search
        effort = {name: int(value) for name, value in setting.items()}

        def ask(query: FloatArray) -> Any:
            found = search(torch.from_numpy(query)[None], k, num_threads=1, show_progress=False, **effort)[0]
            return np.array([number for number, _ in found], dtype=np.int64)

        return ask

    def measure_bytes(self) -> LateBytes:
        size = folder_bytes(self._folder)
        return LateBytes(size, size)

    def close(self) -> None:
        self._index.free()


def engines() -> list[LateEngine]:
    """All that are compared."""
    return [XtrWarp(4)]
