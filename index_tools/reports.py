"""What a build or an add came to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from index_tools.output import Output

if TYPE_CHECKING:
    from retrieval.build import BuildReport

__all__ = ["show_build_report", "size"]


def show_build_report(output: Output, index: Path, report: BuildReport) -> None:
    """Counts and times; what was skipped goes to stderr with the first messages."""
    output.data({"index": str(index), **asdict(report)}, lambda: output.show(_sentence(index, report)))
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
