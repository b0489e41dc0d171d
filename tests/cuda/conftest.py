"""CUDA kernels against their references: on a GPU, or in Numba's simulator.

The simulator must be chosen before Numba is imported, so `tests/unit/kernels/test_cuda.py` runs
this folder in a process of its own; in the main run it is skipped.
"""

from __future__ import annotations

import os

import pytest

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SIMULATED:
        return
    for item in items:
        if "tests/cuda/" in item.nodeid:
            item.add_marker(
                pytest.mark.skip(reason="runs in the simulator: see tests/unit/kernels/test_cuda.py")
            )
