"""HTTP/1.1 from a socket, at as little cost as Python allows: load and server share the processors."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Address", "Connection", "post"]

Address = tuple[str, int]
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSING = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
PIECE = 1 << 18
TIMEOUT_SECONDS = 60.0


def post(url: str, body: Mapping[str, Any]) -> bytes:
    """A whole request, ready to be sent any number of times."""
    parts = urlsplit(url)
    content = json.dumps(body, separators=(",", ":")).encode()
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


class Connection:
    """A connection that is kept, with one request on it at a time. Answers have to name their length."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket = self._connected()
        self._received = bytearray()
        self._needed: int | None = None
        self._body_at = 0
        self.status = 0

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def send(self, request: bytes) -> None:
        """All of it, on a new connection where the server has given up one that was quiet; waits where it is
        slow to read."""
        self._forget()
        try:
            self._socket.sendall(request)
        except OSError:
            self.renew()
            self._socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come, at least something; whether the answer is whole. ``status`` is 0 if the
        connection broke.

        Raises:
            ValueError: an answer without a length.
        """
        try:
            piece = self._socket.recv(PIECE)
        except OSError:
            piece = b""
        if not piece:
            self.status = 0
            return True
        self._received += piece
        if self._needed is None and not self._read_head():
            return False
        return self._needed is not None and len(self._received) >= self._needed

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        for _ in range(2):  # the server may hang up just as this is sent
            self.send(request)
            while not self.receive():
                pass
            if self.status:
                break
            self.renew()
        return self.status, bytes(self._received[self._body_at :])

    @property
    def is_over(self) -> bool:
        """Whether the server has closed it, or will after this answer."""
        return not self.status or CLOSING.search(self._received, 0, self._body_at) is not None

    def renew(self) -> None:
        """Connect again."""
        self.close()
        self._socket = self._connected()
        self._forget()

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _forget(self) -> None:
        self._received.clear()
        self._needed, self._body_at, self.status = None, 0, 0

    def _connected(self) -> socket.socket:
        made = socket.create_connection(self._address, TIMEOUT_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _read_head(self) -> bool:
        end = self._received.find(HEAD_END)
        if end < 0:
            return False
        found = LENGTH.search(self._received, 0, end)
        if found is None:
            raise ValueError(f"{self._address} answered without a Content-Length")
        self.status = int(self._received[9:12])
        self._body_at = end + len(HEAD_END)
        self._needed = self._body_at + int(found[1])
        return True
