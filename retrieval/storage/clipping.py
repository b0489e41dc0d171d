"""How much of what was added lies beyond the range that bytes were calibrated for, and was cut off.

The calibration is of the documents that there were; later ones may reach further. Bytes cannot tell, so it is
counted while vectors become bytes, in the catalog, for one codec generation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from retrieval.quantize import Codec, Int8Codec
from retrieval.storage.settings import Settings
from retrieval.types import FloatArray

__all__ = ["Clipped", "add_clipped", "clipped_of", "clipped_share"]

KEY = "clipped"


@dataclass(frozen=True, slots=True)
class Clipped:
    """Of ``numbers`` that became bytes, how many were ``beyond`` their range."""

    beyond: int = 0
    numbers: int = 0

    def __add__(self, other: Clipped) -> Clipped:
        return Clipped(self.beyond + other.beyond, self.numbers + other.numbers)


def clipped_of(codec: Codec, values: FloatArray) -> Clipped:
    """What becomes of ``(n, d)`` float32; nothing where they do not become calibrated bytes."""
    return Clipped(codec.count_beyond(values), values.size) if isinstance(codec, Int8Codec) else Clipped()


def add_clipped(catalog: Settings, more: Clipped) -> None:
    """Count what was added; inside a transaction."""
    if more.numbers:
        codec = catalog.codec().codec
        sums = _counted(catalog, codec) + more
        catalog.set_meta(KEY, [codec, sums.beyond, sums.numbers])


def clipped_share(catalog: Settings) -> float | None:
    """The share of numbers that were cut off, of all that were added since the calibration; None where
    nothing was."""
    counted = _counted(catalog, catalog.codec().codec)
    return counted.beyond / counted.numbers if counted.numbers else None


def _counted(catalog: Settings, codec: int) -> Clipped:
    """What was counted for this codec generation."""
    rows = catalog.rows("SELECT value FROM meta WHERE key = ?", (KEY,))
    if not rows:
        return Clipped()
    with catalog.decoding("the count of clipped numbers"):
        counted_for, beyond, numbers = json.loads(rows[0][0])
        return Clipped(int(beyond), int(numbers)) if counted_for == codec else Clipped()
