"""What the figures say: tables, plots, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.ann.data import Data
from bench.ann.measure import Built, Point
from bench.peers import PACKAGES

__all__ = ["RECALLS", "build_table", "cheapest", "cheapest_table", "plot", "rivals", "to_json", "write_json"]

RECALLS = (0.90, 0.95, 0.99)
OURS = "ours "


def cheapest(points: Sequence[Point], engine: str, k: int, target: float) -> Point | None:
    """The measured point with the least CPU time a query (one thread) that reaches the recall."""
    reached = [
        point
        for point in points
        if (point.engine, point.k) == (engine, k) and point.recall >= target and 1 in point.cpu_ms
    ]
    return min(reached, key=lambda point: point.cpu_ms[1], default=None)


def rivals(built: Sequence[Built], points: Sequence[Point], name: str, k: int, target: float) -> float | None:
    """How many times the CPU time of ours the fastest peer takes that holds no fewer bytes than ours."""
    mine = cheapest(points, name, k, target)
    held = next(one.bytes.held for one in built if one.engine.name == name)
    others = [
        point.cpu_ms[1]
        for one in built
        if one.bytes.held >= held
        and not one.engine.name.startswith(OURS)
        and (point := cheapest(points, one.engine.name, k, target)) is not None
    ]
    return min(others) / mine.cpu_ms[1] if mine is not None and others else None


def build_table(built: Sequence[Built], n: int, caption: str) -> Table:
    """Bytes a vector and build times."""
    table = Table(title="builds, bytes a vector", caption=caption)
    table.add_column("engine")
    for name in ("codes", "with rescoring vectors", "on disk", "build CPU s", "build wall s"):
        table.add_column(name, justify="right")
    for one in built:
        sizes = (one.bytes.codes, one.bytes.held, one.bytes.disk)
        numbers = [*(f"{size / n:,.0f}" for size in sizes), f"{one.cpu_s:.1f}", f"{one.wall_s:.1f}"]
        table.add_row(one.engine.name, *numbers)
    return table


def cheapest_table(built: Sequence[Built], points: Sequence[Point], k: int, n: int, caption: str) -> Table:
    """For each engine and recall the cheapest measured point; for ours, how many times slower the fastest
    peer of no fewer bytes is."""
    table = Table(title=f"CPU ms a query, k = {k}, one thread: cheapest measured point", caption=caption)
    table.add_column("engine")
    columns = [f"recall {target:.2f}" for target in RECALLS]
    for name in ("bytes", *columns, "best recall", "p50 / p99 ms at .95", "QPS at .95 by threads"):
        table.add_column(name, justify="right")
    for one in built:
        name = one.engine.name
        cells = [f"{one.bytes.held / n:,.0f}"]
        for target in RECALLS:
            point = cheapest(points, name, k, target)
            ratio = rivals(built, points, name, k, target) if name.startswith(OURS) else None
            cells.append(
                "-"
                if point is None
                else f"{point.cpu_ms[1]:.3f}" + ("" if ratio is None else f" (peer {ratio:.1f}x)")
            )
        best = max((point.recall for point in points if (point.engine, point.k) == (name, k)), default=0.0)
        middle = cheapest(points, name, k, 0.95)
        cells.append(f"{best:.3f}")
        cells.append("-" if middle is None else f"{middle.p50_ms:.3f} / {middle.p99_ms:.3f}")
        cells.append(
            "-"
            if middle is None
            else ", ".join(f"{threads}: {qps:,.0f}" for threads, qps in sorted(middle.qps.items()))
        )
        table.add_row(name, *cells)
    return table


def to_json(
    data: Data, built: Sequence[Built], points: Sequence[Point], machine: dict[str, Any], skipped: list[str]
) -> dict[str, Any]:
    """Every figure."""
    return {
        "machine": machine,
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "data": {
            "name": data.name,
            "about": data.about,
            "vectors": list(data.vectors.shape),
            "queries": len(data.queries),
        },
        "skipped": skipped,
        "engines": [
            {"name": one.engine.name, "bytes": vars(one.bytes), "wall_s": one.wall_s, "cpu_s": one.cpu_s}
            for one in built
        ],
        "points": [{**vars(point), "setting": dict(point.setting)} for point in points],
    }


def plot(built: Sequence[Built], points: Sequence[Point], data: Data, folder: Path) -> list[Path]:
    """Queries a second against recall, recall against bytes, and bytes against queries a second at recall
    0.95; a PNG for each k.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    paths = []
    for k in sorted({point.k for point in points}):
        figure, axes = pyplot.subplots(1, 3, figsize=(24, 9))
        for i, one in enumerate(built):
            front = _front([p for p in points if (p.engine, p.k) == (one.engine.name, k) and 1 in p.qps])
            _draw(axes, one, front, cheapest(points, one.engine.name, k, 0.95), i, len(data.vectors))
        _label(axes[0], "recall", "queries a second, one thread", y_log=True)
        axes[0].set_xlim(0.7, 1.005)
        _label(axes[1], "bytes a vector, rescoring vectors included", "recall", x_log=True)
        axes[1].set_ylim(0.7, 1.005)
        _label(axes[2], axes[1].get_xlabel(), "queries a second at recall 0.95", x_log=True, y_log=True)
        figure.suptitle(f"{data.name}, {len(data.vectors):,} x {data.vectors.shape[1]}, k = {k}")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=6, fontsize=9)
        figure.tight_layout(rect=(0, 0.03 + 0.022 * -(-len(built) // 6), 1, 1))
        path = folder / f"{data.name.replace(':', '-')}-k{k}.png"
        figure.savefig(path, dpi=90)
        pyplot.close(figure)
        paths.append(path)
    return paths


def _draw(axes: Any, one: Built, front: Sequence[Point], middle: Point | None, i: int, n: int) -> None:
    """One engine in all three plots."""
    is_ours = one.engine.name.startswith(OURS)
    style = {
        "color": f"C{i % 10}",
        "linestyle": "-" if is_ours else "--",
        "linewidth": 2.5 if is_ours else 1.0,
        "marker": "*" if is_ours else "os^vDPX"[i // 10 % 7],
        "markersize": 10 if is_ours else 5,
    }
    recalls, held = [p.recall for p in front], one.bytes.held / n
    axes[0].plot(recalls, [p.qps[1] for p in front], label=one.engine.name, **style)
    axes[1].plot([held] * len(front), recalls, **style)
    if middle is not None:
        axes[2].plot([held], [middle.qps[1]], **style)


def write_json(report: dict[str, Any], path: Path) -> None:
    """Readable, with a final newline."""
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in recall and speed, by rising recall."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.recall, -p.qps[1])):
        if not front or point.qps[1] > front[-1].qps[1]:
            front.append(point)
    return front[::-1]


def _label(axes: Any, x: str, y: str, *, x_log: bool = False, y_log: bool = False) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if x_log:
        axes.set_xscale("log")
    if y_log:
        axes.set_yscale("log")
    axes.grid(True, which="both", alpha=0.3)
