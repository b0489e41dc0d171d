"""Data on stdout, bars only on a terminal, nothing a terminal would obey."""

from __future__ import annotations

import io
import json
import sys
from datetime import date

import pytest
from numba import njit

from index_tools import progress
from index_tools.compiling import announced, compiling_shown
from index_tools.output import Output, printable
from retrieval.kernels.compiling import while_compiling
from retrieval.types import BuildProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal; called by the test itself, for pytest replaces the stream after fixtures."""
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def _work(output: Output) -> None:
    with output.progress("building x") as reporter:
        update = reporter.documents("building x")
        for step in range(1, 5):
            update(BuildProgress(step * 100, step * 1000, 0, step / 4))


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    _work(Output())
    shown = stream.getvalue()
    assert "building x" in shown
    assert "400 documents" in shown
    assert "documents/s" in shown
    assert "100%" in shown


def test_unknown_size_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Output().progress("adding") as reporter:
        update = reporter.documents("adding")
        update(BuildProgress(1, 1, 0, None))
        update(BuildProgress(1234, 1, 0, None))
    assert "1,234 documents" in stream.getvalue()


def test_a_bar_for_each_kind_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Output().progress("indexing") as reporter:
        reporter.documents("indexing")(BuildProgress(7, 7, 0, 1.0))
        reporter.counts("asking", "queries")(3, 4)
    shown = stream.getvalue()
    assert "7 documents" in shown
    assert "asking" in shown
    assert "3 queries" in shown
    assert "75%" in shown


def test_stages_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Output().progress("training") as reporter:
        update = reporter.stages("training")
        for share in (0.25, 0.5):
            update("train: k-means", share)
        update("measure recall", 0.75)
        assert isinstance(reporter, progress.Bars)
        assert [task.description for task in reporter.progress.tasks] == [
            "training",
            "training: measure recall",
        ]
    assert "75%" in stream.getvalue()


def test_compiling_is_told_on_a_terminal_and_only_where_it_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, compiled, told = terminal(monkeypatch), njit(lambda x: x + 1), []
    for number in (1, 2, 3.0):
        with announced(Output()), compiling_shown(progress.Silence()), while_compiling(told.append):
            assert compiled(number) == number + 1
        assert ("compiling kernels" in stream.getvalue()) == (number != 2)
        assert told[:2] == [True, False] * (number != 2)
        stream.seek(0)
        stream.truncate()
        told.clear()


def test_silence_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _work(Output())
    assert capsys.readouterr() == ("", "")


def test_lines_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 0.0)
    _work(Output(verbose=True))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("building x: 100%, 400 documents, ")


def test_lines_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    _work(Output(verbose=True))
    assert capsys.readouterr().err == ""


def test_long_lines_are_not_folded_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Output().show("word " * 100)
    assert capsys.readouterr().out.count("\n") == 1


def test_markup_in_documents_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    Output().show("a [bold]b[/bold] :smile:")
    assert capsys.readouterr().out == "a [bold]b[/bold] :smile:\n"


def test_escape_sequences_are_disarmed() -> None:
    assert printable("a\x1b[31mb\x07\x9bc\r") == "a [31mb  c "
    assert printable("line\n\ttab") == "line\n\ttab"


def test_dates_and_nan_become_json(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).data({"day": date(1999, 12, 31), "score": float("nan")}, lambda: None)
    assert json.loads(capsys.readouterr().out) == {"day": "1999-12-31", "score": None}
