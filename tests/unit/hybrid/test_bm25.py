"""BM25 against the formula, one document at a time, while the index changes."""

from __future__ import annotations

import errno
import math
import re
from pathlib import Path

import numpy as np
import pytest

from retrieval import Document, Engine, IndexConfig, RuntimeConfig
from retrieval.filters import parse_filter
from retrieval.hybrid import BM25
from retrieval.hybrid.analysis import Vocabulary
from retrieval.hybrid.postings import Counts, Postings
from retrieval.search import accepted
from tests.encoders import BucketDense

WORDS = [f"word{i}" for i in range(40)]
K1, B = 1.5, 0.75


def documents(n: int, seed: int = 0, start: int = 0) -> list[Document]:
    """Zipf-like words, some documents alike, one with nothing to count."""
    rng = np.random.default_rng(seed)
    odds = 1 / np.arange(1, len(WORDS) + 1)
    made = []
    for i in range(start, start + n):
        words = rng.choice(WORDS, rng.integers(1, 30), p=odds / odds.sum())
        text = "x y" if i % 31 == 7 else "word0 word3" if i % 13 == 5 else " ".join(words)
        made.append(Document(f"d{i:04d}", text, title="word5" if i % 3 == 0 else "", metadata={"n": i}))
    return made


def expected(docs: dict[str, Document], query: str, allowed: set[str] | None = None) -> dict[str, float]:
    """The formula, in plain Python."""
    terms = {i: re.findall(r"\w\w+", doc.full_text.lower()) for i, doc in docs.items()}
    n, average = len(docs), sum(map(len, terms.values())) / len(docs)
    scores = {}
    for i, mine in terms.items():
        score = 0.0
        for term in re.findall(r"\w\w+", query.lower()):
            df = sum(term in others for others in terms.values())
            tf = mine.count(term)
            if tf:
                idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
                score += idf * tf / (tf + K1 * (1 - B + B * len(mine) / average))
        if score > 0 and (allowed is None or i in allowed):
            scores[i] = score
    return scores


QUERIES = ["word0 word7", "WORD3 word3 word39", "word12", "nothing here", "word5 word0 word1 word2 x"]


def check(bm25: BM25, engine: Engine, docs: dict[str, Document], *, below: int | None = None) -> None:
    snapshot = engine.located()[0].snapshot
    wanted = None if below is None else parse_filter({"n": {"lt": below}})
    allowed = None if below is None else {i for i, doc in docs.items() if doc.metadata["n"] < below}
    accept = accepted(snapshot, wanted)
    truths = [expected(docs, query, allowed) for query in QUERIES]
    for k in (1, 7, 1000):
        for truth, mine in zip(truths, bm25.candidates(QUERIES, snapshot, accept, k), strict=True):
            assert {one.id: one.score for one in mine} == {
                one.id: pytest.approx(truth[one.id], rel=1e-6) for one in mine
            }
            best = sorted(truth.values(), reverse=True)[:k]
            assert [one.score for one in mine] == pytest.approx(best, rel=1e-6)
            assert [(-one.score, one.id) for one in mine] == sorted((-one.score, one.id) for one in mine)
            for one in mine:
                assert snapshot.segments[one.segment].documents.ids(np.array([one.ordinal])) == [one.id]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    config, runtime = IndexConfig(segment_documents=50), RuntimeConfig(maintenance="manual")
    Engine.build(tmp_path / "index", documents(130), BucketDense(), config=config)
    with Engine.open(tmp_path / "index", BucketDense(), runtime=runtime) as engine:
        yield engine


