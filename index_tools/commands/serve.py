"""``retrieval serve``: indexes over HTTP.

The server has settings of its own; the options here stand before its environment variables and
its file. It is loaded by name when this command runs: the two packages do not import each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer

from index_tools import options as opt
from retrieval.errors import ConfigError, IndexNotFoundError

__all__ = ["collections_of", "serve"]

Indexes = Annotated[
    list[str] | None,
    typer.Argument(help="index folders, each served under its name; or NAME=FOLDER", metavar="INDEX"),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="serve every index in this folder")]
Host = Annotated[str | None, typer.Option("--host", help="address to listen on", show_default="127.0.0.1")]
Port = Annotated[
    int | None, typer.Option("--port", help="port to listen on; 0: a free one", show_default="8080")
]
Device = Annotated[
    str | None, typer.Option("--device", help="where the models run", show_default="the server's setting")
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option("--dtype", help="arithmetic of the models", show_default="the server's setting"),
]


def serve(
    indexes: Indexes = None,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Serve indexes over HTTP; more settings: RETRIEVAL_SERVER_* or the table "server" of the file."""
    options = opt.given(data_dir=data_dir, host=host, port=port, device=device, dtype=dtype)
    if indexes:
        options["collections"] = collections_of(indexes)
    settings = import_module("server.settings").ServerSettings(**options)
    import_module("server.__main__").serve(settings)


def collections_of(indexes: Sequence[str]) -> dict[str, Path]:
    """Collection name -> index folder.

    Raises:
        IndexNotFoundError: no such folder.
        ConfigError: two folders of one name.
    """
    collections: dict[str, Path] = {}
    for given in indexes:
        name, equals, folder = given.partition("=")
        path = Path(folder if equals and not Path(given).exists() else given)
        name = name if path != Path(given) else path.resolve().name
        if not path.is_dir():
            raise IndexNotFoundError(f"{path}: there is no index here; build one with 'retrieval build'")
        if name in collections:
            raise ConfigError(f"two indexes would be served as '{name}'; name one: OTHER={path}")
        collections[name] = path
    return collections
