"""Settings of the server, from keyword values, the environment and a TOML file, in that order.

The environment is ``RETRIEVAL_SERVER_<NAME>``; the file is the ``[server]`` table of the TOML file
that ``RETRIEVAL_CONFIG`` names, or of ``retrieval.toml`` in the current folder. Relative paths
start at the current folder.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode import GIVEN
from retrieval.errors import ConfigError
from server.schemas.base import DEFAULT_LIMIT
from server.security.keys import KeyName, KeySettings, check_keys, is_readable_by_others, read_keys
from server.settings_sources import ENV_PREFIX, file_values, first_problem, refuse_unknown_variables

__all__ = ["COLLECTION_NAME", "ServerSettings"]

CATALOG = "catalog.sqlite"
COLLECTION_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$"
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@*]+")
HOST = re.compile(r"\*|(\*\.)?[a-z0-9_][a-z0-9_.-]*|\[[0-9a-f:.]+\]")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
BUILT_IN_MODELS = ("minilm", "minilm-late")

CollectionName = Annotated[str, Field(pattern=COLLECTION_NAME)]
ModelName = Annotated[str, Field(pattern=MODEL_NAME)]


def _model(value: Any) -> Any:
    """A text is the model's name or folder."""
    return {"name": value} if isinstance(value, str) else value


