"""Documents in blocks of one size, whatever sizes they come in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from retrieval.index.base import Block
from retrieval.kernels.arrays import plain

__all__ = ["in_blocks"]


def in_blocks(blocks: Iterator[Block], size: int, n: int, dim: int) -> Iterator[tuple[int, Block]]:
    """The same documents, ``size`` at a time, with the ordinal of the first of them.

    Last bits of what is computed for a vector may depend on how many are computed together; so that what a
    segment stores depends on its vectors alone, they are cut here and not where they come from.

    Raises:
        ValueError: not ``n`` documents of ``dim`` dimensions, or biases in some blocks only.
    """
    waiting: list[Block] = []
    first = held = 0
    has_biases: bool | None = None
    for block in blocks:
        if block.values.ndim != 2 or block.values.shape[1] != dim:
            raise ValueError(f"a block is {block.values.shape}: the index has {dim} dimensions")
        if len(block.values) == 0:
            continue
        if has_biases not in (None, block.biases is not None):
            raise ValueError("some blocks have biases and some have none")
        has_biases = block.biases is not None
        waiting.append(block)
        held += len(block.values)
        while held >= size:
            whole, waiting = _cut(waiting, size)
            yield first, whole
            first, held = first + size, held - size
    if first + held != n:
        raise ValueError(f"the blocks hold {first + held} documents: there must be {n}")
    if held:
        yield first, _cut(waiting, held)[0]


def _cut(waiting: list[Block], size: int) -> tuple[Block, list[Block]]:
    """The first ``size`` documents as one block, and the rest."""
    values = waiting[0].values if len(waiting) == 1 else np.concatenate([block.values for block in waiting])
    own = [block.biases for block in waiting if block.biases is not None]
    biases = np.concatenate(own) if own else None
    head = Block(
        plain(values[:size], np.float32), None if biases is None else plain(biases[:size], np.float32)
    )
    if len(values) == size:
        return head, []
    return head, [Block(values[size:], None if biases is None else biases[size:])]
