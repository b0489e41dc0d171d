"""Texts in batches of similar length and bounded padded size; results in the caller's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["encode_in_batches", "plan_batches"]

T = TypeVar("T")


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Positions of texts, batch by batch, longest first.

    A batch costs its size times its longest text (padding included) and stays within
    ``token_budget``; a text longer than the budget is a batch of its own. The longest come first
    so that memory peaks, or runs out, at the start.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    longest = 0
    for i in order:
        if batches and (len(batches[-1]) + 1) * longest <= token_budget:
            batches[-1].append(i)
        else:
            batches.append([i])
            longest = max(lengths[i], 1)
    return batches


def encode_in_batches(
    texts: Sequence[str],
    lengths: Sequence[int],
    token_budget: int,
    encode: Callable[[list[str]], Sequence[T]],
    progress: Callable[[int], None] | None = None,
) -> list[T]:
    """``encode`` each batch and give one result a text, in the order of ``texts``.

    ``progress`` is called after each batch with its number of texts.
    """
    results: dict[int, T] = {}
    for batch in plan_batches(lengths, token_budget):
        results.update(zip(batch, encode([texts[i] for i in batch]), strict=True))
        if progress is not None:
            progress(len(batch))
    return [results[i] for i in range(len(texts))]
