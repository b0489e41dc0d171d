"""Settings of the server, from keyword values, the environment and a TOML file, in that order.

The environment is ``RETRIEVAL_SERVER_<NAME>``; the file is the ``[server]`` table of the TOML file
that ``RETRIEVAL_CONFIG`` names, or of ``retrieval.toml`` in the current folder. Relative paths
start at the current folder.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from retrieval.config import RuntimeConfig
from retrieval.errors import ConfigError
from server.schemas import DEFAULT_LIMIT

__all__ = ["COLLECTION_NAME", "ServerSettings"]

ENV_PREFIX = "RETRIEVAL_SERVER_"
CONFIG_VARIABLE = "RETRIEVAL_CONFIG"
DEFAULT_FILE = "retrieval.toml"
TABLE = "server"
CATALOG = "catalog.sqlite"
COLLECTION_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"

CollectionName = Annotated[str, Field(pattern=COLLECTION_NAME)]


class ServerSettings(BaseSettings):
    """What to serve, where, and how much of it.

    Raises:
        ConfigError: a bad value, an unknown setting, or a file that cannot be read; the message
            names it.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    collections: dict[CollectionName, Path] = Field(
        default_factory=dict, description="collection name -> index folder (JSON in the environment)"
    )
    data_dir: Path | None = Field(None, description="folder whose sub-folders with an index are collections")
    host: str = Field("127.0.0.1", description="address to listen on; loopback only")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0: a free one")
    search_threads: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1), ge=1, le=256, description="searches at one time"
    )
    max_limit: int = Field(1000, ge=DEFAULT_LIMIT, le=100_000, description="most hits one search may ask for")
    max_explained: int = Field(
        100, ge=DEFAULT_LIMIT, le=100_000, description="most hits when explanations are asked for"
    )
    max_query_chars: int = Field(8192, ge=1, description="longest query, in characters")
    max_body_bytes: int = Field(1 << 20, ge=1024, description="largest request body")
    device: str = Field("auto", min_length=1, description="where models run: auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="arithmetic of models")
    kernels: Literal["auto", "cpu", "cuda", "reference"] = Field("auto", description="what scores")

    def __init__(self, **values: Any) -> None:
        _refuse_unknown_variables(set(type(self).model_fields))
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_first_problem(error)) from None
        except SettingsError as error:
            raise ConfigError(f"{error}; write it as JSON") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keyword values, environment, file; no ``.env`` file and no secrets folder."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=_file_values())

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if not _is_loopback(host):
            raise ValueError(
                f"'{host}' is not a loopback address, and the server has no authentication yet; "
                "use 127.0.0.1 and put a proxy that authenticates in front"
            )
        return host

    def runtime(self) -> RuntimeConfig:
        """How the models run."""
        return RuntimeConfig.of(device=self.device, dtype=self.dtype, kernels=self.kernels)

    def collection_paths(self) -> dict[str, Path]:
        """Every collection and its index folder, by name; reads ``data_dir``.

        Raises:
            ConfigError: nothing to serve, ``data_dir`` is no folder, or a folder in it cannot be a
                collection.
        """
        if self.data_dir is None and not self.collections:
            raise ConfigError(
                f"there is nothing to serve; set {ENV_PREFIX}DATA_DIR (a folder of indexes) "
                f"or {ENV_PREFIX}COLLECTIONS ({{name: index folder}})"
            )
        paths = {name: path.expanduser() for name, path in self.collections.items()}
        for path in _index_folders(self.data_dir.expanduser()) if self.data_dir else ():
            if paths.setdefault(path.name, path) is not path:
                raise ConfigError(f"collection '{path.name}' is in 'collections' and in data_dir; keep one")
        return dict(sorted(paths.items()))


def _index_folders(data_dir: Path) -> list[Path]:
    if not data_dir.is_dir():
        raise ConfigError(f"data_dir={data_dir}: there is no such folder")
    folders = sorted(path.parent for path in data_dir.glob(f"*/{CATALOG}"))
    wrong = [path for path in folders if not re.fullmatch(COLLECTION_NAME, path.name)]
    if wrong:
        raise ConfigError(
            f"data_dir={data_dir}: the folder '{wrong[0].name}' cannot be a collection's name "
            f"({COLLECTION_NAME}); rename it, or name it in 'collections' instead"
        )
    return folders


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _file_values() -> dict[str, Any]:
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named or DEFAULT_FILE)
    if not path.is_file():
        if named:
            raise ConfigError(f"{CONFIG_VARIABLE}={named}: there is no such file")
        return {}
    try:
        with path.open("rb") as file:
            table = tomllib.load(file).get(TABLE, {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: '{TABLE}' must be a table: [{TABLE}]")
    return table


def _refuse_unknown_variables(known: set[str]) -> None:
    """A misspelt variable would be ignored in silence otherwise."""
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(ENV_PREFIX).lower()
        if variable.upper().startswith(ENV_PREFIX) and name not in known:
            raise ConfigError(f"{variable}: there is no such setting; known: {', '.join(sorted(known))}")


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"] if part != "[key]"]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(ServerSettings.model_fields))
        return f"server setting '{'.'.join(parts)}': there is no such setting; known: {known}"
    if "[key]" in first["loc"]:
        return f"server setting {parts[0]}: {parts[-1]!r} cannot be a name: {message}"
    return f"server setting {'.'.join(parts)}={first['input']!r}: {message}"
