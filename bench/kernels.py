"""How near the hardware's limit is every kernel, and how does it compare with other packages?

    python -m bench.kernels [OPERATION...] [--rounds 7] [--threads 2] [--json OUT]

For each case of `bench.cases`: first the kernel's answer is compared with its reference on small
arguments (a wrong kernel is not timed, and the command fails); then kernel, peers and limit loops
are timed in turns in this one process, on one thread, and the kernel again on several threads at
once. The best of the rounds counts, for everyone.

What a machine with AVX2 and no more would do, a better one can tell:

    RETRIEVAL_SIMD=portable NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= ATEN_CPU_CAPABILITY=avx2 \
        ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell FAISS_OPT_LEVEL=AVX2 \
        NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR" python -m bench.kernels
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numba import config
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from bench import cases
from bench.cases.base import Case, Limit
from bench.limits import Probe, limit_probes
from bench.machine import describe_machine, summarise_machine
from retrieval.kernels import host

__all__ = ["all_cases", "check", "main"]

SMALL = 0.003
THREADED_SECONDS = 0.02
Call = Callable[[], object]


def all_cases(operations: list[str]) -> list[Case]:
    """The cases of the named operations, or of all."""
    modules = [name for _, name, _ in pkgutil.iter_modules(cases.__path__) if name != "base"]
    unknown = [name for name in operations if name not in modules]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r}: there are {', '.join(modules)}")
    found = [importlib.import_module(f"bench.cases.{name}") for name in operations or modules]
    return [case for module in found for case in module.CASES]


def kernel(case: Case, backend: str) -> Callable[..., Any]:
    """The case's function in one backend."""
    module = importlib.import_module(f"retrieval.kernels.{case.operation}.{backend}")
    function: Callable[..., Any] = getattr(module, case.function)
    return function


def check(case: Case, scale: float = SMALL, seed: int = 0) -> str | None:
    """Compare kernel and reference; what differs, or None."""
    args = case.make(np.random.default_rng(seed), scale)
    expected, got = kernel(case, "reference")(*args), kernel(case, "cpu")(*args)
    pairs = zip(expected, got, strict=True) if isinstance(expected, tuple) else [(expected, got)]
    for want, have in ((np.asarray(a), np.asarray(b)) for a, b in pairs):
        if want.shape != have.shape:
            return f"shape {have.shape}, reference {want.shape}"
        integers = want.dtype.kind in "iub"
        if (case.exact and not np.array_equal(want, have)) or (
            integers and not case.exact and want.size and (want != have).mean() > 0.02
        ):
            return f"{int((want != have).sum())} of {want.size} values differ"
        room = case.tolerance * max(float(np.abs(want).max(initial=0)), 1e-30)
        if not case.exact and not integers and not np.allclose(want, have, rtol=0, atol=room):
            return f"differs by {float(np.abs(want - have).max()):g}, allowed {room:g}"
    return None


def path() -> str:
    """Which kernels run here, and what they were compiled for if not for this machine."""
    return host.simd_level() + (f" for {config.CPU_NAME}" if config.CPU_NAME else "")


def best_seconds(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """The best time of each call, taken in turns so that a slow moment hits all of them."""
    seconds = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def peers_of(case: Case, args: tuple[Any, ...], console: Console) -> dict[str, Call]:
    """The peers that are installed; a missing one is named."""
    found = {}
    for name, peer in case.peers.items():
        try:
            found[name] = peer(*args)
        except ImportError as error:
            console.print(f"[dim]{case.operation}: no {name} ({error})[/dim]")
    return found


def measure(
    case: Case, probes: dict[Limit, Probe], rounds: int, threads: int, console: Console
) -> dict[str, Any]:
    """Time one case; a row of the table."""
    args = case.make(np.random.default_rng(0), 1.0)
    function = kernel(case, "cpu")
    probe = {"limit": probes[case.limit][0]} if case.limit in probes else {}
    with threadpool_limits(1):
        peers = peers_of(case, args, console)
        seconds = best_seconds({"ours": lambda: function(*args), **probe, **peers}, rounds)
        repeats = max(1, round(THREADED_SECONDS / seconds["ours"]))
        alone, many = (
            _seconds_at_once(lambda: function(*args), count, repeats, rounds) for count in (1, threads)
        )
    rate = case.units(*args) / seconds["ours"]
    row = {
        "operation": case.operation,
        "function": case.function,
        "case": case.label,
        "unit": case.unit,
        "per_second": rate,
    }
    row["of_mark"] = rate / case.mark if case.mark else None
    row["threads_gain"] = threads * alone / many
    row["limit"] = case.limit
    if probe:
        limit_rate = probes[case.limit][1] / seconds["limit"]
        row["of_limit"] = case.work(*args) / seconds["ours"] / limit_rate
    row["over_peers"] = {name: seconds[name] / seconds["ours"] for name in peers}
    return row


def _seconds_at_once(call: Call, threads: int, repeats: int, rounds: int) -> float:
    """Best time of a call while all threads make it; each makes ``repeats`` in a row, so that
    starting the threads does not count."""

    def work() -> None:
        for _ in range(repeats):
            call()

    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            started = time.perf_counter()
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()
            best = min(best, time.perf_counter() - started)
    return best / repeats


def show(rows: list[dict[str, Any]], machine: dict[str, Any], threads: int, console: Console) -> None:
    """The table."""
    table = Table(title=f"kernels, {machine['kernels']}, one thread; {summarise_machine(machine)}")
    for name in ("function", "case", "rate", "of limit", f"x on {threads} threads", "of mark", "over peers"):
        table.add_column(name)
    for row in rows:
        rate, scale = row["per_second"], ("", 1.0)
        for prefix, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
            if rate >= size:
                scale = (prefix, size)
        peers = ", ".join(f"{name} {ratio:.2f}" for name, ratio in row["over_peers"].items())
        share = f"{row['of_limit']:.0%} {row['limit']}" if "of_limit" in row else "-"
        mark = "-" if row["of_mark"] is None else f"{row['of_mark']:.2f}"
        cells = [
            f"{rate / scale[1]:.1f} {scale[0]}{row['unit']}/s",
            share,
            f"{row['threads_gain']:.2f}",
            mark,
            peers,
        ]
        table.add_row(row["function"], row["case"], *cells)
    console.print(table)


def main(
    operations: Annotated[list[str] | None, typer.Argument(metavar="OPERATION...")] = None,
    rounds: int = 7,
    threads: int = 2,
    json_out: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Check, then time."""
    console = Console(width=160)
    chosen = all_cases(operations or [])
    wrong = {f"{case.function} ({case.label})": told for case in chosen if (told := check(case))}
    if wrong:
        for name, told in wrong.items():
            console.print(f"[red]wrong[/red] {name}: {told}")
        raise typer.Exit(1)
    probes = limit_probes()
    rows = [measure(case, probes, rounds, threads, console) for case in chosen]
    machine = {**describe_machine(), "kernels": path()}
    show(rows, machine, threads, console)
    if json_out is not None:
        json_out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
