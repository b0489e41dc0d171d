"""Options over environment over file over defaults; a bad value is named as its writer spelled it."""

from __future__ import annotations

from pathlib import Path

import pytest

from index_tools.settings import Settings, load_settings
from retrieval.config import IndexConfig, RuntimeConfig
from retrieval.errors import ConfigError
from tests.cli.conftest import Run


def test_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "retrieval.toml").write_text('device = "mps"\ndtype = "float16"\ntoken_budget = 64\n')
    monkeypatch.setenv("RETRIEVAL_DEVICE", "cuda")
    monkeypatch.setenv("RETRIEVAL_DTYPE", "bfloat16")
    loaded = load_settings({"device": "cpu", "dtype": None})
    assert (loaded.values.device, loaded.origins["device"]) == ("cpu", "option")
    assert (loaded.values.dtype, loaded.origins["dtype"]) == ("bfloat16", "environment")
    assert (loaded.values.token_budget, loaded.origins["token_budget"]) == (64, "file")
    assert (loaded.values.encoder, loaded.origins["encoder"]) == ("minilm", "default")


def test_file_named_by_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "retrieval.toml").write_text("threads = 1\n")
    (tmp_path / "mine.toml").write_text("threads = 3\n")
    monkeypatch.setenv("RETRIEVAL_CONFIG", str(tmp_path / "mine.toml"))
    assert load_settings().values.threads == 3


def test_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_THREADS", "")
    loaded = load_settings()
    assert (loaded.values.threads, loaded.origins["threads"]) == (None, "default")


def test_server_table_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "retrieval.toml").write_text('encoder = "x"\n[server]\nport = 9\n')
    assert load_settings().values.encoder == "x"


def test_defaults_are_the_engine_s() -> None:
    settings = Settings()
    assert settings.runtime() == RuntimeConfig.of(maintenance="manual")  # no thread outlives a command
    assert settings.index() == IndexConfig.of()


@pytest.mark.parametrize(
    ("variable", "value", "file", "option", "message"),
    [
        ("RETRIEVAL_TOKEN_BUDGET", "3", "", {}, "RETRIEVAL_TOKEN_BUDGET=3: "),
        ("RETRIEVAL_DTYPE", "int4", "", {}, "RETRIEVAL_DTYPE=int4: "),
        (None, None, "threads = 0", {}, "retrieval.toml: threads = 0: "),
        (None, None, "threds = 1", {}, "retrieval.toml: unknown key 'threds'; known: encoder, "),
        (None, None, "threads = ", {}, "retrieval.toml: not a TOML file: "),
        (None, None, "", {"token_budget": 2}, "--token-budget 2: "),
        ("RETRIEVAL_CONFIG", "none.toml", "", {}, "RETRIEVAL_CONFIG=none.toml: there is no such file"),
    ],
)
def test_bad_values_are_named(
    variable: str | None,
    value: str,
    file: str,
    option: dict[str, object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "retrieval.toml").write_text(file)
    if variable:
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load_settings(option)
    assert str(caught.value).startswith(message)


def test_config_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_DEVICE", "cuda:1")
    told = run("config", "--json").json
    assert told["file"] is None
    device = next(setting for setting in told["settings"] if setting["name"] == "device")
    assert device["value"] == "cuda:1"
    assert device["source"] == "environment"
    assert device["environment"] == "RETRIEVAL_DEVICE"
    human = run("config")
    assert "cuda:1" in human.out
    assert "environment" in human.out
    assert human.err == ""
