"""The program as a process: quick help, a closed pipe, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "import sys; from index_tools.main import main; sys.exit(main())"]
HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "fastapi",
    "uvicorn",
    "ir_measures",
    "pydantic_settings",
)


def start(arguments: Sequence[object], **more: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [*PROGRAM, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_mind_interrupts,
        **more,
    )


def _mind_interrupts() -> None:
    """Whoever started the tests in the background may have had them ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from index_tools.main import main; main(['--help']); main(['--version']); "
        f"sys.exit(str([name for name in {HEAVY} if name in sys.modules] or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.strip() == ""
    assert "build" in done.stdout


def test_closed_pipe_is_quiet() -> None:
    with start(["config"]) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, tiny_model: Path) -> None:
    source, index = tmp_path / "docs.jsonl", tmp_path / "index"
    with source.open("w") as file:
        for number in range(20_000):
            file.write(
                json.dumps({"_id": str(number), "text": f"document {number} of the query engine"}) + "\n"
            )
    build = ["build", source, index, "--encoder", tiny_model, "--segment-documents", 50]
    process = start(build)
    deadline = time.monotonic() + 120
    while not (index / "segments" / "00000003").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "error: interrupted; resume with --resume (the same command and options)\n"
    assert out == ""
    unfinished = start(["search", index, "x"])
    assert "--resume" in unfinished.communicate()[1]
    assert unfinished.returncode == 4


@pytest.mark.parametrize("debug", [False, True])
def test_debug_variable(debug: bool, tmp_path: Path) -> None:
    more = {"RETRIEVAL_DEBUG": "1"} if debug else {}
    done = subprocess.run(
        [*PROGRAM, "inspect", str(tmp_path / "none")],
        env={**os.environ, "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert ("Traceback" in done.stderr) is debug


def test_without_a_command_there_is_help_and_no_complaint() -> None:
    with start([]) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Usage: retrieval" in out + err
    assert "error:" not in err
