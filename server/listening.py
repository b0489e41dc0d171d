"""Sockets that listen, and how they stop without breaking a connection that a client thinks it has."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import sys

from retrieval.errors import ConfigError

__all__ = ["listen", "refuse_new"]

BACKLOG = 2048
NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""A name may have an address of a kind that this machine does not: 'localhost' without IPv6."""
SO_ATTACH_FILTER = 26
"""Linux: a small program that is asked about every packet of a socket."""
_FLAGS, _SYN, _SYN_AND_ACK = 13, 0x02, 0x12
_DROP_SYN = (
    (0x30, 0, 0, _FLAGS),  # load the byte of the TCP header that holds the flags
    (0x54, 0, 0, _SYN_AND_ACK),  # keep these two
    (0x15, 0, 1, _SYN),  # SYN alone: go on, else skip one
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # let pass
)


def listen(host: str, port: int) -> list[socket.socket]:
    """A socket for every address of ``host``, all on one port; port 0: a free one.

    Before models are loaded, so that a port that is taken is known at once.

    Raises:
        ConfigError: it cannot be had.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address[:2]) for family, *_, address in found):
            free = sockets[0].getsockname()[1] if sockets and port == 0 else port
            try:
                made = socket.create_server((str(address[0]), free), family=family, backlog=BACKLOG)
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                missing = error
            else:
                sockets.append(_named_tcp(made))
        if missing is not None and not sockets:
            raise missing
    except OSError as error:
        for each in sockets:
            each.close()
        told = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host}:{port}: {told}; choose another port") from None
    return sockets


def refuse_new(listening: socket.socket) -> None:
    """From now on nobody begins a connection to this socket; those that are being made are made.

    Whoever tries hears nothing, tries again after a second, and is refused once the socket is closed.
    Without this a connection that is made between our last look and the close would be reset. Where the
    system cannot do it, that gap of microseconds stays.
    """
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
    held = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(held))
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _named_tcp(made: socket.socket) -> socket.socket:
    """asyncio sets TCP_NODELAY where it reads that this is TCP, which `create_server` leaves open; without,
    an answer of two packets waits 40 ms for an acknowledgement."""
    return socket.socket(made.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=made.detach())
