"""Documents in whole groups of whole vectors, for kernels that know nothing else."""

from __future__ import annotations

import numpy as np

from retrieval.kernels.asymmetric.query import Documents, frozen
from retrieval.types import FloatArray

__all__ = ["GROUP", "QUAD", "GroupScorer"]

GROUP = 32
"""Documents that a kernel takes at once, at most."""
QUAD = 16
"""Bytes of a row that are read at once."""


class GroupScorer:
    """Scores whole groups in place, and a padded copy of what is left at the end of the array."""

    def __init__(self, quads: int) -> None:
        self._quads = quads

    def run(self, documents: Documents, n: int, out: FloatArray) -> None:
        """Score the first ``n`` documents, whole groups, into ``out[:, :n]``."""
        raise NotImplementedError

    def score(self, documents: Documents, first: int, last: int, out: FloatArray) -> None:
        """Scores of documents ``first`` to ``last`` into ``out[:, : last - first]``."""
        n, nbytes = documents.codes.shape
        over = -(-(self._quads * QUAD - nbytes) // nbytes)  # rows that the last one's vectors reach into
        whole = max(0, min(last, n - over) - first) // GROUP * GROUP
        self.run(documents.rows(first), whole, out)
        if whole < last - first:
            rest = self._pad(documents.rows(first + whole, last))
            scores = np.empty((len(out), len(rest.scales)), np.float32)
            self.run(rest, len(rest.scales), scores)
            out[:, whole : last - first] = scores[:, : last - first - whole]

    def _pad(self, documents: Documents) -> Documents:
        """Whole groups of rows, and rows of whole vectors."""
        rows, bytes_ = -len(documents.codes) % GROUP, self._quads * QUAD - documents.codes.shape[1]
        codes = np.pad(documents.codes, ((0, rows), (0, bytes_)))
        scales, offsets = np.pad(documents.scales, (0, rows)), np.pad(documents.offsets, (0, rows))
        return Documents(frozen(codes), frozen(scales), frozen(offsets))
