"""What a recipe becomes by training, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from numpy.typing import NDArray

from retrieval.index.base import Arrays, Probe
from retrieval.index.pieces import Pieces
from retrieval.quantize import Codec
from retrieval.types import IntArray, Metric, Ragged

__all__ = ["Searcher"]


class Searcher(Protocol):
    """What a recipe becomes by training: frozen in the codec generation, arranged for every segment."""

    @property
    def metric(self) -> Metric:
        """What the documents' vectors are compared by."""

    @property
    def keeps_nothing(self) -> bool:
        """Whether `arrange` gives no arrays, because the stored vectors themselves are searched."""

    @property
    def is_bounded(self) -> bool:
        """Whether the errors of estimates are known for the vectors as they are."""

    @property
    def nlist(self) -> int:
        """Lists or centroids that there are to probe, 1 where there are none."""

    def arrange(self, vectors: Iterable[Ragged], n: int) -> Pieces:
        """What a segment of ``n`` documents keeps; ``vectors`` are its stored ones, decoded, in blocks of
        whole documents.

        Raises:
            ValueError: they are not ``n``, or not of the right dimension.
        """

    def attach(self, arrays: Arrays, offsets: IntArray, rows: NDArray[Any], codec: Codec) -> Probe:
        """The search of one segment, from what `arrange` gave and its stored vectors: ``rows`` are codes
        of ``codec``, of which document ``i`` owns ``offsets[i]:offsets[i + 1]``.

        Raises:
            IndexDamagedError: they do not fit each other.
        """

    def reduce_queries(self, queries: Ragged) -> Ragged:
        """Prepared queries as `Probe.search` takes them."""

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON configuration and trained arrays."""
