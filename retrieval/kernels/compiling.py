"""Kernels are compiled when they are first called, once on a machine, and that takes seconds: whoever waits
may want to know why. What comes from Numba's cache is not compiled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

__all__ = ["while_compiling"]


class _Watch(event.Listener):
    """Tells when compiling begins, in whatever thread, and when the last one has ended."""

    def __init__(self, tell: Callable[[bool], None]) -> None:
        self._tell, self._lock, self._depth = tell, threading.Lock(), 0

    def on_start(self, _: Any) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._tell(True)

    def on_end(self, _: Any) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._tell(False)


@contextmanager
def while_compiling(tell: Callable[[bool], None]) -> Iterator[None]:
    """Call ``tell(True)`` whenever a kernel begins to be compiled inside, and ``tell(False)`` when it is."""
    with event.install_listener("numba:compile", _Watch(tell)):
        yield
