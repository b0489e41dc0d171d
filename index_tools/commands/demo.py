"""``retrieval demo``: the whole engine on text that every machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from index_tools import options as opt
from index_tools.failures import Interrupted
from index_tools.output import Output

__all__ = ["demo"]

Folder = Annotated[Path, typer.Option("--dir", help="folder for the corpus and the two indexes")]


def demo(
    context: typer.Context,
    folder: Folder = Path("demo-data"),
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    backend: opt.Backend = None,
    token_budget: opt.TokenBudget = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Index the docstrings of the Python standard library, dense and late, and ask them something."""
    output = Output.of(context, as_json)
    settings = opt.settings(
        device=device, dtype=dtype, backend=backend, token_budget=token_budget, threads=threads
    )

    from index_tools.demo.show import run_demo

    try:
        run_demo(folder, output, settings.runtime())
    except KeyboardInterrupt:
        raise Interrupted("interrupted; run the same command again: it goes on where it stopped") from None
