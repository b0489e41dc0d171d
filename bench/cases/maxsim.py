"""MaxSim of one query: 32 query tokens of 128 dimensions against 100,000 document tokens, and odd shapes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from bench.cases.base import Case, Limit, Peer
from retrieval.kernels.maxsim.reference import from_bf16, to_bf16

__all__ = ["CASES"]

Kind = Literal["float32", "float16", "bf16", "i8"]
Arguments = tuple[Any, ...]

N_TOKENS = 100_000
BLOCK_TOKENS = 8192
"""What the peers multiply at once, so that products stay in cache; ours needs no such blocks."""
FUNCTIONS: dict[Kind, str] = {
    "float32": "maxsim",
    "float16": "maxsim",
    "bf16": "maxsim_bf16",
    "i8": "maxsim_i8",
}
LIMITS: dict[Kind, Limit] = {"float32": "fp32", "float16": "fp32", "bf16": "bf16", "i8": "int8"}
MARKS: dict[Kind, float] = {"float32": 7e6, "float16": 12e6, "bf16": 24.8e6, "i8": 54e6}


def _make(
    kind: Kind, n_q: int, d: int, length: int | tuple[int, int], chosen: float | None = None
) -> Callable[[np.random.Generator, float], Arguments]:
    """Documents of ``length`` tokens (or between two lengths); ``chosen``: that share, scattered."""

    def make(rng: np.random.Generator, scale: float) -> Arguments:
        low, high = (length, length) if isinstance(length, int) else length
        n = max(int(N_TOKENS * scale) // max((low + high) // 2, 1), 3)
        lengths = rng.integers(low, high, n, endpoint=True)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        ordinals = () if chosen is None else (rng.permutation(n)[: max(int(chosen * n), 1)],)
        return *_vectors(kind, rng, (n_q, d), (int(offsets[-1]), d)), offsets, *ordinals

    return make


def _vectors(
    kind: Kind, rng: np.random.Generator, query: tuple[int, int], values: tuple[int, int]
) -> tuple[Any, Any]:
    if kind == "i8":
        return rng.integers(-128, 128, query, dtype=np.int8), rng.integers(0, 256, values, dtype=np.uint8)
    floats = [rng.standard_normal(shape, dtype=np.float32) for shape in (query, values)]
    store = {"float32": np.float32, "float16": np.float16}.get(kind)
    return floats[0], to_bf16(floats[1]) if store is None else floats[1].astype(store)


def _n_tokens(_query: Any, _values: Any, offsets: Any, ordinals: Any = None) -> float:
    lengths = np.diff(offsets)
    return float(lengths.sum() if ordinals is None else lengths[ordinals].sum())


def _operations(query: Any, *documents: Any) -> float:
    return 2.0 * query.size * _n_tokens(query, *documents)


def _rows(offsets: Any, ordinals: Any) -> tuple[Any, Any]:
    """Which tokens, and where each document ends among them."""
    if ordinals is None:
        return slice(None), offsets
    lengths = np.diff(offsets)[ordinals]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return np.repeat(offsets[ordinals] - ends[:-1], lengths) + np.arange(ends[-1]), ends


def _by_blocks(
    multiply: Callable[[Any], Any], values: Any, offsets: Any, ordinals: Any
) -> Callable[[], object]:
    """Products of a block of whole documents, then each document's maxima, then their sum."""
    chosen, ends = _rows(offsets, ordinals)
    cuts = np.unique(
        np.searchsorted(ends, np.arange(0, ends[-1] + BLOCK_TOKENS, BLOCK_TOKENS)).clip(max=len(ends) - 1)
    )

    def score() -> object:
        found = values[chosen]
        parts = []
        for first, last in pairwise(cuts):
            products = multiply(found[ends[first] : ends[last]])
            parts.append(np.maximum.reduceat(products, ends[first:last] - ends[first], axis=1).sum(0))
        return parts

    return score


def _numpy(query: Any, values: Any, offsets: Any, ordinals: Any = None) -> Callable[[], object]:
    return _by_blocks(lambda block: query @ block.T.astype(np.float32, copy=False), values, offsets, ordinals)


def _torch(query: Any, values: Any, offsets: Any, ordinals: Any = None) -> Callable[[], object]:
    import torch

    if query.dtype == np.int8:
        tokens, wanted = (
            torch.from_numpy((values.astype(np.int16) - 128).astype(np.int8)),
            torch.from_numpy(query),
        )
        return _by_blocks(lambda block: torch._int_mm(block, wanted.T).T.numpy(), tokens, offsets, ordinals)
    tokens = torch.from_numpy(from_bf16(values) if values.dtype == np.uint16 else values)
    tokens = tokens.bfloat16() if values.dtype == np.uint16 else tokens
    wanted = torch.from_numpy(query).to(tokens.dtype)
    return _by_blocks(lambda block: (wanted @ block.T).float().numpy(), tokens, offsets, ordinals)


def _maxsim_cpu(query: Any, values: Any, offsets: Any, ordinals: Any = None) -> Callable[[], object]:
    import maxsim_cpu

    chosen = range(len(offsets) - 1) if ordinals is None else ordinals
    documents = [np.ascontiguousarray(values[offsets[i] : offsets[i + 1]], dtype=np.float32) for i in chosen]
    return lambda: maxsim_cpu.maxsim_scores_variable(query, documents)


def _peers(kind: Kind) -> dict[str, Peer]:
    if kind in ("bf16", "i8"):
        return {"torch": _torch}
    return {"numpy": _numpy, "torch": _torch, "maxsim-cpu": _maxsim_cpu}


def _case(
    kind: Kind, label: str, n_q: int, d: int, length: int | tuple[int, int], chosen: float | None = None
) -> Case:
    return Case(
        operation="maxsim",
        function=FUNCTIONS[kind],
        label=f"{kind}, {label}",
        make=_make(kind, n_q, d, length, chosen),
        unit="tokens",
        units=_n_tokens,
        limit=LIMITS[kind],
        work=_operations,
        exact=kind == "i8",
        mark=MARKS[kind] if label == "32 x 128" else None,
        # Peers cut documents with reduceat, which takes none that is empty.
        peers=_peers(kind) if (length if isinstance(length, int) else length[0]) else {},
    )


CASES: list[Case] = [
    case
    for kind in FUNCTIONS
    for case in (
        _case(kind, "32 x 128", 32, 128, 128),
        _case(kind, "32 x 128, ragged, scattered", 32, 128, (1, 180), chosen=0.2),
        _case(kind, "48 x 96, with empty documents", 48, 96, (0, 24)),
        _case(kind, "1 x 384, one token a document", 1, 384, 1),
        _case(kind, "17 x 37, short", 17, 37, (0, 9)),
    )
]
