"""The table of cases that the benchmark times: every kernel equals its reference, on every path."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.cases.base import Case
from bench.kernels import all_cases, check
from retrieval.kernels import host
from retrieval.kernels.backend import OPERATIONS, kernel

ROOT = Path(__file__).parents[3]
CASES = all_cases([])
PORTABLE = {"RETRIEVAL_SIMD": "portable"}
if host.has("avx2"):
    # As a machine without AVX-512 compiles it: the name alone would leave this machine's features on.
    PORTABLE |= {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.function} {case.label}")
def test_kernel_equals_reference(case: Case) -> None:
    assert check(case, scale=0.002, seed=1) is None
    assert check(case, scale=0.0004, seed=2) is None


@pytest.mark.parametrize("environment", [PORTABLE, {"NUMBA_DISABLE_JIT": "1"}], ids=["AVX2", "not compiled"])
def test_other_paths_give_the_same(environment: dict[str, str]) -> None:
    """In a process of its own, because the path is chosen once."""
    code = (
        "from bench.kernels import all_cases, check\n"
        "wrong = [(c.function, c.label, told) for c in all_cases([]) if (told := check(c, scale=0.0001))]\n"
        "assert not wrong, wrong\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_implementations_have_the_same_names_and_arguments(operation: str) -> None:
    backends = [b for b in ("reference", "cpu", "cuda") if find_spec(f"retrieval.kernels.{operation}.{b}")]
    assert {"reference", "cpu"} <= set(backends)
    for function in OPERATIONS[operation]:
        modules = [import_module(f"retrieval.kernels.{operation}.{backend}") for backend in backends]
        found = [getattr(module, function) for module in modules if hasattr(module, function)]
        arguments = {tuple(inspect.signature(each).parameters) for each in found}
        assert len(found) >= 2 and len(arguments) == 1, f"{function}: {arguments}"


def test_every_operation_has_cases() -> None:
    assert {case.operation for case in CASES} == set(OPERATIONS)


def test_what_has_no_cuda_form_runs_on_the_processor() -> None:
    assert kernel("gather", "cuda") is kernel("gather", "cpu")
