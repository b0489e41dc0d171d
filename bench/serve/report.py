"""What the figures say: tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from bench.serve.load import Load, Times
from bench.serve.measure import Flow, Overhead
from bench.serve.peers import Peer
from bench.serve.process import Memory

__all__ = [
    "flow_row",
    "flow_table",
    "memory_table",
    "overhead_row",
    "overhead_table",
    "overload_line",
    "peer_row",
    "peer_rows",
    "peer_table",
    "percentiles",
]

PERCENTS = (50, 95, 99)
MIB = 2**20
GOODPUT, REFUSAL_MS = 0.9, 50.0
"""What is asked of a service at several times its capacity: the share of the peak; how soon it refuses."""


def percentiles(ms: Times) -> dict[str, float | None]:
    """p50, p95 and p99; None where nothing was answered."""
    return {f"p{p}_ms": float(np.percentile(ms, p)) if len(ms) else None for p in PERCENTS}


def overhead_row(one: Overhead) -> dict[str, Any]:
    """The engine, HTTP and the Python client on the same questions; ``added_ms`` is of pairs."""
    engine = np.concatenate(one.engine)
    p50 = float(np.percentile(engine, 50))
    return {
        "form": one.form.name,
        "questions": len(engine),
        "engine": percentiles(engine),
        "http": percentiles(np.concatenate(one.http)),
        "client": percentiles(np.concatenate(one.client)),
        "added_ms": one.added_ms,
        "added_share": one.added_ms / p50,
    }


def flow_row(one: Flow, peak: float | None = None) -> dict[str, Any]:
    """A rate or a number of clients, and what came of it. CPU is that of all answers, refusals too. ``peak``
    is the most that a closed loop got answered."""
    answered = sum(sum(load.statuses.values()) for load in one.loads)
    refused = np.concatenate([load.refused_ms for load in one.loads])
    late = np.concatenate([load.late_ms for load in one.loads])
    server = [each for each in one.server_cpu_s if each is not None]
    return {
        "form": one.form.name,
        "clients": one.clients,
        "rate": one.rate,
        "qps": one.qps,
        "peak_share": None if peak is None else one.qps / peak,
        "qps_of_rounds": [load.qps for load in one.loads],
        **percentiles(one.ms),
        "refused": len(refused),
        "refused_p99_ms": percentiles(refused)["p99_ms"],
        "refused_share": len(refused) / max(answered, 1),
        "failed": one.failed,
        "late_p99_ms": percentiles(late)["p99_ms"],
        "load_cpu": sum(load.cpu_s for load in one.loads) / sum(load.seconds for load in one.loads),
        "server_cpu_ms": 1e3 * sum(server) / max(answered, 1) if server else None,
        "anonymous": one.memory.anonymous,
    }


def overhead_table(rows: Sequence[Mapping[str, Any]], caption: str) -> Table:
    """What the service adds, one question at a time."""
    table = _table("one question at a time, p50 ms: the engine, HTTP, retrieval.client", caption)
    for name in (
        "engine",
        "HTTP",
        "HTTP adds",
        "of the engine",
        "client",
        "HTTP p95",
        "HTTP p99",
        "questions",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        http = row["http"]
        times = [row["engine"]["p50_ms"], http["p50_ms"], row["added_ms"]]
        rest = [row["client"]["p50_ms"], http["p95_ms"], http["p99_ms"]]
        cells = [*map(_ms, times), f"{row['added_share']:.1%}", *map(_ms, rest), f"{row['questions']:,}"]
        table.add_row(row["form"], *cells)
    return table


def flow_table(rows: Sequence[Mapping[str, Any]], title: str, caption: str) -> Table:
    """Loads: how many were answered, and when; the server's anonymous memory after the last round."""
    table = _table(title, caption)
    names = [
        "load",
        "QPS",
        "of the peak",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "503",
        "503 p99 ms",
        "failed",
        "sent late p99 ms",
    ]
    for name in [*names, "server CPU ms", "load's CPU", "MiB after"]:
        table.add_column(name, justify="right")
    for row in rows:
        load = f"{row['clients']} clients" if row["rate"] is None else f"{row['rate']:,.0f}/s"
        share = "-" if row["peak_share"] is None else f"{row['peak_share']:.0%}"
        cells = [load, f"{row['qps']:,.1f}", share, *(_ms(row[f"p{p}_ms"]) for p in PERCENTS)]
        cells += [f"{row['refused_share']:.1%}", _ms(row["refused_p99_ms"]), f"{row['failed']}"]
        cells += [_ms(row["late_p99_ms"]), _ms(row["server_cpu_ms"]), f"{row['load_cpu']:.1%}"]
        cells.append(_mib(row["anonymous"]))
        table.add_row(row["form"], *cells)
    return table


