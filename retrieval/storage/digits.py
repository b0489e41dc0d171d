"""Stored integers that a float64 would round: a field that holds one must not become a field of floats."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retrieval.corpus import FieldTypes
from retrieval.storage.catalog import Catalog
from retrieval.storage.snapshot import SnapshotKeeper
from retrieval.types import Document

__all__ = ["fields_to_write", "rounded"]


def fields_to_write(catalog: Catalog) -> FieldTypes:
    """The metadata fields of an index, to observe new documents with: of an integer field that is given a
    float they look whether a living document would lose digits."""
    fields = catalog.fields()
    fields.stored = partial(_losing, catalog.root)
    return fields


def _losing(root: Path, name: str, kind: pa.DataType, besides: str) -> Document | None:
    """A living document of the last commit whose ``name`` the type ``kind`` would round, but not that with
    the id ``besides``."""
    # Of its own, because the catalog that is written to may be amidst a transaction.
    with Catalog.open(root) as catalog:
        for view in SnapshotKeeper(root, catalog).latest().segments:
            column = view.documents.column(name)
            if column is None or column.type == kind:
                continue
            lost = np.concatenate([np.empty(0, np.bool_), *(rounded(chunk, kind) for chunk in column.chunks)])
            for ordinal in np.flatnonzero(lost if view.live is None else lost & view.live).tolist():
                document = view.documents.document(ordinal)
                if document.id != besides:
                    return document
    return None


def rounded(values: pa.Array, kind: pa.DataType) -> NDArray[np.bool_]:
    """Which of ``n`` values, ``(n,)``, hold an integer that differs from the nearest float64, where the wider
    type ``kind`` has floats in place of integers."""
    if pa.types.is_int64(values.type) and pa.types.is_float64(kind):
        exact = values.fill_null(0).to_numpy(zero_copy_only=False)
        near = exact.astype(np.float64)
        is_too_large = near >= 2.0**63  # which no integer is
        lost: NDArray[np.bool_] = is_too_large | (np.where(is_too_large, 0, near).astype(np.int64) != exact)
        return lost
    lost = np.zeros(len(values), dtype=np.bool_)
    if pa.types.is_list(values.type) and pa.types.is_list(kind):
        parents = pc.list_parent_indices(values).to_numpy(zero_copy_only=False)
        lost[parents[rounded(values.flatten(), kind.value_type)]] = True
    elif pa.types.is_struct(values.type) and pa.types.is_struct(kind):
        for inner in values.type:
            lost |= rounded(pc.struct_field(values, inner.name), kind.field(inner.name).type)
    return lost
