"""How much memory the system has left, and how much this process took at most."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Peak", "free_memory"]

STATUS, REFS, MEMINFO = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")
RESET_PEAK = "5"
EVERY = 0.01
"""Seconds between two looks at anonymous memory."""


class Peak:
    """Memory that is taken inside ``with``: the most there was beyond what there was at the beginning.

    ``grown()`` counts pages of mapped files while they are in memory, which the system could take back at
    any time; Linux keeps that peak and can start it anew. ``anonymous()`` leaves them out: a thread looks
    every `EVERY` seconds, and may miss what comes and goes in between. Bytes; None where the system does not
    tell.
    """

    def __init__(self) -> None:
        self._before: int | None = None
        self._first: int | None = None
        self._most = 0
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        try:
            REFS.write_text(RESET_PEAK, encoding="ascii")
            self._before = _status("VmRSS")
            self._first = self._most = _status("RssAnon")
        except OSError:
            return self
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._watcher.is_alive():
            self._watcher.join()

    def grown(self) -> int | None:
        """With mapped pages."""
        return None if self._before is None else max(_status("VmHWM") - self._before, 0)

    def anonymous(self) -> int | None:
        """Without."""
        return None if self._first is None else self._most - self._first

    def _watch(self) -> None:
        while not self._done.wait(EVERY):
            self._most = max(self._most, _status("RssAnon"))


def free_memory() -> int | None:
    """Bytes that the system could give, its file cache included."""
    if MEMINFO.is_file():
        for line in MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _status(name: str) -> int:
    line = next(one for one in STATUS.read_text(encoding="ascii").splitlines() if one.startswith(f"{name}:"))
    return int(line.split()[1]) << 10
