"""A server in a process of its own, and what it takes of the machine."""

from __future__ import annotations

import http
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.serve.wire import Address

__all__ = ["COLLECTION", "Memory", "Server", "cpu_seconds", "free_port", "memory_of", "serving"]

COLLECTION = "bench"
START_SECONDS = 600.0
STOP_SECONDS = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Bytes of a process; ``anonymous``: not of mapped files. None where the system does not tell."""

    rss: int | None
    anonymous: int | None


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    address: Address
    pid: int

    @property
    def url(self) -> str:
        """Without a path."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def path(self, rest: str) -> str:
        """The address of something of the collection."""
        return f"{self.url}/v1/collections/{COLLECTION}/{rest}"


@contextmanager
def serving(index: Path, settings: Mapping[str, Any] | None = None) -> Iterator[Server]:
    """``python -m server`` for one index, without a cache of queries, so that every text is encoded.

    Raises:
        RuntimeError: it ended, or was not ready in time; the message is what it said last.
    """
    port, root = free_port(), str(Path(__file__).parents[2])
    values = {"port": port, "query_cache": 0, "read_only": "true", **(settings or {})}
    values["collections"] = json.dumps({COLLECTION: str(index.resolve())})
    environment = {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    environment |= {f"RETRIEVAL_SERVER_{name.upper()}": str(value) for name, value in values.items()}
    # In a folder of its own, where no settings lie.
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryDirectory() as empty:
        process = subprocess.Popen(
            [sys.executable, "-m", "server"], cwd=empty, env=_bare() | environment, stdout=said, stderr=said
        )
        try:
            server = Server(("127.0.0.1", port), process.pid)
            if not _until_ready(server.address, process):
                said.seek(0)
                raise RuntimeError(f"the server did not get ready: {said.read()[-2000:]}")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port of this machine that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def memory_of(pid: int) -> Memory:
    """What a process has now."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return Memory(None, None)
    sizes = {
        name: int(value.split()[0]) << 10 for name, _, value in (line.partition(":") for line in lines[1:])
    }
    return Memory(sizes["Rss"], sizes["Anonymous"])


def cpu_seconds(pid: int) -> float | None:
    """What a process has worked so far, all threads; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS


def _bare() -> dict[str, str]:
    """This environment without settings of the shell, which would make another server of it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RETRIEVAL_")}


def _until_ready(address: Address, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        connection = http.client.HTTPConnection(*address, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return True
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    return False
