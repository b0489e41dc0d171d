"""``python -m server``: serve with the settings of the environment and the TOML file."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence

from retrieval.errors import ConfigError, MissingExtraError, RetrievalError
from server.settings import ServerSettings

__all__ = ["main"]

EXTRA_PACKAGES = {"fastapi", "starlette", "structlog", "uvicorn"}
EXIT_BAD_SETTINGS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the exit code."""
    argparse.ArgumentParser(
        prog="python -m server",
        description=__doc__,
        epilog="Settings, as RETRIEVAL_SERVER_<NAME> or in [server] of retrieval.toml: "
        + "; ".join(f"{name}: {field.description}" for name, field in ServerSettings.model_fields.items()),
    ).parse_args(arguments)
    try:
        serve(ServerSettings())
    except RetrievalError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_BAD_SETTINGS
    return 0


def serve(settings: ServerSettings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: settings that cannot work.
        MissingExtraError: the packages of the extra 'server' are not installed.
    """
    try:
        import uvicorn

        from server.app import create_app
        from server.logs import uvicorn_log_config
    except ModuleNotFoundError as error:
        if error.name in EXTRA_PACKAGES:
            raise MissingExtraError("the server", "server") from None
        raise
    _check_port(settings)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=uvicorn_log_config(),
    )


def _check_port(settings: ServerSettings) -> None:
    """Before models are loaded, and in one sentence."""
    try:
        with socket.create_server((settings.host, settings.port)):
            pass
    except OSError as error:
        told = error.strerror or str(error)
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}: {told}; choose another port"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
