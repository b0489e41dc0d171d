"""``python -m server``: serve with the settings of the environment and the TOML file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from retrieval.errors import MissingExtraError, RetrievalError
from server.settings import ServerSettings

__all__ = ["main", "serve"]

EXTRA_PACKAGES = {"fastapi", "prometheus_client", "starlette", "structlog", "uvicorn"}
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
    """Serve until SIGINT or SIGTERM (see `server.process`).

    Raises:
        ConfigError: settings that cannot work.
        MissingExtraError: the packages of the extra 'server' are not installed.
    """
    try:
        from server.process import run
    except ModuleNotFoundError as error:
        if error.name in EXTRA_PACKAGES:
            raise MissingExtraError("the server", "server") from None
        raise
    run(settings)


if __name__ == "__main__":
    sys.exit(main())
