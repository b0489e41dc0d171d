"""What the figures say: tables, plots, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.late.data import LateData
from bench.late.measure import Built, Point
from bench.peers.late import LATE_PACKAGES

__all__ = ["build_table", "file_stem", "plot", "point_table", "to_json"]

OURS = "ours "


def build_table(built: Sequence[Built], data: LateData, caption: str) -> Table:
    """Bytes a token, and what building cost."""
    table = Table(title=f"{data.name}: builds, bytes a token", caption=caption)
    table.add_column("engine")
    memory = "anonymous MiB at most", "with mapped files"
    for name in ("resident", "on disk", "build CPU s", "build wall s", *memory):
        table.add_column(name, justify="right")
    count = data.documents.count
    for one in built:
        numbers = [f"{size / count:,.1f}" for size in (one.bytes.resident, one.bytes.disk)]
        numbers += [f"{one.cost.cpu_s:.1f}", f"{one.cost.wall_s:.1f}"]
        peaks = one.cost.anonymous, one.cost.peak
        numbers += ["-" if peak is None else f"{peak / 2**20:,.0f}" for peak in peaks]
        table.add_row(one.engine.name, *numbers)
    return table


def point_table(points: Sequence[Point], data: LateData, encoding: float | None, caption: str) -> Table:
    """Every setting that was timed."""
    told = "" if encoding is None else f"; encoding a query takes {encoding:.1f} ms more"
    k = max((point.k for point in points), default=0)
    table = Table(title=f"{data.name}, k = {k}, one thread unless said{told}", caption=caption)
    table.add_column("engine")
    table.add_column("setting")
    cutoffs = sorted({cutoff for point in points for cutoff in point.recalls})
    threads = sorted({n for point in points for n in point.qps})
    names = [f"recall@{cutoff}" for cutoff in cutoffs] + ["nDCG@10", "p50 ms", "p95 ms", "p99 ms", "CPU ms"]
    for name in [*names, *(f"QPS, {n} thread{'s' * (n > 1)}" for n in threads)]:
        table.add_column(name, justify="right")
    for point in points:
        if 1 not in point.qps:
            continue
        setting = " ".join(f"{name}={value:g}" for name, value in point.setting.items()) or "-"
        cells = [f"{point.recalls[cutoff]:.3f}" for cutoff in cutoffs]
        cells.append("-" if point.ndcg is None else f"{point.ndcg:.4f}")
        times = (point.p50_ms, point.p95_ms, point.p99_ms, point.cpu_ms[1])
        cells += [f"{value:.2f}" if value is not None else "-" for value in times]
        cells += [f"{point.qps[n]:,.1f}" if n in point.qps else "-" for n in threads]
        table.add_row(point.engine, setting, *cells)
    return table


def to_json(
    data: LateData,
    built: Sequence[Built],
    points: Sequence[Point],
    machine: dict[str, Any],
    skipped: list[str],
    encoding: float | None,
) -> dict[str, Any]:
    """Every figure."""
    return {
        "machine": machine,
        "packages": {name: found for name in LATE_PACKAGES if (found := _version(name)) is not None},
        "data": {
            "name": data.name,
            "about": data.about,
            "documents": len(data.documents),
            "tokens": data.documents.count,
            "dim": data.documents.dim,
            "queries": len(data.queries),
            "query_tokens": data.queries.count,
            "judged": bool(data.qrels),
        },
        "encode_ms": encoding,
        "skipped": skipped,
        "engines": [{"name": one.engine.name, "bytes": vars(one.bytes), **vars(one.cost)} for one in built],
        "points": [{**vars(point), "setting": dict(point.setting)} for point in points],
    }


def file_stem(data: LateData) -> str:
    """The data's name for files."""
    return data.name.replace(":", "-").replace(" ", "-")


def plot(built: Sequence[Built], points: Sequence[Point], data: LateData, folder: Path) -> list[Path]:
    """Queries a second and resident bytes against recall; a PNG for each cutoff.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    paths = []
    for cutoff in sorted({cutoff for point in points for cutoff in point.recalls}):
        figure, axes = pyplot.subplots(1, 2, figsize=(18, 8))
        for i, one in enumerate(built):
            mine = [point for point in points if point.engine == one.engine.name and 1 in point.qps]
            _draw(axes, one, sorted(mine, key=lambda p: p.recalls[cutoff]), cutoff, i, data.documents.count)
        for axis, name in zip(axes, ("queries a second, one thread", "resident bytes a token"), strict=True):
            axis.set_xlabel(f"recall@{cutoff} of exact MaxSim")
            axis.set_ylabel(name)
            axis.set_yscale("log")
            axis.grid(True, which="both", alpha=0.3)
        figure.suptitle(f"{data.name}, {len(data.documents):,} documents, {data.documents.count:,} tokens")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=4, fontsize=9)
        figure.tight_layout(rect=(0, 0.03 + 0.025 * -(-len(built) // 4), 1, 1))
        path = folder / f"{file_stem(data)}-recall{cutoff}.png"
        figure.savefig(path, dpi=90)
        pyplot.close(figure)
        paths.append(path)
    return paths


def _draw(axes: Any, one: Built, mine: Sequence[Point], cutoff: int, i: int, count: int) -> None:
    """One engine in both plots."""
    is_ours = one.engine.name.startswith(OURS)
    style = {
        "color": f"C{i % 10}",
        "linestyle": "-" if is_ours else "--",
        "linewidth": 2.5 if is_ours else 1.0,
        "marker": "*" if is_ours else "os^vDPX"[i // 10 % 7],
    }
    recalls = [point.recalls[cutoff] for point in mine]
    axes[0].plot(recalls, [point.qps[1] for point in mine], label=one.engine.name, **style)
    axes[1].plot(recalls, [one.bytes.resident / count] * len(mine), **style)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
