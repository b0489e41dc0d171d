"""``retrieval verify``: is every byte what was committed?"""

from __future__ import annotations

import typer

from index_tools import options as opt
from index_tools.exit_codes import DAMAGED
from index_tools.output import Output
from index_tools.reports import size

__all__ = ["verify"]


def verify(context: typer.Context, index: opt.IndexPath, as_json: opt.Json = False) -> None:
    """Check every checksum and invariant of INDEX; exit code 5 if it is damaged."""
    output = Output.of(context, as_json)

    from retrieval import verify_index

    title = f"verifying {index}"
    with output.progress(title) as reporter:
        report = verify_index(index, reporter.counts(title, "bytes"))

    def human() -> None:
        for problem in report.problems:
            output.show(problem)
        checked = f"{report.files:,} files, {size(report.bytes)}"
        found = "ok" if report.ok else f"damaged, {len(report.problems):,} problems"
        output.show(f"{found}: {checked}")

    values = {
        "index": str(index),
        "ok": report.ok,
        "files": report.files,
        "bytes": report.bytes,
        "problems": list(report.problems),
    }
    output.data(values, human)
    if not report.ok:
        raise typer.Exit(DAMAGED)
