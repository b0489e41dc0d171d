"""Arrow streams that somebody sent: read by the rules of Parquet, and trusted in nothing.

Arrow follows the offsets in a stream wherever they lead, so every batch is validated before it is read. And a
few bytes must not become a great many values: compressed buffers are refused, and values counted, because
some types need no bytes at all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retrieval.corpus.document import FieldNames
from retrieval.corpus.parquet import BATCH_ROWS, python_schema, row_values
from retrieval.corpus.source import Rows
from retrieval.errors import DataError

__all__ = ["arrow_rows"]

STREAM = "the Arrow stream"
PER_BYTE = 8
"""Values a byte: a boolean takes one bit."""
SMALL = 1 << 20
"""So many values, and bytes that are shared, any stream may have."""
_UNREADABLE = (pa.ArrowException, ValueError, OverflowError, OSError, MemoryError, struct.error)


def arrow_rows(content: bytes, names: FieldNames, where: Callable[[int], str]) -> Rows:
    """The rows of an Arrow IPC stream; ``where`` names them, counted from 0.

    Nothing is yielded before the first batch is checked, and memory holds the Python values of a few rows.

    Raises:
        DataError: no readable stream, a compressed one, one without a needed column, or with a type or
            with more values than can be meant. What follows cannot be read, so no policy is asked.
    """
    try:
        _refuse_compressed(content)
        reader = pa.ipc.open_stream(content)
        schema = python_schema(reader.schema, STREAM)
        names.check_columns(schema.names, STREAM)
        number, allowed = 0, SMALL + PER_BYTE * len(content)
        for batch in reader:
            batch.validate(full=True)
            allowed -= sum(_size(column, is_nested=False) for column in batch.columns)
            if allowed < 0:
                raise DataError(f"it has more values than {len(content)} bytes can mean", STREAM)
            for values in _rows(batch, schema):
                place = where(number)
                number += 1
                yield place, DataError(values, place) if isinstance(values, str) else values
    except _UNREADABLE as error:
        raise DataError(f"not a readable Arrow stream ({str(error).partition(chr(10))[0]})", STREAM) from None


def _rows(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[dict[str, Any] | str]:
    for first in range(0, batch.num_rows, BATCH_ROWS):
        yield from row_values(batch.slice(first, BATCH_ROWS), schema)


def _size(array: Any, *, is_nested: bool) -> int:
    """Values of an array and of what is inside them; where several may share their bytes, those too.

    Raises:
        DataError: a dictionary inside values, or of values whose size Arrow does not tell.
    """
    kind, n = array.type, len(array)
    if pa.types.is_dictionary(kind):
        value = kind.value_type
        if is_nested or pa.types.is_nested(value) or pa.types.is_string_view(value):
            raise DataError(f"a column has values of type {kind}; cast or drop it", STREAM)
        if pa.types.is_string(value) or pa.types.is_large_string(value):
            n += int(pc.sum(pc.binary_length(array.dictionary).take(array.indices)).as_py() or 0)
        return n
    if pa.types.is_string_view(kind):
        lengths = np.frombuffer(array.buffers()[1], "<i4")[4 * array.offset : 4 * (array.offset + n) : 4]
        return n + int(lengths.clip(0).sum(dtype=np.int64))
    if pa.types.is_struct(kind):
        return n + sum(_size(array.field(i), is_nested=True) for i in range(kind.num_fields))
    if pa.types.is_fixed_size_list(kind):
        return n + n * int(kind.list_size) + _size(array.values, is_nested=True)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return n + _size(array.values, is_nested=True)
    return n


def _refuse_compressed(content: bytes) -> None:
    """Refuse buffers that are compressed inside the stream: how large they are is known only afterwards.

    Raises:
        DataError: there are some.
    """
    for message in pa.ipc.MessageReader.open_stream(content):
        metadata = message.metadata.to_pybytes()
        header = _field(metadata, _table(metadata, 0), 2)
        if header and message.type == "dictionary":
            header = _field(metadata, _table(metadata, header), 1)
        if header and message.type != "schema" and _field(metadata, _table(metadata, header), 3):
            told = "its buffers are compressed; send them as they are (gzip as Content-Encoding is fine)"
            raise DataError(told, STREAM)


# Arrow's Message, RecordBatch and DictionaryBatch are FlatBuffers tables (arrow.apache.org/docs/format,
# Message.fbs); pyarrow has verified them, but does not say whether a batch is compressed.
def _table(metadata: bytes, at: int) -> int:
    """Where the table is that the offset at ``at`` leads to."""
    return at + int(struct.unpack_from("<I", metadata, at)[0])


def _field(metadata: bytes, table: int, number: int) -> int:
    """Where the field of a table is, 0 if it has none."""
    names = table - struct.unpack_from("<i", metadata, table)[0]
    size = struct.unpack_from("<H", metadata, names)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", metadata, names + slot)[0] if slot < size else 0
    return table + int(offset) if offset else 0
