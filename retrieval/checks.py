"""What an index is and whether it is whole, also while its build is unfinished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from retrieval.storage import Catalog, IndexInfo, VerifyReport, describe_index, verify_files

__all__ = ["describe", "inspect_index", "verify_index"]


def inspect_index(path: str | Path) -> IndexInfo:
    """Documents, tokens, bytes per component, encoder, metadata fields, without loading a model.

    Raises:
        IndexNotFoundError, IndexFormatError, IndexDamagedError
    """
    with Catalog.open(Path(path)) as catalog:
        return describe(Path(path), catalog)


def describe(root: Path, catalog: Catalog) -> IndexInfo:
    """The same of a catalog that is open, whatever its folder is called by now."""
    types = catalog.fields().types
    return describe_index(root, catalog, {name: str(kind) for name, kind in types.items()})


def verify_index(path: str | Path, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Check every checksum and invariant; ``progress(bytes_done, bytes_total)``.

    Raises:
        IndexNotFoundError, IndexFormatError, IndexDamagedError
    """
    with Catalog.open(Path(path)) as catalog:
        return verify_files(Path(path), catalog, progress)
