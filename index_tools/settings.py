"""Defaults of the command line, from the environment and a TOML file.

An option wins over the environment (``RETRIEVAL_<NAME>``), which wins over the file
(``RETRIEVAL_CONFIG``, or ``retrieval.toml`` in the current folder), which wins over the
default. The file's ``[server]`` table belongs to the server and is not read here.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from retrieval.config import IndexConfig, RecipeConfig, RuntimeConfig
from retrieval.errors import ConfigError

__all__ = ["ENV_PREFIX", "LoadedSettings", "Settings", "config_file", "environment_name", "load_settings"]

ENV_PREFIX = "RETRIEVAL_"
CONFIG_VARIABLE = "RETRIEVAL_CONFIG"
DEFAULT_FILE = "retrieval.toml"
OTHER_VARIABLES = frozenset({"RETRIEVAL_CONFIG", "RETRIEVAL_DEBUG", "RETRIEVAL_SIMD"})
OTHER_PREFIXES = ("RETRIEVAL_SERVER_", "RETRIEVAL_TEST_")
SERVER_TABLE = "server"


class Settings(BaseSettings):
    """What an option that was not given stands for."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    encoder: str = Field("minilm", min_length=1, description="model that build and eval read text with")
    device: str = Field(
        "auto", min_length=1, description="where the model runs: auto, cpu, cuda, cuda:1, mps"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="arithmetic of the model")
    backend: Literal["torch", "onnx", "openvino"] = Field("torch", description="what runs the model")
    kernels: Literal["auto", "cpu", "cuda", "reference"] = Field(
        "auto", description="what scores; auto: cuda where the device was named so, else cpu"
    )
    query_threads: int = Field(1, ge=1, le=256, description="threads that share one late query")
    token_budget: int = Field(4096, ge=16, description="padded tokens in one batch of the model")
    precision: Literal["auto", "float32", "float16", "int8", "residual"] = Field(
        "auto", description="stored vectors; auto: float32 for dense, float16 for late"
    )
    segment_documents: int = Field(
        4096, ge=1, le=10_000_000, description="documents in one segment: what a resumed build keeps"
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="threads of the model, of training and of scoring; default: all cores",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, environment, file; no ``.env`` file and no secrets folder."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=_file_values())

    def runtime(self) -> RuntimeConfig:
        """How the model runs."""
        return RuntimeConfig.of(
            device=self.device,
            dtype=self.dtype,
            backend=self.backend,
            kernels=self.kernels,
            token_budget=self.token_budget,
            query_threads=self.query_threads,
            threads=self.threads,
            maintenance="manual",  # a command ends before a thread in the background would
        )

    def index(self, recipe: RecipeConfig | None = None, pooling: str | None = None) -> IndexConfig:
        """How documents are stored, and by which recipe they are found."""
        return IndexConfig.of(
            precision=self.precision,
            segment_documents=self.segment_documents,
            recipe=recipe or RecipeConfig(),
            pooling=pooling or "none",
        )


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The effective settings; ``origins`` says per name where its value came from."""

    values: Settings
    origins: Mapping[str, str]
    file: Path | None


def load_settings(options: Mapping[str, Any] | None = None) -> LoadedSettings:
    """Settings under the given command-line options; an option of None was not given.

    Raises:
        ConfigError: a bad value, an unknown key in the file, or a file that cannot be read.
    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    _refuse_unknown_variables()
    origins = _origins(given)
    try:
        values = Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ConfigError(f"{_spelled(name, origins[name], first.get('input'))}: {first['msg']}") from None
    return LoadedSettings(values, origins, config_file())


def _refuse_unknown_variables() -> None:
    """A misspelt variable would be without effect, silently."""
    known = {environment_name(name) for name in Settings.model_fields} | OTHER_VARIABLES
    for name in sorted(os.environ):
        if name.startswith(ENV_PREFIX) and name not in known and not name.startswith(OTHER_PREFIXES):
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"{name}: there is no such setting; {hint}")


def config_file() -> Path | None:
    """The TOML file in use, if there is one.

    Raises:
        ConfigError: the variable names a file that does not exist.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named or DEFAULT_FILE)
    if path.is_file():
        return path
    if named:
        raise ConfigError(f"{CONFIG_VARIABLE}={named}: there is no such file")
    return None


def environment_name(name: str) -> str:
    """The environment variable of a setting."""
    return ENV_PREFIX + name.upper()


def _file_values() -> dict[str, Any]:
    path = config_file()
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    values.pop(SERVER_TABLE, None)
    unknown = sorted(set(values) - set(Settings.model_fields))
    if unknown:
        known = ", ".join(Settings.model_fields)
        known += f" and the table [{SERVER_TABLE}]"
        raise ConfigError(f"{path}: unknown key '{unknown[0]}'; known: {known}")
    return values


def _origins(given: Mapping[str, Any]) -> dict[str, str]:
    in_file = _file_values()
    in_environment = EnvSettingsSource(Settings)()
    origins = {}
    for name in Settings.model_fields:
        if name in given:
            origins[name] = "option"
        elif name in in_environment:
            origins[name] = "environment"
        else:
            origins[name] = "file" if name in in_file else "default"
    return origins


def _spelled(name: str, origin: str, value: Any) -> str:
    """The setting as its writer spelled it, so that it can be found."""
    if origin == "option":
        return f"--{name.replace('_', '-')} {value}"
    if origin == "environment":
        return f"{environment_name(name)}={value}"
    return f"{config_file()}: {name} = {value!r}"
