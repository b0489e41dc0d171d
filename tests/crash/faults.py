"""Making the disk fail: at one call of `retrieval.storage.disk`, from one on, or by the system's limits."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from retrieval.storage import disk

ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE)
CALLS = (
    "create",
    "open_file",
    "write",
    "sync",
    "sync_folder",
    "map_file",
    "mkdir",
    "rename",
    "unlink",
    "rmdir",
)


class Fault:
    """Fails at the ``n``-th call with an error; with ``lasting`` at all later ones too."""

    def __init__(self, n: int, code: int, *, lasting: bool = False) -> None:
        self.calls, self.fired = 0, ""
        self._n, self._code, self._lasting = n, code, lasting

    @contextmanager
    def installed(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(disk, name, self._failing(name, getattr(disk, name)))
            yield

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            self.calls += 1
            if self.calls == self._n or (self._lasting and self.calls > self._n):
                self.fired = name
                if name == "write":  # what a full disk does: a part is written
                    file, data = given
                    file.write(memoryview(data).cast("B")[: memoryview(data).nbytes // 2])
                raise OSError(self._code, os.strerror(self._code))
            return real(*given)

        return call


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """The process may open ``more`` files and no others: also SQLite and the locks get EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    fill = []
    try:
        while not fill or fill[-1] < used:  # numbers below the highest may be free
            fill.append(os.open("/dev/null", os.O_RDONLY))
        resource.setrlimit(resource.RLIMIT_NOFILE, (fill[-1] + 1 + more, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in fill:
            os.close(descriptor)


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: SQLite's log and database too, by short writes first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


class _Short(io.FileIO):
    def write(self, data: Any, /) -> int:
        return super().write(memoryview(data).cast("B")[:700])


def create_short(path: Path) -> BinaryIO:
    """In the place of `disk.create`: writes are short, without an error, as the system may do."""
    return io.BufferedWriter(_Short(path, "w"), 1024)
