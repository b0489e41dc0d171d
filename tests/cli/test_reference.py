"""The generated reference names everything, and a stale file is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from index_tools.main import COMMANDS
from index_tools.reference import main, sections
from index_tools.settings import Settings, environment_name

README = """# Title
<!-- cli:begin -->
old
<!-- cli:end -->
between
<!-- settings:begin --><!-- settings:end -->
<!-- server-settings:begin --><!-- server-settings:end -->
end
"""


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(README)
    return path


def test_everything_is_named() -> None:
    parts = sections()
    for name, _ in COMMANDS:
        assert f"| `retrieval {name}" in parts["cli"]
    for option in ("--resume", "--encoder", "--json", "--data-dir", "--measure", "--debug", "-k"):
        assert f"`{option}`" in parts["cli"]
    for name in Settings.model_fields:
        assert f"| `{name}` | `{environment_name(name)}` |" in parts["settings"]


def test_tables_are_well_formed() -> None:
    for text in sections().values():
        for table in text.split("\n\n"):
            columns = {line.replace("\\|", "").count("|") for line in table.splitlines()}
            assert len(columns) == 1, table


def test_write_then_check(readme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(readme)]) == 1
    assert "stale" in capsys.readouterr().err
    assert main(["--write", str(readme)]) == 0
    assert main(["--check", str(readme)]) == 0
    written = readme.read_text()
    assert written.startswith("# Title\n<!-- cli:begin -->\n| command")
    assert "between" in written
    assert written.endswith("<!-- server-settings:end -->\nend\n")
    assert main(["--write", str(readme)]) == 0
    assert readme.read_text() == written
    readme.write_text(written.replace("RETRIEVAL_DEVICE", "RETRIEVAL_DEVISE"))
    assert main(["--check", str(readme)]) == 1


def test_missing_markers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "README.md"
    path.write_text("# nothing here")
    assert main(["--check", str(path)]) == 2
    assert "<!-- cli:begin -->" in capsys.readouterr().err


def test_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("| command | what it does |")
