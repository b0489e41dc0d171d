"""Where words go: data to stdout, everything else to stderr, bars only to a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from index_tools.progress import Bars, Lines, Reporter, Silence
from retrieval.jsonable import json_value

__all__ = ["Output", "printable"]

WIDTH_OF_A_PIPE = 160

# A document may hold escape sequences; a terminal must not obey them.
_CONTROLS = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """The text without control characters, safe to write to a terminal."""
    return text.translate(_CONTROLS)


class Output:
    """What a command says, in one of two languages: ``json`` or a person's."""

    def __init__(self, *, as_json: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self.verbose = verbose
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    @classmethod
    def of(cls, context: typer.Context, as_json: bool) -> Output:
        """For the running command; ``--verbose`` is an option of the program."""
        return cls(as_json=as_json, verbose=bool(context.find_root().params.get("verbose")))

    @property
    def on_terminal(self) -> bool:
        """Whether a person reads stdout."""
        return self._out.is_terminal and not self.as_json

    @property
    def width(self) -> int:
        """Columns of stdout."""
        return self._out.width

    def data(self, value: Any, human: Callable[[], None]) -> None:
        """The command's answer: one line of JSON, or whatever ``human`` shows."""
        if self.as_json:
            sys.stdout.write(json.dumps(json_value(value), ensure_ascii=False, allow_nan=False) + "\n")
            sys.stdout.flush()
        else:
            human()

    def show(self, *renderables: RenderableType) -> None:
        """Lines on stdout; a string is taken as it is."""
        for renderable in renderables:
            if isinstance(renderable, str | Text):
                text = Text(printable(renderable)) if isinstance(renderable, str) else renderable
                self._out.print(text, soft_wrap=not self._out.is_terminal)
            else:
                self._out.print(renderable)

    def note(self, message: str) -> None:
        """A line on stderr."""
        self._err.print(Text(printable(message)), soft_wrap=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Reporter]:
        """Where to report work that begins with ``title``: bars only on a terminal."""
        if self._err.is_terminal:
            bars = Bars(self._err, title)
            with bars.progress:
                yield bars
        else:
            yield Lines(self.note) if self.verbose else Silence()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader went away: let the program end quietly by its own rule."""
        self.quiet = True
        raise BrokenPipeError


def _console(stream: Any) -> Console:
    # An explicit width keeps rich from folding at 80 columns what another program will read.
    width = None if stream.isatty() else WIDTH_OF_A_PIPE
    return _Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
