"""Write a golden index of the present format: `python -m tests.golden.make v2`.

Done once when a format version is born; the folders are committed and open for ever.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from retrieval import Document, Engine, IndexConfig
from tests.encoders import HashingDense, HashingLate

QUERIES = ["a river in the north", "green tea", "the lamp on the table"]
DOCUMENTS = [
    Document("boat", "A small boat drifts down the river at dusk.", "Boat", {"year": 1999, "tags": ["water"]}),
    Document("tea", "She drinks green tea from a blue cup.", "", {"year": 2004, "rating": 4.5}),
    Document("lamp", "The lamp on the table throws a warm light.", "Lamp", {"tags": ["home", "light"]}),
    Document("north", "In the north the winter is long and the river freezes.", "North", {"born": date(2001, 2, 3)}),
    Document("cup", "A cup without a handle stands on the shelf.", "", {"place": {"city": "Oslo", "floor": 3}}),
    Document("näive", "Ein Fluß im Norden, 北の川.", "Üml", {"seen": datetime(2020, 1, 2, 3, 4, tzinfo=UTC)}),
    Document("void", "...", "", {"hidden": True}),
]
"""Words of our own, and one of every kind of metadata."""


def main(name: str) -> None:
    """Write ``<name>-dense`` and ``<name>-late`` beside this file, with the answers they gave."""
    here = Path(__file__).parent
    for encoder in (HashingDense(16), HashingLate(16)):
        folder = here / f"{name}-{encoder.kind}"
        Engine.build(folder, DOCUMENTS[:4], encoder, config=IndexConfig.of(segment_documents=2))
        with Engine.open(folder, encoder) as engine:
            engine.add(DOCUMENTS[4:])
            answers = {query: [[hit.id, hit.score] for hit in engine.search(query, k=10)] for query in QUERIES}
        text = json.dumps(answers, ensure_ascii=False, indent=1)
        (here / f"{name}-{encoder.kind}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
