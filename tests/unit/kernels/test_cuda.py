"""The CUDA kernels: in the simulator against their references, and compiled for real GPUs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval import kernels

ROOT = Path(__file__).parents[3]
MODULES = sorted(path.parent.name for path in Path(kernels.__file__).parent.glob("*/cuda.py"))


def test_kernels_equal_their_references_in_the_simulator() -> None:
    command = [sys.executable, "-m", "pytest", "tests/cuda", "-x"]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def toolkit_missing() -> str | None:
    from numba import cuda

    try:
        cuda.compile_ptx(lambda x: None, (), cc=(9, 0))
    except Exception as error:  # noqa: BLE001
        message = str(error)
        if "nvvm" in message.lower() or "toolkit" in message.lower() or "libdevice" in message.lower():
            return message.splitlines()[0]
    return None


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
@pytest.mark.parametrize("operation", MODULES)
def test_kernels_compile_to_ptx(operation: str, capability: tuple[int, int]) -> None:
    if missing := toolkit_missing():
        pytest.skip(f"no CUDA toolkit: {missing}")
    from numba import cuda

    module = importlib.import_module(f"retrieval.kernels.{operation}.cuda")
    assert module.PTX_SIGNATURES
    for function, signature in module.PTX_SIGNATURES:
        ptx, _ = cuda.compile_ptx(function, signature, cc=capability)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx
