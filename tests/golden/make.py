"""Write a golden index of the present format: `python -m tests.golden.make v2`, or ``v2-trained``, or
``v2-late-trained``.

Done once when a format version is born, or something is stored that was not before; the folders are
committed and open for ever.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from retrieval import Document, Engine, IndexConfig, RecipeConfig, RuntimeConfig, SearchConfig
from tests.encoders import HashingDense, HashingLate

HERE = Path(__file__).parent
QUERIES = ["a river in the north", "green tea", "the lamp on the table"]
DOCUMENTS = [
    Document(
        "boat", "A small boat drifts down the river at dusk.", "Boat", {"year": 1999, "tags": ["water"]}
    ),
    Document("tea", "She drinks green tea from a blue cup.", "", {"year": 2004, "rating": 4.5}),
    Document("lamp", "The lamp on the table throws a warm light.", "Lamp", {"tags": ["home", "light"]}),
    Document(
        "north", "In the north the winter is long and the river freezes.", "North", {"born": date(2001, 2, 3)}
    ),
    Document(
        "cup", "A cup without a handle stands on the shelf.", "", {"place": {"city": "Oslo", "floor": 3}}
    ),
    Document("näive", "Ein Fluß im Norden, 北の川.", "Üml", {"seen": datetime(2020, 1, 2, 3, 4, tzinfo=UTC)}),
    Document("void", "...", "", {"hidden": True}),
]
"""Words of our own, and one of every kind of metadata: what an index of format 1 holds."""

LATER = [
    Document("lamp", "The old lamp is broken; a candle stands on the table.", "Candle", {"year": 2011}),
    Document("ferry", "The ferry to the north leaves at dawn.", "Ferry", {"year": 2012, "tags": []}),
    Document("kettle", "The kettle sings for the tea.", "", {"year": 2013.5, "place": {"floor": 1}}),
    Document("ice", "Ice on the river carries a sledge.", "", {"born": date(2014, 5, 6)}),
    Document("cup", "The cup has a handle again.", "Cup", {"place": {"city": "Bergen"}}),
    Document("gone", "Nobody is to find this text about green tea.", "Gone", {"hidden": True}),
]
"""What changed an index of format 2 afterwards; "boat" and "gone" were deleted."""


PLACES, THINGS = ("hill", "harbour", "garden", "market", "bridge"), ("stone", "bread", "rope", "glass")
MANY = [
    Document(f"{place}-{thing}-{n}", f"{thing} number {n} by the {place} in the north")
    for place in PLACES
    for thing in THINGS
    for n in (1, 2)
]
"""What a trained index holds besides: enough for lists."""
TRAINED = IndexConfig.of(
    precision="int8",
    recipe=RecipeConfig.of(index="ivf", bits=2, nlist=4, held_out=8),
    segment_documents=100,
)
LATE_TRAINED = IndexConfig.of(
    precision="int8",
    recipe=RecipeConfig.of(index="tokens", reduce="pca:12", codec="pq", m=4, ncentroids=16, held_out=8),
    segment_documents=100,
)


def living(name: str) -> dict[str, Document]:
    """The documents of a golden index by id; ``name`` begins with its format."""
    if name.startswith("v1"):
        return {document.id: document for document in DOCUMENTS}
    many = MANY if name.endswith("trained") else []
    found = {document.id: document for document in [*many, *DOCUMENTS, *LATER]}
    return {doc_id: document for doc_id, document in found.items() if doc_id not in ("boat", "gone")}


def answers(engine: Engine, params: SearchConfig | None = None) -> dict[str, list[list[Any]]]:
    """What is found for each query: ids and scores."""
    return {
        query: [[hit.id, hit.score] for hit in engine.search(query, k=20, params=params)] for query in QUERIES
    }


def write(
    folder: Path,
    encoder: HashingDense | HashingLate,
    config: IndexConfig,
    more: Sequence[Document] = (),
) -> dict[str, list[list[Any]]]:
    """Make an index with merged segments, segments as they came, pending documents, and deleted ones
    in each. Returns the answers it gave."""
    runtime = RuntimeConfig.of(maintenance="manual", pending_documents=2)
    Engine.build(folder, [*more, *DOCUMENTS[:4]], encoder, config=config, runtime=runtime)
    with Engine.open(folder, encoder, runtime=runtime) as engine:
        engine.add(DOCUMENTS[4:])  # more than may wait: straight into segments
        engine.compact()
        engine.upsert(LATER[:2])
        engine.flush()
        engine.add(LATER[2:4])
        engine.upsert(LATER[4:])
        engine.delete(["boat", "gone"])
        found = answers(engine)
    _settle(folder)
    return found


def _settle(folder: Path, kept: Sequence[str] = ("catalog.sqlite", "segments", "codecs")) -> None:
    """Leave nothing but the catalog's one file, the segments, and what was trained."""
    connection = sqlite3.connect(folder / "catalog.sqlite")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for entry in folder.iterdir():
        if entry.name not in kept:
            entry.unlink()


def main(name: str) -> None:
    """Write ``<name>-dense`` and ``<name>-late`` beside this file, or ``<version>-trained`` or
    ``<version>-late-trained``, with the answers they gave."""
    plain = IndexConfig.of(segment_documents=2)
    if name.endswith("-late-trained"):
        _keep(name, write(HERE / name, HashingLate(16), LATE_TRAINED, MANY))
        return
    if name.endswith("-trained"):
        _keep(name, write(HERE / name, HashingDense(16), TRAINED, MANY))
        return
    for encoder in (HashingDense(16), HashingLate(16)):
        _keep(f"{name}-{encoder.kind}", write(HERE / f"{name}-{encoder.kind}", encoder, plain))


def _keep(name: str, found: dict[str, list[list[Any]]]) -> None:
    text = json.dumps(found, ensure_ascii=False, indent=1)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
