"""The machine a figure was measured on; no figure goes without it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from retrieval.evaluate.harness import thread_count

__all__ = ["describe_machine", "summarise_machine"]

LIBRARIES = (
    "retrieval-engine",
    "numpy",
    "numba",
    "pyarrow",
    "torch",
    "transformers",
    "sentence-transformers",
    "ir-measures",
    "pytrec-eval-terrier",
)


def describe_machine() -> dict[str, Any]:
    """CPU, memory, system, Python, libraries and threads, as JSON values.

    ``threads`` is what arithmetic may use (torch's setting once it is loaded), ``cpus`` what the
    process may run on; None stands for what this system does not tell.
    """
    return {
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "ram_gib": _ram_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name)) is not None},
        "threads": thread_count(),
        "blas_threads": _blas_threads(),
    }


def summarise_machine(machine: dict[str, Any]) -> str:
    """One line for a table's caption."""
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['ram_gib']} GiB, "
        f"Python {machine['python']}, {machine['threads']} threads"
    )


def _cpu_model() -> str:
    """As the system names it; /proc/cpuinfo on Linux, whose ``platform.processor()`` is empty."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _ram_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _blas_threads() -> dict[str, int] | None:
    """Threads of each loaded pool (OpenBLAS, MKL, OpenMP); scikit-learn brings threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info  # type: ignore[import-untyped]
    except ImportError:
        return None
    return {str(pool["prefix"]): int(pool["num_threads"]) for pool in threadpool_info()}
