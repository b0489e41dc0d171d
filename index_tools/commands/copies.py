"""``retrieval snapshot``, ``restore``, ``export`` and ``import``: copies of a whole index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from index_tools import options as opt
from index_tools.output import Output
from index_tools.reports import size

if TYPE_CHECKING:
    from retrieval.storage.copies import CopyReport

__all__ = ["export", "import_archive", "restore", "snapshot"]

Target = Annotated[Path, typer.Argument(help="a folder that does not exist yet", metavar="TARGET")]
SnapshotPath = Annotated[Path, typer.Argument(help="index folder to copy from", metavar="SNAPSHOT")]
File = Annotated[Path, typer.Argument(help="archive of an index, an uncompressed tar", metavar="FILE")]
Replace = Annotated[
    bool, typer.Option("--replace", help="take the place of the index at TARGET, once all is copied")
]


def snapshot(context: typer.Context, index: opt.IndexPath, target: Target, as_json: opt.Json = False) -> None:
    """Copy the last commit of INDEX to TARGET, while others read and write INDEX."""
    from retrieval.copies import snapshot_index

    title = f"copying {index}"
    _make(context, as_json, title, lambda progress: snapshot_index(index, target, progress))


def restore(
    context: typer.Context,
    source: SnapshotPath,
    target: Target,
    replace: Replace = False,
    as_json: opt.Json = False,
) -> None:
    """Make TARGET an index like SNAPSHOT, after checking every checksum."""
    from retrieval.copies import restore_index

    title = f"restoring {source}"
    _make(
        context,
        as_json,
        title,
        lambda progress: restore_index(source, target, replace=replace, progress=progress),
    )


def export(context: typer.Context, index: opt.IndexPath, file: File, as_json: opt.Json = False) -> None:
    """Write the last commit of INDEX to one new FILE."""
    from retrieval.copies import export_index

    _make(context, as_json, f"exporting {index}", lambda progress: export_index(index, file, progress))


def import_archive(context: typer.Context, file: File, target: Target, as_json: opt.Json = False) -> None:
    """Make TARGET an index from an exported FILE, which need not be trusted."""
    from retrieval.copies import import_index

    _make(context, as_json, f"importing {file}", lambda progress: import_index(file, target, progress))


def _make(
    context: typer.Context,
    as_json: bool,
    title: str,
    copy: Callable[[Callable[[int, int], None]], CopyReport],
) -> None:
    """Show how the copying goes, then what it made."""
    output = Output.of(context, as_json)
    with output.progress(title) as reporter:
        report = copy(reporter.counts(title, "bytes"))
    told = f"{report.path}: generation {report.generation}, {report.files:,} files, {size(report.bytes)}"
    output.data(asdict(report), lambda: output.show(told))
