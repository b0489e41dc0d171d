"""Compiled kernels on disk, a file each.

Numba keeps an index and numbered files. Processes that compile at the same time can give one number to two
things (a kernel for bytes and for floats, or of an old source and of the new one), and whoever loads the one
then runs the other. A file that was cut short, by a full disk or with the power, fails in every process until
somebody removes it (numba/numba#10434). Here a file's name says what is in it, its end whether it is whole,
and there is no index. What cannot be read is compiled again; what cannot be written is not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from numba.core import caching

__all__ = ["FITS", "Kept", "Stamp", "kept_or"]

DIGEST = 32
_Files: Any = getattr(caching, "IndexDataCacheFile", object)
FITS = all(hasattr(_Files, name) for name in ("_dump", "_load_data", "_open_for_write"))
"""Whether Numba has what this is made of."""


class Stamp(NamedTuple):
    """Numba's ``own`` stamp of a file, and the digest of all the ``sources`` that it is compiled from."""

    own: Any
    sources: str


class Kept(_Files):
    """What one kernel was compiled to, by key: the types it is called with and the processor. In the place of
    the class that it is made of."""

    def __init__(self, cache_path: str, filename_base: str, source_stamp: Stamp) -> None:
        super().__init__(cache_path, filename_base, source_stamp)
        self._folder, self._kernel = Path(cache_path), f"{filename_base}."
        self._prefix = f"{self._kernel}{_short(self._version, source_stamp)}-"

    def load(self, key: Any) -> Any:
        """What was saved under the key; None if nothing was, or not all of it."""
        name = self._name(key)
        try:
            content = (self._folder / name).read_bytes()
            if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
                return None
            known, data = self._load_data(name)  # which does not mind what comes behind
        except OSError:
            return None
        return data if known == key else None

    def save(self, key: Any, data: Any) -> None:
        """Keep it, and nothing that other sources were compiled to."""
        whole: bytes = self._dump((key, data))
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._open_for_write(str(self._folder / self._name(key))) as file:
                file.write(whole + hashlib.sha256(whole).digest())
            self._remove(but=self._prefix)

    def flush(self) -> None:
        """Keep nothing."""
        with suppress(OSError):
            self._remove(but=None)

    def _name(self, key: Any) -> str:
        return f"{self._prefix}{_short(key)}.nbc"

    def _remove(self, but: str | None) -> None:
        for each in self._folder.iterdir():
            if each.name.startswith(self._kernel) and not (but and each.name.startswith(but)):
                each.unlink(missing_ok=True)


def kept_or(usual: Callable[..., Any]) -> Callable[..., Any]:
    """In the place of ``usual``, which makes what keeps a kernel: `Kept` for one that has a `Stamp`."""

    def made(cache_path: str, filename_base: str, source_stamp: Any) -> Any:
        make = Kept if isinstance(source_stamp, Stamp) else usual
        return make(cache_path=cache_path, filename_base=filename_base, source_stamp=source_stamp)

    return made


def _short(*parts: Any) -> str:
    """A name for them, the same in every process."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
