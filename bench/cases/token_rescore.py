"""Cases of rescoring documents of many tokens: a hundred and ten of 176 tokens, and odd shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Limit, Peer
from retrieval.kernels.token_rescore.prepared import decode, prepare_tokens

__all__ = ["CASES"]

Arguments = tuple[Any, ...]
N_DOCUMENTS, DEPTH = 2000, 110


def _make(
    dtype: str, n_q: int, d: int, length: int | tuple[int, int], *rest: Any
) -> Callable[[np.random.Generator, float], Arguments]:
    """Unit vectors about a common direction, as models make them; ``rest``: more arguments."""

    def make(rng: np.random.Generator, scale: float) -> Arguments:
        least, most = (length, length) if isinstance(length, int) else length
        n, cut = max(int(N_DOCUMENTS * scale), 4), max(int(most * 1000 * scale), 3)  # tests: shorter ones
        least, most = min(least, cut), min(most, cut)
        offsets = np.concatenate([[0], np.cumsum(rng.integers(least, most, n, endpoint=True))])
        values = rng.standard_normal((int(offsets[-1]) + n_q, d), dtype=np.float32) + np.float32(0.4)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        query, values = values[:n_q], values[n_q:]
        ordinals = rng.permutation(n)[:DEPTH]
        if dtype != "uint8":
            return query, prepare_tokens(values.astype(dtype), offsets, max_norm=1.01), ordinals, *rest
        low = values.min(axis=0, initial=0)
        span = values.max(axis=0, initial=0) - low
        codes = np.clip((values - low) / span * 255, 0, 255).astype(np.uint8)
        return query, prepare_tokens(codes, offsets, span, low, 1.01), ordinals, *rest

    return make


def _n_tokens(_query: Any, tokens: Any, ordinals: Any, *_: Any) -> float:
    return float(np.diff(tokens.offsets)[ordinals].sum())


def _operations(query: Any, *documents: Any) -> float:
    return 2.0 * query.size * _n_tokens(query, *documents)


def _numpy(query: Any, tokens: Any, ordinals: Any, *_: Any) -> Callable[[], object]:
    """What gathering, decoding and multiplying in float64 costs."""
    runs = [tokens.codes[tokens.offsets[i] : tokens.offsets[i + 1]] for i in ordinals]
    starts = np.cumsum([0, *(len(run) for run in runs[:-1])])
    wide = query.astype(np.float64)

    def score() -> object:
        products = wide @ decode(tokens, np.concatenate(runs)).astype(np.float64).T
        return np.maximum.reduceat(products, starts, axis=1).sum(axis=0)

    return score


def _case(
    function: str,
    label: str,
    make: Callable[[np.random.Generator, float], Arguments],
    limit: Limit,
    peers: dict[str, Peer] | None = None,
    mark: float | None = None,
) -> Case:
    return Case(
        "token_rescore",
        function,
        label,
        make,
        "tokens",
        _n_tokens,
        limit,
        _operations,
        exact=False,
        tolerance=1e-6 if function == "maxsim_exactly" else 1e-5,
        mark=mark,
        peers=peers or {},
    )


LIMITS: dict[str, Limit] = {"uint8": "int8", "float16": "fp32", "float32": "fp32"}
MARKS = {"uint8": 176 * DEPTH / 0.4e-3, "float16": 176 * DEPTH / 1.2e-3}

CASES: list[Case] = [
    case
    for dtype, limit in LIMITS.items()
    for case in (
        _case(
            "maxsim_exactly",
            f"{dtype}, 32 x 128",
            _make(dtype, 32, 128, 176),
            limit,
            {"numpy": _numpy},
            MARKS.get(dtype),
        ),
        _case("maxsim_exactly", f"{dtype}, 20 x 384", _make(dtype, 20, 384, 176), limit, {"numpy": _numpy}),
        _case("maxsim_exactly", f"{dtype}, 37 x 45, short", _make(dtype, 37, 45, (0, 19)), limit),
        _case("maxsim_exactly", f"{dtype}, 3 x 7, short", _make(dtype, 3, 7, (0, 3)), limit),
        _case("maxsim_stored", f"{dtype}, 32 x 128", _make(dtype, 32, 128, 176), limit),
        _case("maxsim_stored", f"{dtype}, 17 x 45, short", _make(dtype, 17, 45, (0, 19)), limit),
        _case("best_exactly", f"{dtype}, 32 x 128", _make(dtype, 32, 128, 176, 10, 0.01), limit),
    )
]