def overload_line(rows: Sequence[Mapping[str, Any]]) -> str:
    """How the service bears more than it can do, against what it is meant to."""
    told = []
    for row in rows:
        if row["peak_share"] is not None and row["refused"]:
            good, late = row["peak_share"], row["refused_p99_ms"]
            marks = ["missed" if missed else "held" for missed in (good < GOODPUT, late > REFUSAL_MS)]
            told.append(
                f"{row['form']}, {row['rate']:,.0f}/s: {good:.0%} of the peak answered "
                f"(at least {GOODPUT:.0%}: {marks[0]}), 503 within {late:.0f} ms at p99 "
                f"(at most {REFUSAL_MS:.0f}: {marks[1]}), "
                f"the load took {row['load_cpu']:.0%} of a processor"
            )
    return "\n".join(told) or "nothing was refused"


def memory_table(found: Mapping[str, Memory], caption: str) -> Table:
    """Processes of servers."""
    table = _table("memory of the server's process, MiB", caption)
    for name in ("resident", "of that anonymous"):
        table.add_column(name, justify="right")
    for name, memory in found.items():
        table.add_row(name, _mib(memory.rss), _mib(memory.anonymous))
    return table


def peer_row(
    name: str,
    how: str,
    recall: float,
    flows: Mapping[int, Sequence[Load]],
    memory: Memory,
    build: float | None,
) -> dict[str, Any]:
    """An engine; ``flows`` are its loads by how many ask at once."""
    return {
        "name": name,
        "how": how,
        "recall": recall,
        **percentiles(np.concatenate([load.ms for load in flows[min(flows)]])),
        "qps": {str(n): float(np.median([load.qps for load in loads])) for n, loads in flows.items()},
        "failed": sum(load.failed for loads in flows.values() for load in loads),
        "rss": memory.rss,
        "anonymous": memory.anonymous,
        "build_s": build,
    }


def peer_rows(peers: Sequence[Peer]) -> list[dict[str, Any]]:
    """Those that were timed."""
    how = {True: "HTTP", False: "in process"}
    return [
        peer_row(
            f"{one.name} {one.version}", how[one.is_http], one.recall, one.loads, one.memory, one.build_s
        )
        for one in peers
    ]


def peer_table(rows: Sequence[Mapping[str, Any]], k: int, caption: str) -> Table:
    """Ours and what a user would otherwise run."""
    table = _table(f"vector queries, k = {k}, the same vectors, cosine; in turns", caption)
    counts = list(rows[0]["qps"])
    names = ["asked", f"recall@{k}", "p50 ms", "p95 ms", "p99 ms", *(f"QPS, {n} at once" for n in counts)]
    for name in [*names, "resident MiB", "anonymous MiB", "build s"]:
        table.add_column(name, justify="right")
    for row in rows:
        cells = [row["how"], f"{row['recall']:.3f}", *(_ms(row[f"p{p}_ms"]) for p in PERCENTS)]
        cells += [f"{row['qps'][n]:,.1f}" for n in counts]
        cells += [_mib(row["rss"]), _mib(row["anonymous"])]
        table.add_row(row["name"], *cells, "-" if row["build_s"] is None else f"{row['build_s']:.1f}")
    return table


def _table(title: str, caption: str) -> Table:
    table = Table(title=title, caption=caption)
    table.add_column("")
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _mib(value: int | None) -> str:
    return "-" if value is None else f"{value / MIB:,.0f}"
