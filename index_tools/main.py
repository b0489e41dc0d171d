"""The program ``retrieval``: its commands, and the one place where an exception becomes an exit code.

Errors are one line on stderr (``error: ...``). With ``--json`` stdout also gets one line
``{"error": {"code": ..., "message": ...}}``. The exit codes are in `index_tools.exit_codes`.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from index_tools.commands.add import add
from index_tools.commands.build import build
from index_tools.commands.compact import compact
from index_tools.commands.config import config
from index_tools.commands.copies import export, import_archive, restore, snapshot
from index_tools.commands.counts import count, facets
from index_tools.commands.delete import delete
from index_tools.commands.demo import demo
from index_tools.commands.doctor import doctor
from index_tools.commands.eval import evaluate
from index_tools.commands.explain import explain
from index_tools.commands.inspect import inspect
from index_tools.commands.key import key
from index_tools.commands.repair import repair
from index_tools.commands.search import search
from index_tools.commands.serve import serve
from index_tools.commands.verify import verify
from index_tools.exit_codes import INTERRUPTED, OK, USAGE, exit_codes_text
from index_tools.failures import failure_of, report

__all__ = ["app", "main"]

DEBUG_VARIABLE = "RETRIEVAL_DEBUG"

app = typer.Typer(
    name="retrieval",
    help="Dense and late-interaction retrieval: build an index, search it, measure it.",
    epilog=exit_codes_text(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("build", build),
    ("add", add),
    ("delete", delete),
    ("search", search),
    ("explain", explain),
    ("count", count),
    ("facets", facets),
    ("inspect", inspect),
    ("verify", verify),
    ("repair", repair),
    ("compact", compact),
    ("doctor", doctor),
    ("snapshot", snapshot),
    ("restore", restore),
    ("export", export),
    ("import", import_archive),
    ("eval", evaluate),
    ("serve", serve),
    ("key", key),
    ("config", config),
    ("demo", demo),
)
for _name, _command in COMMANDS:
    app.command(_name)(_command)


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("retrieval-engine")
    except PackageNotFoundError:
        number = "unknown (not installed)"
    sys.stdout.write(f"retrieval {number}\n")
    raise typer.Exit


@app.callback()
def program(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="say how the work goes, also without a terminal")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="show tracebacks and warnings", envvar=DEBUG_VARIABLE)
    ] = False,
    show_version: Annotated[
        bool, typer.Option("--version", help="show the version", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command; they stand before its name."""
    del verbose, debug, show_version  # read from the context, or acted upon already


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    debug = _debugging(args)
    try:
        with warnings.catch_warnings():
            if not debug and not sys.warnoptions:
                warnings.simplefilter("ignore")
            code = _run(args)
            sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
        return OK
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- the program's last line of defence
        if not args:  # nothing was asked: the help has been shown
            return USAGE
        if debug:
            traceback.print_exc()
        failure = failure_of(error)
        report(failure, _wants_json(args))
        return failure.exit_code
    return code


def _run(args: list[str]) -> int:
    _prepare_streams()
    result = app(args=args, prog_name="retrieval", standalone_mode=False)
    if result == INTERRUPTED:
        raise KeyboardInterrupt
    return result if isinstance(result, int) else OK


def _prepare_streams() -> None:
    """A terminal that cannot show a character gets an escape, not a failure."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _close_stdout() -> None:
    """The reader went away (``| head``): let the flush at exit go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _options(args: Sequence[str]) -> Sequence[str]:
    return args[: args.index("--")] if "--" in args else args


def _wants_json(args: Sequence[str]) -> bool:
    # Asked of the words themselves: the parser may be what failed.
    return "--json" in _options(args)


def _debugging(args: Sequence[str]) -> bool:
    variable = os.environ.get(DEBUG_VARIABLE, "").lower()
    return "--debug" in _options(args) or variable not in {"", "0", "false"}