Model = Annotated[EncoderConfig, BeforeValidator(_model)]


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
    read_only: bool = Field(False, description="refuse every request that would change something")
    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen on; any but loopback needs a key"
    )
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0: a free one")
    tls_certificate: Path | None = Field(None, description="certificate chain (PEM), to serve HTTPS")
    tls_key: Path | None = Field(None, description="private key of the certificate (PEM)")
    keys: dict[KeyName, KeySettings] = Field(
        default_factory=dict,
        description='who may do what: name -> {"sha256", "scope": "read|write|admin", "collections": '
        "[patterns]}; 'retrieval key' makes one. Without any, everybody may do everything (JSON in the "
        "environment)",
    )
    keys_file: Path | None = Field(None, description="TOML or JSON file with more keys, written as in 'keys'")
    allowed_hosts: tuple[str, ...] | None = Field(
        None,
        description="names the server may be called by, as in the Host header, or *; default: this machine's "
        "loopback names and 'host' while there are no keys, else any (JSON in the environment)",
    )
    cors_origins: tuple[str, ...] = Field(
        default_factory=tuple,
        description="web pages of other origins that may call, as https://example.org (JSON likewise)",
    )
    models: dict[ModelName, Model] = Field(
        default_factory=lambda: {name: EncoderConfig(name=name) for name in BUILT_IN_MODELS},
        description="models that requests may name: name -> built-in name, checkpoint folder, or the values "
        "of EncoderConfig; default: minilm and minilm-late (JSON in the environment)",
    )
    search_threads: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1), ge=1, le=256, description="searches at one time"
    )
    max_in_flight: int = Field(
        64,
        ge=1,
        le=65_536,
        description="requests worked on or waiting at one time; one more is refused (503)",
    )
    max_tasks: int = Field(100, ge=1, le=100_000, description="tasks that may wait")
    max_streams: int = Field(
        100,
        ge=1,
        le=65_536,
        description="streams of a task's events open at one time; one more is refused (503)",
    )
    timeout_ms: int = Field(
        30_000, ge=1, le=3_600_000, description="longest time of a search, milliseconds; it may ask for less"
    )
    drain_seconds: float = Field(
        10, ge=0, le=3600, description="how long requests may go on after SIGTERM, seconds"
    )
    drain_grace_seconds: float = Field(
        1,
        ge=0,
        le=3600,
        description="how long of that new connections are still taken, for whoever has to see first that the "
        "server is not ready, seconds",
    )
    header_seconds: float = Field(
        30, gt=0, le=3600, description="how long the head of a request may take to come, seconds"
    )
    max_limit: int = Field(1000, ge=DEFAULT_LIMIT, le=100_000, description="most hits one search may ask for")
    max_explained: int = Field(
        100, ge=DEFAULT_LIMIT, le=100_000, description="most hits when explanations are asked for"
    )
    max_query_chars: int = Field(8192, ge=1, description="longest query, in characters")
    max_query_tokens: int = Field(4096, ge=1, description="most vectors of one query")
    max_searches: int = Field(100, ge=1, le=10_000, description="most searches in one batch")
    max_body_bytes: int = Field(1 << 20, ge=1024, description="largest request body")
    max_documents_bytes: int = Field(
        64 << 20, ge=1024, description="largest body of documents, also after it is decompressed"
    )
    max_documents: int = Field(10_000, ge=1, description="most documents, or ids, in one request")
    max_json_depth: int = Field(64, ge=8, le=256, description="deepest nesting of JSON")
    query_cache: int = Field(1024, ge=0, description="texts whose query vectors are kept, a model; 0: none")
    encode_batch_tokens: int = Field(
        4096, ge=16, description="padded tokens of queries that the model encodes at once"
    )
    tracing: bool = Field(False, description="OpenTelemetry spans, where its packages are installed")
    device: str = Field("auto", min_length=1, description="where models run: auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="arithmetic of models")
    kernels: Literal["auto", "cpu", "cuda", "reference"] = Field("auto", description="what scores")

    def __init__(self, **values: Any) -> None:
        refuse_unknown_variables(type(self).model_fields)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(first_problem(error, type(self).model_fields)) from None
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
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=file_values())

    @field_validator("models")
    @classmethod
    def _model_names(cls, models: dict[str, EncoderConfig]) -> dict[str, EncoderConfig]:
        if GIVEN in models:
            raise ValueError(
                f"'{GIVEN}' stands for vectors that documents bring; give the model another name"
            )
        return models

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, hosts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        lowered = tuple(host.lower() for host in hosts or ())
        for host in lowered:
            if not HOST.fullmatch(host):
                raise ValueError(f"'{host}' is no host; write it without a port: api.example.org, [::1] or *")
        return None if hosts is None else lowered

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        lowered = tuple(origin.lower() for origin in origins)
        for origin in lowered:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"'{origin}' is no origin; name each one, as https://example.org")
        return lowered

    @model_validator(mode="after")
    def _together(self) -> Self:
        if not self.all_keys and not _is_loopback(self.host):
            raise ConfigError(
                f"server setting host={self.host!r}: not a loopback address, and there is no key, so anybody "
                "could read and write; make one with 'retrieval key' and name it in 'keys' or 'keys_file', "
                "or use 127.0.0.1"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            raise ConfigError(f"server setting {missing}: HTTPS needs the certificate and its key; set both")
        for name in ("tls_certificate", "tls_key"):
            path = getattr(self, name)
            if path is not None and not path.expanduser().is_file():
                raise ConfigError(f"server setting {name}={path}: there is no such file")
        return self

    @cached_property
    def all_keys(self) -> Mapping[str, KeySettings]:
        """Those of ``keys`` and of ``keys_file``, which is read once, when the settings are made."""
        path = self.keys_file
        from_file = {} if path is None else read_keys(path.expanduser())
        return check_keys([("server setting keys", self.keys), (f"keys_file={path}", from_file)])

    @property
    def host_names(self) -> tuple[str, ...]:
        """Names that a ``Host`` header may hold, lower case, without port; ``*`` is any."""
        if self.allowed_hosts is not None:
            return self.allowed_hosts
        host = self.host.lower()
        # A name that an attacker points at this address is refused only where no key protects it.
        return ("*",) if self.all_keys else (*LOCAL_HOSTS, f"[{host}]" if ":" in host else host)

    def cautions(self) -> list[str]:
        """What works but deserves a line in the log when the server starts."""
        found = []
        if self.keys_file is not None and is_readable_by_others(self.keys_file.expanduser()):
            found.append(
                f"keys_file={self.keys_file}: other users may read it; safe with keys of 'retrieval key', "
                f"else run: chmod 600 {self.keys_file}"
            )
        if self.tls_certificate is None and not _is_loopback(self.host):
            found.append(
                "keys and documents travel unencrypted; set tls_certificate and tls_key, or put a proxy "
                "in front"
            )
        return found

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
        if data_dir.exists():
            told = f"data_dir={data_dir}: {data_dir.absolute()} is no folder"
            raise ConfigError(f"{told}; name the one that holds the collections")
        raise ConfigError(
            f"data_dir={data_dir}: there is no such folder ({data_dir.absolute()}); "
            "correct the name, or make the folder to start with no collections"
        )
    # What begins with a dot is on its way in or out (`server.collections.folders`).
    folders = sorted(path.parent for path in data_dir.glob(f"[!.]*/{CATALOG}"))
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
