"""Numba keeps compiled kernels on disk and compiles one again when its own file has changed, but does not see
that a function was changed which it calls, and has inlined, from another file: after an upgrade in place the
old one would run on. Here a kernel's stamp covers its file and all that this imports of the package.

What Numba offers for this is a list of locators, each of which knows a place to keep kernels and a stamp of
their source. Those it has are kept, places and order; for files of the package they give another stamp. Where
no place can be written to, kernels are compiled by every process. How they lie there is `kept`'s matter.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import llvmlite
from numba.core import caching

from retrieval.kernels.kept import FITS, Stamp, kept_or

__all__ = ["Sources", "stamp_kernels"]

_ASKED = {"get_cache_path", "get_source_stamp", "get_disambiguator"}
"""What a locator answers, in the Numba that this was written for."""


class Sources:
    """The modules of a package, ``name``, in a folder; read once, when first asked for."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = f"{folder}{os.sep}", re.escape(name)
        self._found: dict[str, tuple[bytes, frozenset[str]]] = {}
        self._stamps: dict[str, str] = {}

    def __contains__(self, file: str) -> bool:
        return file.startswith(self._folder)

    def stamp(self, file: str) -> str:
        """A digest of the compiler's version, of a module, and of all it imports of the package, however far.

        Raises:
            OSError: a file cannot be read.
        """
        if file not in self._stamps:
            digest = hashlib.sha256(llvmlite.__version__.encode())
            for one in sorted(self.reached(file)):
                digest.update(one.removeprefix(self._folder).encode() + b"\0" + self._read(one)[0])
            self._stamps[file] = digest.hexdigest()
        return self._stamps[file]

    def reached(self, file: str) -> set[str]:
        """A module and all that it imports of the package, however far.

        Raises:
            OSError: a file cannot be read.
        """
        reached, left = set[str](), [file]
        while left:
            one = left.pop()
            if one not in reached:
                reached.add(one)
                left.extend(self._read(one)[1])
        return reached

    @cached_property
    def _files(self) -> dict[str, str]:
        """Files by what follows the package's name: ``.a.b`` is ``a/b.py`` or ``a/b/__init__.py``."""
        found = {}
        for folder, _, names in os.walk(self._folder):
            below = folder.removeprefix(self._folder).replace(os.sep, ".")
            dotted = f".{below}" if below else ""
            for name in names:
                if name.endswith(".py"):
                    module = dotted if name == "__init__.py" else f"{dotted}.{name.removesuffix('.py')}"
                    found[module] = os.path.join(folder, name)  # noqa: PTH118  (many, and soon)
        found.pop("", None)  # which all import, and which says nothing
        return found

    @cached_property
    def _imports(self) -> re.Pattern[str]:
        """The package's name, what follows it, and what is imported of that."""
        return re.compile(rf"{self._name}((?:\.\w+)*)(?:[ ]+import[ ]+(\([^)]*\)|[^\n]*))?")

    def _read(self, file: str) -> tuple[bytes, frozenset[str]]:
        """The digest of a file, and which modules it names: rather one too many, as in a docstring."""
        if file not in self._found:
            content = Path(file).read_bytes()
            named = frozenset(self._named(content.decode()))
            self._found[file] = hashlib.sha256(content).digest(), named
        return self._found[file]

    def _named(self, text: str) -> Iterator[str]:
        for whole, parts in self._imports.findall(text):
            for dotted in (whole, *(f"{whole}.{part}" for part in re.findall(r"\w+", parts))):
                if dotted in self._files:
                    yield self._files[dotted]


def stamp_kernels(sources: Sources) -> None:
    """Have kernels of these sources, decorated from now on, compiled again when anything they are made of has
    changed. With a Numba that keeps kernels in another way nothing is done: it does as it did."""
    locators = getattr(caching.CacheImpl, "_locator_classes", None)
    base = getattr(caching, "_CacheLocator", None)
    if isinstance(locators, list) and getattr(base, "__abstractmethods__", None) == _ASKED:
        stamped = [_stamped(one, sources) for one in locators]
        locators[:0] = [*stamped, _nowhere(_stamped(caching.InTreeCacheLocator, sources))]
        if FITS:
            caching.IndexDataCacheFile = kept_or(caching.IndexDataCacheFile)


def _stamped(locator: Any, sources: Sources) -> type:
    """A locator as given, but for files of the sources alone, and its stamp is theirs."""

    writable = set[str]()

    class Stamped(locator):
        @classmethod
        def from_function(cls, py_func: Any, py_file: str) -> Any:
            return super().from_function(py_func, py_file) if py_file in sources else None

        def ensure_cache_path(self) -> None:
            if (folder := self.get_cache_path()) not in writable:  # a file written there, once
                super().ensure_cache_path()
                writable.add(folder)

        def get_source_stamp(self) -> Any:
            own = super().get_source_stamp()
            try:
                return Stamp(own, sources.stamp(self._py_file))
            except OSError:  # in an archive, or frozen: the next best
                return own

    return Stamped


def _nowhere(locator: Any) -> type:
    """A locator as given, also where its place cannot be written to."""

    class Nowhere(locator):
        def ensure_cache_path(self) -> None:
            pass

    return Nowhere
