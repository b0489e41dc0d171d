"""What a build or an add came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index_tools.output import Output

if TYPE_CHECKING:
    from retrieval.build import BuildReport
    from retrieval.types import TrainingReport

__all__ = ["show_build_report", "show_training", "size", "told_recall"]


def show_build_report(output: Output, index: Path, report: BuildReport) -> None:
    """Counts and times; what was skipped goes to stderr with the first messages."""
    output.data({"index": str(index), **asdict(report)}, lambda: output.show(_sentence(index, report)))
    show_training(output, report.training)
    if report.truncated and not output.as_json:
        output.note(
            f"{report.truncated:,} documents were longer than the model reads, and cut (--document-length)"
        )
    if report.skipped and not output.as_json:
        output.note(f"skipped {report.skipped:,} documents that could not be used:")
        for sample in report.skipped_samples:
            output.note(f"  {sample}")
        if report.skipped > len(report.skipped_samples):
            output.note(f"  and {report.skipped - len(report.skipped_samples):,} more")


def show_training(output: Output, training: TrainingReport | None) -> None:
    """The recall that was measured; warnings go to stderr."""
    if training is None:
        return
    for warning in training.warnings:
        output.note(f"warning: {warning}")
    quality = training.quality or {}
    curve, reducer = quality.get("curve"), quality.get("reducer")
    if reducer and not output.as_json:
        output.show(
            f"reduced vectors: error {reducer['rms']:.3f} of the inner products' deviation, "
            f"recall@10 {reducer['recall']:.3f} by themselves"
        )
    if curve and not output.as_json:
        output.show(f"trained in {training.seconds:.1f} s; {told_recall(curve)}")


def told_recall(curve: Mapping[str, Any]) -> str:
    """The best recall of a stored curve, for a person."""
    best: dict[int, float] = {}
    for point in curve["points"]:
        best[point["k"]] = max(point["recall"], best.get(point["k"], 0.0))
    shown = [k for k in (10, 100) if k in best] or sorted(best)  # few documents: what there is
    told = [f"recall@{k} up to {best[k]:.3f}" for k in shown]
    return f"{', '.join(told) or 'no recall'} measured with {curve['queries']} queries"


def size(number: float) -> str:
    """Bytes for a person: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def _sentence(index: Path, report: BuildReport) -> str:
    resumed = f" ({report.resumed_documents:,} were there already)" if report.resumed_documents else ""
    replaced = f" ({report.replaced:,} of them replaced)" if report.replaced else ""
    return (
        f"{index}: {report.documents:,} documents{resumed}{replaced}, {report.tokens:,} vectors "
        f"in {report.seconds:.1f} s ({report.encode_seconds:.1f} s encoding)"
    )
