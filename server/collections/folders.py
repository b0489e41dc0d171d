"""What lies in ``data_dir``: where a collection's folder is, and how one goes away.

    data_dir/NAME/             a collection
    data_dir/.snapshots/NAME/  its snapshots (`server.collections.snapshots`)
    data_dir/.trash-*          a deleted collection whose files are being removed
    data_dir/.restoring-*      a snapshot that is being unpacked

No name of a collection begins with a dot.
"""

from __future__ import annotations

import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from retrieval.copies import recover_index
from retrieval.errors import IndexNotFoundError
from retrieval.storage import Catalog
from retrieval.storage.files import sync_folder
from server.http.problems import ProblemError
from server.settings import COLLECTION_NAME, ServerSettings

__all__ = ["DataFolder", "has_index", "identity_of", "tidy"]

CATALOG = "catalog.sqlite"
TRASH, RESTORING = ".trash-", ".restoring-"
REPLACED = re.compile(r"\.(?P<name>.+)\.replaced")


class DataFolder:
    """The folder of the collections that requests may create and delete."""

    def __init__(self, settings: ServerSettings) -> None:
        self._fixed = {name: path.expanduser() for name, path in settings.collections.items()}
        self._root = None if settings.data_dir is None else settings.data_dir.expanduser()

    @property
    def root(self) -> Path:
        """The folder.

        Raises:
            ProblemError: 409 no_data_dir.
        """
        if self._root is None:
            told = "this server has no folder for that; set data_dir (RETRIEVAL_SERVER_DATA_DIR)"
            raise ProblemError(409, "no_data_dir", told)
        return self._root

    def own(self, name: str) -> Path:
        """Where the collection of this name lies, or would: a direct child of ``data_dir``, whatever links
        there are.

        Raises:
            ProblemError: 409 no_data_dir; 409 collection_fixed, it is named in the settings or its folder
                lies elsewhere.
        """
        if name in self._fixed:
            told = f"collection '{name}' is named in the server's settings ('collections'); change it there"
            raise ProblemError(409, "collection_fixed", told)
        path = self.root / name
        if not re.fullmatch(COLLECTION_NAME, name) or path.resolve() != self.root.resolve() / name:
            told = f"the folder of collection '{name}' lies outside data_dir; change it there"
            raise ProblemError(409, "collection_fixed", told)
        return path

    def find(self, name: str) -> Path | None:
        """Where a collection of this name is to be opened from; None: there is no index."""
        with suppress(ProblemError):
            path = self._fixed.get(name) or self.own(name)
            if has_index(path):
                return path
        return None

    def staging(self) -> Path:
        """A new name for something that is not yet a collection."""
        return self.root / f"{RESTORING}{secrets.token_hex(8)}"

    def throw_away(self, path: Path) -> None:
        """Make a folder disappear in one step, then remove what was in it; what remains, `tidy` removes."""
        trash = self.root / f"{TRASH}{secrets.token_hex(8)}"
        path.rename(trash)
        sync_folder(self.root)
        shutil.rmtree(trash, ignore_errors=True)


def has_index(path: Path) -> bool:
    """Whether there is an index at ``path``, as far as can be seen from outside."""
    return (path / CATALOG).is_file()


def identity_of(path: Path) -> str | None:
    """Which index lies at ``path``: another one once it was replaced, also by a copy of itself, as long as
    somebody has the old one open. None: there is none.

    It is the number of the file and what its catalog says: a number comes again when the file has gone, and
    copies of an index say the same.

    Raises:
        RetrievalError: the catalog cannot be read.
    """
    try:
        number = (path / CATALOG).stat().st_ino
        with Catalog.open(path) as catalog:
            return f"{number} {catalog.identity()}"
    except (OSError, IndexNotFoundError):  # none, or none that may be looked at
        return None


def tidy(data_dir: Path) -> None:
    """Remove what a killed server left, and put back an index that it was about to replace. For the one
    that writes, before it looks which collections there are."""
    for path in sorted(data_dir.glob(".*")):
        replaced = REPLACED.fullmatch(path.name)
        if replaced is not None and has_index(path):
            recover_index(data_dir / replaced["name"])
        elif path.name.startswith((TRASH, RESTORING, f".{RESTORING}")):
            shutil.rmtree(path, ignore_errors=True)
