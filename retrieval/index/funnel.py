"""Funnel search: longer and longer prefixes of the stored vectors, for fewer and fewer documents.

Nothing is trained and nothing is stored: models trained with Matryoshka losses (Kusupati et al., Matryoshka
Representation Learning, NeurIPS 2022, section 4.3.1) put most of a vector into its first dimensions, so the
same bytes serve every stage. A stage's estimate is the prefix's part of the inner product.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.index.base import Arrays, Block, Effort, Found
from retrieval.index.best import best_of, nothing
from retrieval.index.blocks import in_blocks
from retrieval.index.checking import check_keys, take
from retrieval.kernels.arrays import plain
from retrieval.kernels.rescore.cpu import rescore
from retrieval.quantize.base import Codec
from retrieval.quantize.int8 import Int8Codec
from retrieval.types import FloatArray, IntArray

__all__ = ["FunnelIndex"]

NARROWING = 4
"""How many times fewer documents the next stage sees."""
ROWS = 8192


class FunnelIndex:
    """Prefix lengths ``prefixes``, ascending, of vectors of ``dim``.

    Raises:
        ConfigError: prefixes that do not grow from 1 to ``dim`` at most.
    """

    name: ClassVar[str] = "funnel"

    def __init__(self, dim: int, prefixes: tuple[int, ...]) -> None:
        ascending = all(a < b for a, b in itertools.pairwise(prefixes))
        if not prefixes or not ascending or prefixes[0] < 1 or prefixes[-1] > dim:
            raise ConfigError(
                f"funnel is {list(prefixes)}: prefixes must grow, from 1 to the dimension, {dim}"
            )
        self.dim, self.prefixes = dim, prefixes

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        n: int,  # noqa: ARG003
        options: Mapping[str, Any],
        seed: int = 0,  # noqa: ARG003
        threads: int = 1,  # noqa: ARG003
    ) -> Self:
        """Nothing is trained; without the option ``funnel`` the prefixes are a quarter and a half.

        Raises:
            ConfigError: unusable prefixes, or a reducer: the funnel reads vectors as they are stored.
        """
        if options.get("reduce", "none") != "none":
            raise ConfigError(
                f"reduce is {options['reduce']!r}: the funnel reads the stored vectors themselves; use none"
            )
        dim = sample.shape[1]
        defaults = sorted({max(1, dim // 4), max(1, dim // 2)})
        return cls(dim, tuple(options.get("funnel") or defaults))

    def arrange(self, blocks: Iterator[Block], n: int, threads: int = 1) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        """Nothing; with biases those of each stage, ``(n_stages, n)``.

        A document's bias and half the squared length of what lies beyond the prefix: for l2, minus half
        the prefix's own squared length.
        """
        biases = np.empty((len(self.prefixes), n), np.float32)
        has_biases = False
        for first, block in in_blocks(blocks, ROWS, n, self.dim):
            if block.biases is not None:
                has_biases = True
                for stage, prefix in enumerate(self.prefixes):
                    rest = block.values[:, prefix:]
                    beyond = np.einsum("nd,nd->n", rest, rest, dtype=np.float64) / 2
                    biases[stage, first : first + len(rest)] = block.biases + beyond
        return {"biases": biases} if has_biases else {}

    def attach(self, arrays: Arrays, n: int, rows: NDArray[Any], stored: Codec) -> FunnelSearch:
        """See `VectorIndex.attach`."""
        if rows.shape != (n, self.dim):
            raise IndexDamagedError(
                f"the stored vectors are {rows.shape} instead of {(n, self.dim)}; run verify"
            )
        shape = (len(self.prefixes), n)
        biases = take(arrays, "biases", np.float32, shape) if "biases" in arrays else None
        return FunnelSearch(self.prefixes, biases, rows, stored)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration and (no) arrays."""
        return {"dim": self.dim, "prefixes": list(self.prefixes)}, {}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:  # noqa: ARG003
        """The inverse of `state`.

        Raises:
            IndexFormatError: a configuration that this version does not know.
        """
        check_keys(config, {"dim", "prefixes"}, "funnel")
        try:
            return cls(int(config["dim"]), tuple(int(prefix) for prefix in config["prefixes"]))
        except (ConfigError, TypeError, ValueError) as error:
            raise IndexFormatError(f"the funnel of the index is unusable: {error}") from None


class FunnelSearch:
    """The funnel over one segment's stored vectors ``rows`` ``(n, d)``, codes of ``stored``."""

    def __init__(
        self, prefixes: tuple[int, ...], biases: FloatArray | None, rows: NDArray[Any], stored: Codec
    ) -> None:
        self._prefixes, self._biases, self._rows, self._stored = prefixes, biases, rows, stored

    def search(
        self, queries: FloatArray, effort: Effort, accept: NDArray[np.bool_] | None = None
    ) -> list[Found]:
        """See `SegmentSearch.search`."""
        ordinals = None if accept is None or accept.all() else np.flatnonzero(accept)
        if len(self._rows) == 0 or (ordinals is not None and len(ordinals) == 0):
            return [nothing() for _ in queries]
        return [self._narrow(query, effort.depth, ordinals) for query in plain(queries, np.float32)]

    def _narrow(self, query: FloatArray, depth: int, ordinals: IntArray | None) -> Found:
        found, scanned = nothing(), 0
        for stage in range(len(self._prefixes)):
            keep = depth * NARROWING ** (len(self._prefixes) - 1 - stage)
            estimates = self._score(query, stage, ordinals)
            scanned += len(estimates)
            found = best_of(
                estimates, np.arange(len(self._rows)) if ordinals is None else ordinals, keep, scanned
            )
            ordinals = np.sort(found.ordinals)
        return found

    def _score(self, query: FloatArray, stage: int, ordinals: IntArray | None) -> FloatArray:
        """Estimates ``(m,)`` by one prefix, of all documents or of some."""
        prefix = self._prefixes[stage]
        part, constant = np.zeros_like(query[None]), np.float32(0)
        part[0, :prefix] = query[:prefix]
        if isinstance(self._stored, Int8Codec):
            part, constants = self._stored.fold(part)
            constant = constants[0]
        listed = None if ordinals is None else ordinals[None]
        scores, _ = rescore(plain(part[:, :prefix]), self._rows[:, :prefix], listed)
        estimates: FloatArray = scores[0] + constant
        if self._biases is None:
            return estimates
        biases = self._biases[stage]
        estimates += biases if ordinals is None else biases[ordinals]
        return estimates
