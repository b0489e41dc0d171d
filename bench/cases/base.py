"""One table of cases for each kernel: the tests check them small, `bench.kernels` times them large."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

__all__ = ["Case", "Limit", "Peer"]

Limit = Literal["int8", "bf16", "fp32", "read", "cache"]
"""What bounds a kernel: multiply-adds of a kind, reading memory, or reading the first-level cache."""

Peer = Callable[..., Callable[[], object]]
"""From the case's arguments to a call that does the same work with another package."""


@dataclass(frozen=True)
class Case:
    """A call of one kernel.

    ``make(rng, scale)`` gives the arguments: scale 1 is the benchmark's size, tests use a few
    thousandths. ``units(args)`` is what the rate counts (``unit``: tokens, vectors, lookups),
    ``work(args)`` operations or bytes against ``limit``. ``exact``: equal to the reference, else
    to within ``tolerance`` times the largest value. ``mark``: the rate to reach on one thread
    (units a second), where one is known.
    """

    operation: str
    function: str
    label: str
    make: Callable[[np.random.Generator, float], tuple[Any, ...]]
    unit: str
    units: Callable[..., float]
    limit: Limit
    work: Callable[..., float]
    exact: bool = True
    tolerance: float = 1e-5
    mark: float | None = None
    peers: Mapping[str, Peer] = field(default_factory=dict)
