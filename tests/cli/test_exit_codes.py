"""Every error has an exit code, and failures look the same whatever failed."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from index_tools import main as program
from index_tools.exit_codes import EXIT_CODES, MEANINGS, exit_code
from index_tools.failures import Interrupted, failure_of
from retrieval import errors
from tests.cli.conftest import Run

ERRORS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.RetrievalError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_code(kind: type[errors.RetrievalError]) -> None:
    assert EXIT_CODES[kind] in MEANINGS


def test_a_subclass_has_its_base_s_code() -> None:
    class Special(errors.IndexDamagedError):
        pass

    assert exit_code(Special("x")) == 5


def test_help_shows_the_codes(run: Run) -> None:
    out = " ".join(run("--help").out.split())
    for code, meaning in MEANINGS.items():
        assert f"{code} {meaning}" in out


@pytest.mark.parametrize(
    "arguments", [["serch"], ["build"], ["build", "a", "b", "--kind", "x"], ["search", "--bad"]]
)
def test_wrong_usage_is_one_line(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "--help" in done.err
    assert done.err.count("\n") == 1


def test_wrong_usage_as_json(run: Run) -> None:
    done = run("inspect", "--json")
    assert done.exit_code == 2
    assert done.json["error"]["code"] == "usage"
    assert "INDEX" in done.json["error"]["message"]


def test_failure_as_json(run: Run, tmp_path: Path) -> None:
    done = run("inspect", tmp_path / "none", "--json")
    assert done.exit_code == 4
    assert done.json["error"]["code"] == "index_not_found"
    assert done.err == f"error: {done.json['error']['message']}\n"


def _raising(error: BaseException):
    def app(**_: object) -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("a\nb"), 1, "error: unexpected ValueError: a b (run with --debug for the traceback)\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: /x: Permission denied\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (Interrupted("interrupted; resume with --resume"), 130, "error: interrupted; resume with --resume\n"),
        (errors.MissingExtraError("the server", "server"), 7, "error: the server needs the extra 'server'"),
    ],
)
def test_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, told: str
) -> None:
    monkeypatch.setattr(program, "app", _raising(error))
    done = run("anything")
    assert done.exit_code == code
    assert done.err.startswith(told)
    assert "Traceback" not in done.err


@pytest.mark.parametrize("how", ["option", "variable"])
def test_traceback_on_request(run: Run, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(program, "app", _raising(ValueError("deep")))
    if how == "variable":
        monkeypatch.setenv("RETRIEVAL_DEBUG", "1")
    done = run(*(["--debug"] if how == "option" else []), "anything")
    assert done.exit_code == 1
    assert "Traceback" in done.err
    assert "ValueError: deep" in done.err


def test_words_after_two_dashes_are_not_options(run: Run, tmp_path: Path) -> None:
    done = run("search", tmp_path / "none", "--", "--json")
    assert done.exit_code == 4
    assert done.out == ""


def test_messages_stay_on_one_line() -> None:
    failure = failure_of(errors.EncoderError("cannot load\n  the model"))
    assert json.loads(json.dumps(failure.message)) == "cannot load the model"
