"""What an index holds, read from its storage, and checks that need no knowledge of how it came there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrieval import Document, Engine, SearchConfig
from retrieval.storage import Catalog, Snapshot, SnapshotKeeper
from tests.encoders import BucketDense

Content = dict[str, tuple[str, int]]
"""Text and the metadata field ``n``, by id."""


EVERYTHING = SearchConfig(nprobe=10**6, num_candidates=10**6, ef_search=10**6)
"""Probe, with all the effort there is."""


def memory() -> str | None:
    """A folder in memory, if the system has one, for tests that only play with losing a disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def living(snapshot: Snapshot) -> list[tuple[Document, np.ndarray]]:
    """Documents that are not deleted, with their vectors in float64."""
    found = []
    for view in snapshot.segments:
        live = np.ones(view.n_documents, bool) if view.live is None else view.live
        for ordinal in np.flatnonzero(live):
            codes = snapshot.codec.decode(np.asarray(view.document_codes(int(ordinal))))
            found.append((view.documents.document(int(ordinal)), codes.astype(np.float64)))
    return found


def stored(index: Path) -> list[tuple[Document, np.ndarray]]:
    """`living` of the last commit."""
    with Catalog.open(index) as catalog:
        return living(SnapshotKeeper(index, catalog).latest())


def contents(index: Path) -> Content:
    """What is there; an id that is there twice is an error."""
    documents = [document for document, _ in stored(index)]
    by_id = {document.id: (document.text, document.metadata["n"]) for document in documents}
    assert len(by_id) == len(documents), "an id is there twice"
    return by_id


def orphans(index: Path) -> list[str]:
    """Folders of segments and codecs that the catalog does not name."""
    with Catalog.open(index) as catalog:
        named = {f"segments/{number:08d}" for number in catalog.segment_numbers()}
        named |= {f"codecs/{name}" for name in catalog.codec_folders()}
    there = [f"{kind}/{path.name}" for kind in ("segments", "codecs") for path in (index / kind).glob("*")]
    return sorted(set(there) - named)


def check_search(
    engine: Engine, index: Path, query: str, where: object, *, are_as_encoded: bool = True
) -> None:
    """A search for everything equals brute force over what is stored, also when it is probed for; and
    vectors fit their texts (unless bytes were calibrated on other ones: not ``are_as_encoded``)."""
    encoder = BucketDense()
    wanted = _unit(encoder.encode_query([query])[0].astype(np.float64))
    there = stored(index)
    if not there:
        assert engine.search(query).hits == (), where
        return
    vectors = np.concatenate([vector for _, vector in there])
    texts = encoder.encode_document([document.full_text for document, _ in there]).astype(np.float64)
    if are_as_encoded:
        np.testing.assert_allclose(
            vectors, np.stack([_unit(v) for v in texts]), atol=2e-3, err_msg=str(where)
        )
    scores = dict(zip([document.id for document, _ in there], vectors @ wanted, strict=True))
    hits = engine.search(query, k=len(there) + 1, params={"exact": True}).hits
    assert {hit.id for hit in hits} == set(scores) and len(hits) == len(scores), where
    np.testing.assert_allclose([hit.score for hit in hits], [scores[hit.id] for hit in hits], atol=1e-5)
    order = [(-hit.score, hit.id) for hit in hits]
    assert order == sorted(order), where
    for k in (len(there) + 1, 3):
        assert engine.search(query, k, params=EVERYTHING).hits == hits[:k], where


def _unit(vector: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(vector)
    return vector / norm if norm else vector
