"""PLAID: fast-plaid (Rust over torch), and Stanford's engine as PyLate carries it."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import folder_bytes
from bench.peers.late_base import AskTokens, LateBytes, LateEngine, LateSetting, Tokens
from bench.peers.torch_builds import check_torch
from retrieval.types import FloatArray

__all__ = ["FastPlaid", "StanfordPlaid", "engines"]

SCALE = ((1, 128), (2, 512), (4, 1024), (8, 4096))
"""Lists a query token and documents scored in full: the steps that the packages document."""


class FastPlaid:
    """Its file is held in memory as a whole."""

    shared, copies = True, 2.0

    def __init__(self, bits: int) -> None:
        self.name, self._bits = f"fast-plaid {bits} bits", bits

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:  # noqa: ARG002
        check_torch("fast-plaid")
        import torch
        from fast_plaid import search

        self._folder = folder / "index"
        self._index = search.FastPlaid(str(self._folder), device="cpu")
        # Copies: torch asks for memory that can be written to.
        texts = [torch.from_numpy(np.array(documents[i])) for i in range(len(documents))]
        self._index.create(documents_embeddings=texts, nbits=self._bits)

    def settings(self, k: int) -> list[LateSetting]:  # noqa: ARG002
        return [{"n_ivf_probe": probes, "n_full_scores": full} for probes, full in SCALE]

    def prepare(self, k: int, setting: LateSetting) -> AskTokens:
        import torch

        search = self._index.search
        effort = {name: int(value) for name, value in setting.items()}

        def ask(query: FloatArray) -> Any:
            found = search([torch.from_numpy(query)], top_k=k, show_progress=False, **effort)[0]
            return np.array([number for number, _ in found], dtype=np.int64)

        return ask

    def measure_bytes(self) -> LateBytes:
        size = folder_bytes(self._folder)
        return LateBytes(size, size)

    def close(self) -> None:
        self._index.close()


class StanfordPlaid:
    """The original engine. It compiles its own extension when it is first used, which takes minutes."""

    # It pads queries in shared buffers and sets its parameters on the one searcher.
    shared, copies = False, 3.0

    def __init__(self, bits: int) -> None:
        self.name, self._bits = f"PyLate PLAID (Stanford) {bits} bits", bits

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:  # noqa: ARG002
        from pylate.indexes.stanford_nlp import Indexer, Searcher
        from pylate.indexes.stanford_nlp.infra import ColBERTConfig

        self._folder = folder / "index"
        config = ColBERTConfig(
            nbits=self._bits,
            nranks=1,
            dim=documents.dim,
            root=str(folder),
            index_root=str(folder),
            kmeans_niters=4,
            index_bsize=1,
            avoid_fork_if_possible=True,
            overwrite=True,
        )
        texts = [documents[i] for i in range(len(documents))]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            Indexer(config=config).index(name="index", collection=texts, overwrite=True)
            self._searcher = Searcher(index="index", config=config, index_root=f"{folder}/", verbose=0)

    def settings(self, k: int) -> list[LateSetting]:  # noqa: ARG002
        steps = [
            {"ncells": cells, "ndocs": 4 * full, "centroid_score_threshold": 0.4} for cells, full in SCALE
        ]
        return [*steps, {"ncells": 8, "ndocs": 16384, "centroid_score_threshold": 0.0}]

    def prepare(self, k: int, setting: LateSetting) -> AskTokens:
        searcher = self._searcher
        threshold = setting["centroid_score_threshold"]
        searcher.configure(
            ncells=int(setting["ncells"]), ndocs=int(setting["ndocs"]), centroid_score_threshold=threshold
        )
        return lambda query: np.array(searcher.search(query, k=k)[0], dtype=np.int64)

    def measure_bytes(self) -> LateBytes:
        size = folder_bytes(self._folder)
        return LateBytes(size, size)

    def close(self) -> None:
        del self._searcher


def engines() -> list[LateEngine]:
    """All that are compared."""
    return [FastPlaid(4), StanfordPlaid(2), StanfordPlaid(4)]
