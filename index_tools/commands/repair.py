"""``retrieval repair``: rebuild what is damaged from what is whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from index_tools import options as opt
from index_tools.exit_codes import DAMAGED
from index_tools.output import Output

if TYPE_CHECKING:
    from retrieval import RepairReport

__all__ = ["repair"]

DropLost = Annotated[
    bool, typer.Option("--drop-lost", help="take segments whose documents are lost out of the index")
]

Recalibrate = Annotated[
    bool,
    typer.Option(
        "--recalibrate",
        help="encode all documents again, calibrate int8 on them and train the recipe again, whole or not",
    ),
]


def repair(
    context: typer.Context,
    index: opt.IndexPath,
    drop_lost: DropLost = False,
    recalibrate: Recalibrate = False,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    backend: opt.Backend = None,
    token_budget: opt.TokenBudget = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Encode damaged segments of INDEX again from their documents; exit code 5 if some are lost."""
    output = Output.of(context, as_json)
    settings = opt.settings(
        device=device, dtype=dtype, backend=backend, token_budget=token_budget, threads=threads
    )

    from retrieval import repair_index

    title = f"repairing {index}"
    with output.progress(title) as reporter:
        counts = reporter.counts(title, "documents")
        report = repair_index(
            index,
            runtime=settings.runtime(),
            drop_lost=drop_lost,
            recalibrate=recalibrate,
            progress=counts,
        )
    output.data({"index": str(index), **asdict(report)}, lambda: _show(output, report))
    if report.lost and not report.dropped:
        raise typer.Exit(DAMAGED)


def _show(output: Output, report: RepairReport) -> None:
    output.show(f"{report.segments:,} segments rebuilt, {report.documents:,} documents encoded again")
    changed = [told for told in (report.search, report.calibration) if told is not None]
    for told in changed or report.waiting:
        output.show(told)
    for lost in report.lost:
        state = "dropped" if report.dropped else "lost (--drop-lost takes them out of the index)"
        output.show(f"{lost.problem}", f"{len(lost.ids):,} documents {state}: {', '.join(lost.ids)}")
