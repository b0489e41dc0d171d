"""How much memory the system has left, and how much this process took at most."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["Peak", "free_memory"]

STATUS, REFS, MEMINFO = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")
RESET_PEAK = "5"


class Peak:
    """Memory that is taken from now on: ``grown()`` tells the most there was beyond what there is now.

    Linux keeps the peak and can start it anew; None elsewhere. Pages of mapped files count while they
    are in memory.
    """

    def __init__(self) -> None:
        self._before: int | None = None
        try:
            REFS.write_text(RESET_PEAK, encoding="ascii")
            self._before = _status("VmRSS")
        except OSError:
            pass

    def grown(self) -> int | None:
        """Bytes."""
        return None if self._before is None else max(_status("VmHWM") - self._before, 0)


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
