"""How many threads the numeric libraries use."""

from __future__ import annotations

import os

__all__ = ["limit_threads"]

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads(threads: int | None) -> None:
    """Limit the libraries loaded already, and those to come: torch reads the variables when it loads."""
    if threads is None:
        return
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    os.environ.update(dict.fromkeys(_VARIABLES, str(threads)))
    threadpool_limits(limits=threads)
