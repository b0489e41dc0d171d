"""A token is the nearest of many centroids, what is left of it in a few bits a dimension, and a length.

    decoded = (centroid + residual) * inv_norm

ColBERTv2 (Santhanam et al., NAACL 2022, section 3.3). ``inv_norm`` gives the decoded token the length of the
original one: codes of few bits shorten tokens, and the ones far from centroids most. It is float16, which is
what kernels read. A byte on a logarithmic scale gave the same recall (scifact, 32 codes of 4 bits: norms from
0.91 to 1.93, so steps of a third of a percent), but would be a range to train and to leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.building import teller
from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.kernels.arrays import plain
from retrieval.kernels.blocks import over_blocks
from retrieval.kernels.residuals.cpu import inverse_norms
from retrieval.kernels.residuals.reference import Around
from retrieval.quantize.base import Arrays
from retrieval.quantize.residual.base import NoResiduals, ResidualCoder
from retrieval.quantize.residual.buckets import BucketResiduals, TernaryResiduals
from retrieval.quantize.residual.cells import Centroids
from retrieval.quantize.residual.product import ProductResiduals
from retrieval.quantize.residual.tokens import NORM_BYTES, TokenCodes, id_bytes, id_type, join, split
from retrieval.quantize.residual.training import FitProgress, choose_ncentroids, train_centroids
from retrieval.quantize.trained import check_dim
from retrieval.types import FloatArray

__all__ = ["CODERS", "ResidualCodec"]

CODERS: dict[str, type[ResidualCoder]] = {
    BucketResiduals.name: BucketResiduals,
    NoResiduals.name: NoResiduals,
    ProductResiduals.name: ProductResiduals,
    TernaryResiduals.name: TernaryResiduals,
}
BLOCK = 8192
"""Tokens coded at once."""
CODER_ROWS = 1 << 17
"""Residuals that are trained on at most."""


class ResidualCodec:
    """``centroids`` ``(K, d)`` float32 and a coder of residuals, both frozen.

    `encode_tokens` gives arrays as kernels take them. As a codec of stored vectors its rows are
    ``[centroid | inverse norm | code]``: as many bytes as tell centroids apart, 2, and ``nbytes``.
    """

    name: ClassVar[str] = "residual"

    def __init__(self, centroids: Centroids, coder: ResidualCoder) -> None:
        self._centroids, self.coder = centroids, coder

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        n_tokens: int,
        options: Mapping[str, Any],
        seed: int = 0,
        threads: int = 1,
        progress: FitProgress | None = None,
    ) -> Self:
        """Train on tokens ``(n_sample, d)`` float32 for about ``n_tokens``.

        Options are ``codec``: "pq" (default; with ``m``, by default a quarter of d, and ``nbits`` 4 or 8),
        "bits" (``bits`` 1, 2 or 4; ``buckets`` "dimension" or "global"), "ternary" (``buckets``) or "none";
        and ``ncentroids``, by default `training.choose_ncentroids`. The same on any number of threads.

        Raises:
            ConfigError: options that there are not; fewer tokens than centroids or codewords.
            ValueError: NaN or infinity.
        """
        name, k = options.get("codec", ProductResiduals.name), options.get("ncentroids")
        if name not in CODERS:
            raise ConfigError(f"codec={name!r}: codes of tokens are {', '.join(sorted(CODERS))}")
        if not len(sample):
            raise ConfigError("there are no tokens to train on; add documents first")
        k = choose_ncentroids(n_tokens, len(sample)) if k is None else k
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= len(sample):
            raise ConfigError(f"ncentroids={k!r}: choose from 1 to {len(sample)}, the tokens to train on")
        progress = progress or _telling()
        centroids = train_centroids(sample, k, seed, threads, progress)
        rows = np.ascontiguousarray(sample[:: -(-len(sample) // CODER_ROWS)], np.float32)
        residuals = rows - centroids.values[centroids.nearest(rows, threads)]
        coder = CODERS[name].fit(residuals, options, seed, threads)
        progress("codes of residuals", 1, 1)
        return cls(centroids, coder)

    @property
    def dim(self) -> int:
        """Dimensions of a token."""
        return int(self._centroids.values.shape[1])

    @property
    def centroids(self) -> FloatArray:
        """``(K, d)``; those of a cell follow each other."""
        return self._centroids.values

    @property
    def ncentroids(self) -> int:
        """K."""
        return len(self._centroids.values)

    @property
    def nbytes(self) -> int:
        """Bytes of a token's residual code."""
        return self.coder.nbytes

    def encode_tokens(self, values: FloatArray, threads: int = 1) -> TokenCodes:
        """``(n, d)`` float32 to codes, each a function of its token alone.

        Raises:
            ValueError: another dimension; NaN or infinity.
        """
        check_dim(values, self.dim)
        self._centroids.prepare()
        n = len(values)
        tokens = TokenCodes(
            np.empty(n, id_type(self.ncentroids)),
            np.empty((n, self.nbytes), np.uint8),
            np.empty(n, np.float16),
        )

        def work(first: int, last: int) -> None:
            where = slice(first, last)
            made = self._encode(plain(values[where], np.float32))
            tokens.centroids[where], tokens.codes[where], tokens.inv_norms[where] = made

        over_blocks(work, n, BLOCK, threads)
        return tokens

    def decode_tokens(self, tokens: TokenCodes) -> FloatArray:
        """``(n, d)`` float32.

        Raises:
            IndexDamagedError: a centroid that there is not.
            ValueError: codes of another width.
        """
        if tokens.codes.shape != (len(tokens), self.nbytes):
            raise ValueError(
                f"codes are {tokens.codes.shape}: the codec's are ({len(tokens)}, {self.nbytes})"
            )
        if tokens.centroids.max(initial=0) >= self.ncentroids:
            raise IndexDamagedError(
                f"a token has centroid {tokens.centroids.max()} of {self.ncentroids}; "
                "restore the index from a copy"
            )
        return self.coder.decode(tokens.codes, Around(self.centroids, tokens.centroids, tokens.inv_norms))

    def residual_table(self, query: FloatArray) -> FloatArray:
        """``(pieces, 16 or 256, n_q)`` float32 for `kernels.coded_maxsim.coded_maxsim_pq`: inner products of
        ``query`` ``(n_q, d)`` with what each piece of a code means. A piece is a subquantiser, or half a byte
        of a few bits a dimension (`coder.buckets` are for the kernel of those)."""
        check_dim(query, self.dim)
        return self.coder.table(np.ascontiguousarray(query, np.float32))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes."""
        return np.dtype(np.uint8)

    def width(self, dim: int) -> int:  # noqa: ARG002  # what was trained decides
        """Bytes of a row."""
        return id_bytes(self.ncentroids) + NORM_BYTES + self.nbytes

    def encode(self, values: FloatArray) -> NDArray[np.uint8]:
        """``(n, d)`` float32 to rows ``(n, width)``; raises as `encode_tokens`."""
        return self.join(self.encode_tokens(values))

    def decode(self, codes: NDArray[np.uint8]) -> FloatArray:
        """Rows to ``(n, d)`` float32; raises as `split` and `decode_tokens`."""
        return self.decode_tokens(self.split(codes))

    def join(self, tokens: TokenCodes) -> NDArray[np.uint8]:
        """Rows ``(n, width)`` of coded tokens."""
        return join(tokens, self.ncentroids)

    def split(self, rows: NDArray[np.uint8]) -> TokenCodes:
        """The inverse of `join`.

        Raises:
            ValueError: rows of another width.
        """
        check_dim(rows, self.width(self.dim))
        return split(rows, self.ncentroids)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration, centroids with their cells, and what the coder has."""
        config, arrays = self.coder.state()
        made = {"dim": self.dim, "codec": self.coder.name, "residual": config}
        return made, self._centroids.state() | {f"residual/{key}": array for key, array in arrays.items()}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: a coder that this version does not know.
            IndexDamagedError: arrays that are not of such a codec.
        """
        name, dim = config.get("codec"), int(config["dim"])
        if name not in CODERS:
            raise IndexFormatError(f"the index codes residuals as {name!r}, unknown to this version; upgrade")
        own = {
            key.removeprefix("residual/"): array
            for key, array in arrays.items()
            if key.startswith("residual/")
        }
        coder = CODERS[name].from_state(config["residual"], own, dim)
        return cls(Centroids.from_state(arrays, dim), coder)

    def _encode(self, values: FloatArray) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.float16]]:
        chosen = self._centroids.nearest(values)
        codes = self.coder.encode(values - self.centroids[chosen])
        norms = inverse_norms(values, self.centroids, chosen, self.coder.decode(codes))
        return chosen.astype(id_type(self.ncentroids)), codes, norms.astype(np.float16)


def _telling() -> FitProgress:
    """For whom the work is done."""
    tell = teller()
    return lambda what, done, total: tell(f"train: {what}", done / total)