def test_scores_are_those_of_the_formula_while_documents_come_and_go(engine: Engine) -> None:
    bm25, docs = BM25("none"), {doc.id: doc for doc in documents(130)}
    check(bm25, engine, docs)
    for step in range(3):
        more = documents(5, seed=10 + step, start=200 + 5 * step)
        engine.add(more)
        docs |= {doc.id: doc for doc in more}
        check(bm25, engine, docs)
    changed = [Document("d0003", "word39 word39"), Document("d0201", "word12")]
    engine.upsert([Document(doc.id, doc.text, metadata={"n": 1}) for doc in changed])
    docs |= {doc.id: Document(doc.id, doc.text, metadata={"n": 1}) for doc in changed}
    gone = ["d0000", "d0064", "d0129", "d0207"]
    engine.delete(gone)
    for doc_id in gone:
        del docs[doc_id]
    check(bm25, engine, docs)
    for below in (0, 1, 60, 10**6):
        check(bm25, engine, docs, below=below)
    engine.flush()
    check(bm25, engine, docs)
    engine.compact()
    check(bm25, engine, docs, below=100)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts whose terms are counted from now on."""
    texts: list[str] = []
    learn = Vocabulary.learn

    def counting(self: Vocabulary, text: str) -> list[int]:
        texts.append(text)
        return learn(self, text)

    monkeypatch.setattr(Vocabulary, "learn", counting)
    return texts


def test_a_commit_costs_only_what_it_added(engine: Engine, read: list[str]) -> None:
    bm25 = BM25("none")

    def refreshed() -> int:
        read.clear()
        snapshot = engine.located()[0].snapshot
        bm25.candidates(["word1"], snapshot, accepted(snapshot, None), 10)
        return len(read)

    assert refreshed() == 130
    engine.add(documents(3, start=300))
    assert refreshed() == 3
    engine.add(documents(2, start=400))
    engine.delete(["d0001"])
    assert refreshed() == 2
    assert refreshed() == 0
    engine.flush()
    assert refreshed() == 5
    before = bm25.nbytes
    engine.delete([f"d{i:04d}" for i in range(100)])
    engine.compact()
    assert refreshed() == 35
    assert bm25.nbytes < before


def test_the_next_process_reads_what_was_counted(engine: Engine, read: list[str]) -> None:
    docs = {doc.id: doc for doc in documents(130)}
    check(BM25("none"), engine, docs)
    engine.add(more := documents(4, start=300))
    docs |= {doc.id: doc for doc in more}
    read.clear()
    check(BM25("none"), engine, docs)
    assert read == [doc.full_text for doc in more]  # which are pending
    first, *others = kept = sorted(engine.path.glob("segments/*/derived-terms-none.bin"))
    assert len(others) == 2
    whole, killed = first.read_bytes(), first.with_name(f"{first.name}.123-4")
    killed.write_bytes(whole[:9])
    for damage in (whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], others[0].read_bytes(), b""):
        first.write_bytes(damage)
        read.clear()
        check(BM25("none"), engine, docs)
        assert len(read) == 54 and first.read_bytes() == whole
        assert not killed.exists()
    assert engine.verify().ok
    engine.snapshot(engine.path.with_name("copy"))
    assert not list(engine.path.with_name("copy").glob("segments/*/derived-*"))
    engine.compact()
    check(bm25 := BM25("none"), engine, docs)
    assert len(list(engine.path.glob("segments/*/*derived*"))) == 1
    assert not any(path.exists() for path in kept)
    assert bm25.nbytes == BM25("none").read(engine.located()[0].snapshot).parts[0].postings.nbytes


def test_counts_stay_in_memory_where_nothing_may_be_written(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = {doc.id: doc for doc in documents(130)}

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    check(BM25("none", keep=False), engine, docs)
    for name in ("create", "rename"):
        with monkeypatch.context() as patched:
            patched.setattr(f"retrieval.storage.disk.{name}", refused)
            check(BM25("none"), engine, docs)
    assert not list(engine.path.glob("segments/*/*derived*"))


def test_counts_of_another_analysis_are_not_read(
    engine: Engine, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = engine.located()[0].snapshot
    BM25("none").read(snapshot)
    monkeypatch.setattr("retrieval.hybrid.analysis.ANALYSIS", 0)
    BM25("none").read(snapshot)
    assert len(read) == 260


def test_an_older_commit_after_a_newer_one(engine: Engine) -> None:
    bm25, docs = BM25("none"), {doc.id: doc for doc in documents(130)}
    engine.add([first := Document("p1", "word1 word1")])
    older = engine.located()[0].snapshot
    engine.add([Document("p2", "word1 word39")])
    bm25.read(engine.located()[0].snapshot)
    found = bm25.candidates(["word1"], older, accepted(older, None), 1000)[0]
    truth = expected(docs | {"p1": first}, "word1")
    assert {one.id: one.score for one in found} == {i: pytest.approx(truth[i], rel=1e-6) for i in truth}


def test_an_index_without_documents(tmp_path: Path) -> None:
    with Engine.create(tmp_path / "empty", BucketDense()) as engine:
        snapshot = engine.located()[0].snapshot
        assert BM25("none").candidates(["word1"], snapshot, accepted(snapshot, None), 3) == [[]]
        engine.add([Document("a", "x y z")])  # one without a term
        snapshot = engine.located()[0].snapshot
        assert BM25("none").candidates(["word1", "x"], snapshot, accepted(snapshot, None), 3) == [[], []]


def test_equal_documents_tie_wherever_they_lie(tmp_path: Path) -> None:
    docs = [Document(f"d{i}", "word1 word2 word2") for i in (5, 3, 8, 1)]
    Engine.build(tmp_path / "index", docs, BucketDense(), config=IndexConfig(segment_documents=1))
    with Engine.open(tmp_path / "index", BucketDense()) as engine:
        engine.add([Document("d2", "word2 word1 word2")])
        snapshot = engine.located()[0].snapshot
        (found,) = BM25("none").candidates(["word2 word1"], snapshot, accepted(snapshot, None), 3)
        assert [one.id for one in found] == ["d1", "d2", "d3"]
        assert len({one.score for one in found}) == 1


def test_scores_equal_those_of_bm25s(tmp_path: Path) -> None:
    bm25s, stemmer = pytest.importorskip("bm25s"), pytest.importorskip("Stemmer").Stemmer("english")
    texts = [f"The flying wings of {word} are lifted, not {word}ing" for word in ("a", "jet", "bird", "kite")]
    texts += ["lift lift lifting of wing", "supersonic flow past a wing and the bird"]
    queries = ["what lifts a flying bird", "wing wing flow"]
    given = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
    theirs = bm25s.BM25(method="lucene", k1=K1, b=B)
    theirs.index(bm25s.tokenize(texts, **given), show_progress=False)
    Engine.build(tmp_path / "index", [Document(str(i), t) for i, t in enumerate(texts)], BucketDense())
    with Engine.open(tmp_path / "index", BucketDense()) as engine:
        snapshot = engine.located()[0].snapshot
        ours = BM25().candidates(queries, snapshot, accepted(snapshot, None), 10)
    for query, mine in zip(queries, ours, strict=True):
        scores = theirs.get_scores(bm25s.tokenize([query], return_ids=False, **given)[0])
        assert {int(one.id): one.score for one in mine} == {
            i: pytest.approx(float(score), rel=1e-5) for i, score in enumerate(scores) if score > 0
        }


@pytest.mark.parametrize("counts", [1, 255, 256, 70_000])
def test_counts_of_any_size(counts: int) -> None:
    vocabulary = Vocabulary("none")
    made = Counts.of(["word1 " * counts + "word2", "", "word2"], vocabulary)
    joined = Counts.joined([made, made])
    postings = Postings.of(joined)
    assert [[list(map(int, some)) for some in postings.of_term(term)] for term in (0, 1, 2)] == [
        [[0, 3], [counts, counts]],
        [[0, 2, 3, 5], [1, 1, 1, 1]],
        [[], []],
    ]
    assert postings.lengths.tolist() == [counts + 1, 0, 1] * 2
    assert postings.counts.dtype.itemsize == (1 if counts < 256 else 2 if counts < 65536 else 4)
