"""Says on a terminal that kernels are being compiled: nothing else explains why the first search of a machine
takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from index_tools.output import Output
from index_tools.progress import Reporter

__all__ = ["announced", "compiling_shown"]

TITLE = "compiling kernels (once on this machine)"


@contextmanager
def compiling_shown(reporter: Reporter) -> Iterator[None]:
    """Show it beside the work that ``reporter`` shows."""
    from retrieval.kernels.compiling import while_compiling

    def tell(compiling: bool) -> None:
        if compiling:
            reporter.show(TITLE, None, "")
        else:
            reporter.finish(TITLE)

    with while_compiling(tell):
        yield


@contextmanager
def announced(output: Output) -> Iterator[None]:
    """Show it where nothing else is: from the first kernel on that is compiled inside."""
    from retrieval.kernels.compiling import while_compiling

    with ExitStack() as shown:
        is_shown = False

        def tell(compiling: bool) -> None:
            nonlocal is_shown
            if compiling and not is_shown:
                is_shown = True
                shown.enter_context(output.progress(TITLE))

        with while_compiling(tell):
            yield
