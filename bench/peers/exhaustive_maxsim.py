"""MaxSim of every document: torch, and the CPU kernel of fast-maxsim.

fast-maxsim is a fork of maxsim-cpu with the same calls. maxsim-cpu 0.1.0 itself is not compared: where a
query's tokens times their dimension exceeded 4,096 it gave wrong scores, or ended the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.late_base import AskTokens, LateBytes, LateEngine, LateSetting, Tokens, best
from retrieval.types import FloatArray

__all__ = ["FastMaxsim", "TorchMaxsim", "engines"]


class TorchMaxsim:
    """One product a block of documents, and a maximum a document."""

    name, shared, copies = "torch MaxSim, exhaustive float32", True, 1.0

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:  # noqa: ARG002
        import torch

        # A private map of the file can be written to, which torch asks for.
        self._blocks = [
            (torch.from_numpy(np.require(values, requirements="W")), torch.from_numpy(lengths))
            for first, end, values in documents.blocks()
            for lengths in (np.diff(documents.offsets[first : end + 1]),)
        ]
        self._bytes = documents.floats

    def settings(self, k: int) -> list[LateSetting]:  # noqa: ARG002
        return [{}]

    def prepare(self, k: int, setting: LateSetting) -> AskTokens:  # noqa: ARG002
        import torch

        blocks = self._blocks

        def ask(query: FloatArray) -> Any:
            with torch.inference_mode():
                asked = torch.from_numpy(query).T.contiguous()
                parts = [
                    torch.segment_reduce(values @ asked, "max", lengths=lengths, axis=0).sum(dim=1)
                    for values, lengths in blocks
                ]
                scores = torch.cat(parts)
                return torch.topk(scores, min(k, len(scores))).indices.numpy()

        return ask

    def measure_bytes(self) -> LateBytes:
        return LateBytes(self._bytes, self._bytes)

    def close(self) -> None:
        self._blocks = []


class FastMaxsim:
    """It takes float32 documents of any length, in one call."""

    name, shared, copies = "fast-maxsim, exhaustive float32", True, 1.0

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:  # noqa: ARG002
        import fast_maxsim

        self._score = fast_maxsim.maxsim_scores_variable
        self._documents = [np.ascontiguousarray(documents[i]) for i in range(len(documents))]
        self._bytes = documents.floats

    def settings(self, k: int) -> list[LateSetting]:  # noqa: ARG002
        return [{}]

    def prepare(self, k: int, setting: LateSetting) -> AskTokens:  # noqa: ARG002
        score, documents = self._score, self._documents
        return lambda query: best(np.asarray(score(query, documents)), k)

    def measure_bytes(self) -> LateBytes:
        return LateBytes(self._bytes, self._bytes)

    def close(self) -> None:
        self._documents = []


def engines() -> list[LateEngine]:
    """All that are compared."""
    return [TorchMaxsim(), FastMaxsim()]
