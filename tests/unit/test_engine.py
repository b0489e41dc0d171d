"""The engine against brute force, and every way it refuses."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import (
    Document,
    Engine,
    ErrorPolicy,
    Filter,
    HasId,
    IndexConfig,
    Record,
    RetrievalError,
    RuntimeConfig,
    open_corpus,
)
from retrieval.errors import (
    ConfigError,
    DataError,
    DocumentNotFoundError,
    EncoderError,
    EncoderMismatchError,
    IndexExistsError,
    IndexFolderError,
    IndexNotFoundError,
    QueryError,
)
from tests.encoders import HashingDense, HashingLate

ENCODERS = [
    HashingDense(metric="cosine"),
    HashingDense(metric="dot"),
    HashingDense(metric="l2"),
    HashingLate(metric="maxsim"),
    HashingLate(metric="meanmaxsim"),
]
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def documents(n: int, seed: int = 0) -> list[Document]:
    rng = np.random.default_rng(seed)
    return [
        Document(
            f"d{i:04d}",
            " ".join(rng.choice(WORDS, rng.integers(1, 8))),
            metadata={"n": i, "even": i % 2 == 0},
        )
        for i in range(n)
    ]


def brute_force(encoder, query: str, docs: list[Document], precision: str) -> list[tuple[str, float]]:  # type: ignore[no-untyped-def]
    """Scores from the definitions, one document at a time, in float64."""
    stored = np.float16 if precision == "float16" else np.float32

    def unit(v: np.ndarray) -> np.ndarray:
        n = np.linalg.norm(v, axis=1, keepdims=True).astype(np.float32)
        return v / np.where(n > 0, n, np.float32(1))

    q = np.atleast_2d(encoder.encode_query([query])[0])
    scored = []
    for doc in docs:
        d = np.atleast_2d(encoder.encode_document([doc.full_text])[0])
        qq, dd = (unit(q), unit(d)) if encoder.metric == "cosine" else (q, d)
        dd = dd.astype(stored).astype(np.float64)
        if encoder.metric == "l2":
            score = -float(np.linalg.norm(qq[0].astype(np.float64) - dd[0]))
        else:
            score = float((qq.astype(np.float64) @ dd.T).max(axis=1).sum())
        scored.append((doc.id, score / len(q) if encoder.metric == "meanmaxsim" else score))
    return sorted(scored, key=lambda pair: (-np.float32(pair[1]), pair[0]))


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: e.metric)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_search_equals_brute_force(tmp_path: Path, encoder, precision: str) -> None:  # type: ignore[no-untyped-def]
    docs = documents(400)
    Engine.build(
        tmp_path / "i", docs, encoder, config=IndexConfig.of(segment_documents=70, precision=precision)
    )
    with Engine.open(tmp_path / "i", encoder) as engine:
        for query in ("alpha beta", "kappa", "zeta eta theta zeta"):
            hits = engine.search(query, k=25)
            expected = brute_force(encoder, query, docs, precision)[:25]
            np.testing.assert_allclose(
                [h.score for h in hits], [s for _, s in expected], rtol=2e-6, atol=2e-6
            )
            if encoder.metric != "meanmaxsim":  # there the division rounds differently and ties may swap
                assert [h.id for h in hits] == [i for i, _ in expected]


def test_equal_documents_tie_by_id_across_segments(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ids = [f"{i:05d}" for i in rng.permutation(3000)]
    docs = [Document(i, "alpha beta gamma" if n % 3 else "delta epsilon") for n, i in enumerate(ids)]
    encoder = HashingDense(dim=48)
    Engine.build(tmp_path / "i", docs, encoder, config=IndexConfig.of(segment_documents=777))
    with Engine.open(tmp_path / "i", encoder) as engine:
        hits = engine.search("alpha beta gamma", k=1500)
    same = sorted(doc.id for doc in docs if doc.text == "alpha beta gamma")
    assert [hit.id for hit in hits] == same[:1500]
    assert len({hit.score for hit in hits}) == 1


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: e.metric)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_every_backend_and_batch_size_finds_the_same(tmp_path: Path, encoder, precision: str) -> None:  # type: ignore[no-untyped-def]
    config = IndexConfig.of(segment_documents=70, precision=precision)
    Engine.build(tmp_path / "i", documents(200), encoder, config=config)
    queries = [f"{a} {b}" for a in WORDS[:3] for b in WORDS[3:6]]
    found = []
    for kernels in ("cpu", "reference"):
        with Engine.open(tmp_path / "i", encoder, runtime=RuntimeConfig.of(kernels=kernels)) as engine:
            found.append([engine.search(query, k=20).hits for query in queries])
            found.append([result.hits for result in engine.search_batch(queries, k=20)])
    assert all(each == found[0] for each in found)


def test_batch_equals_single_and_vectors_equal_text(tmp_path: Path) -> None:
    encoder = HashingLate()
    Engine.build(tmp_path / "i", documents(150), encoder)
    with Engine.open(tmp_path / "i", encoder) as engine:
        queries = ["alpha", "beta gamma", "kappa iota theta"]
        batch = engine.search_batch([*queries, encoder.encode_query(["beta gamma"])[0]], k=7)
        assert [r.hits for r in batch[:3]] == [engine.search(q, k=7).hits for q in queries]
        assert batch[3].hits == batch[1].hits


def test_k_beyond_the_corpus_and_fields(tmp_path: Path) -> None:
    encoder = HashingDense()
    Engine.build(tmp_path / "i", documents(5), encoder)
    with Engine.open(tmp_path / "i", encoder) as engine:
        assert len(engine.search("alpha", k=100)) == 5
        bare = engine.search("alpha", k=1, fields=())[0]
        assert (bare.title, bare.text, bare.metadata) == (None, None, None)
        full = engine.search("alpha", k=1)[0]
        assert full.text and full.metadata is not None and isinstance(full.metadata["n"], int)
        assert engine.get(full.id).metadata == full.metadata


def test_a_document_without_tokens_scores_zero(tmp_path: Path) -> None:
    encoder = HashingLate()
    Engine.build(tmp_path / "i", [Document("dots", "..."), Document("word", "alpha")], encoder)
    with Engine.open(tmp_path / "i", encoder) as engine:
        assert {h.id: h.score for h in engine.search("alpha")}["dots"] == 0.0
        explanation = engine.explain("alpha", "dots")
        assert explanation.score == 0.0
        assert explanation.matches[0].document_token is None


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: e.metric)
def test_explain_adds_up(tmp_path: Path, encoder) -> None:  # type: ignore[no-untyped-def]
    Engine.build(tmp_path / "i", documents(50), encoder)
    with Engine.open(tmp_path / "i", encoder) as engine:
        hit = engine.search("zeta alpha kappa", k=1)[0]
        why = engine.explain("zeta alpha kappa", hit.id)
    assert why.score == pytest.approx(hit.score, abs=1e-6)
    assert sum(m.contribution for m in why.matches) == pytest.approx(hit.score, abs=1e-6)
    for match in why.matches:
        assert why.query[match.query_token.start : match.query_token.end] == match.query_token.text
        token = match.document_token
        assert token is not None and why.text[token.start : token.end] == token.text
    if encoder.kind == "late":
        found = {m.query_token.text: m.document_token.text for m in why.matches if m.similarity > 0.99}
        assert found and all(word == best for word, best in found.items())


def test_add_is_one_commit(tmp_path: Path) -> None:
    encoder, config = HashingDense(), IndexConfig.of(segment_documents=10)
    runtime = RuntimeConfig.of(pending_documents=10, maintenance="manual")
    with Engine.create(tmp_path / "i", encoder, config=config, runtime=runtime) as engine:
        assert len(engine) == 0 and len(engine.search("alpha")) == 0
        before = engine.inspect().generation
        engine.add(documents(35))
        info = engine.inspect()
        assert (info.documents, info.segments, info.generation) == (35, 4, before + 1)
        with pytest.raises(DataError, match=r"document 12: duplicate id 'd0003'"):
            engine.add([Document(f"n{i}", "alpha") for i in range(11)] + [Document("d0003", "beta")])
        assert len(engine) == 35 and engine.verify().ok
        engine.add([Document("late", "omega omega")])
        assert engine.search("omega omega", k=1)[0].id == "late"
        assert engine.verify().ok


def test_another_reader_sees_an_add(tmp_path: Path) -> None:
    encoder = HashingDense()
    Engine.build(tmp_path / "i", documents(20), encoder)
    with Engine.open(tmp_path / "i", encoder) as reader, Engine.open(tmp_path / "i", encoder) as writer:
        old = reader.search("omega", k=1)
        writer.add([Document("new", "omega")])
        new = reader.search("omega", k=1)
        assert old[0].id != "new" and new[0].id == "new"
        assert new.generation == old.generation + 1


def test_readers_on_threads_while_adding(tmp_path: Path) -> None:
    encoder = HashingDense()
    Engine.build(tmp_path / "i", documents(50), encoder)
    errors: list[BaseException] = []
    with Engine.open(tmp_path / "i", encoder) as engine:
        stop = threading.Event()

        def read() -> None:
            try:
                while not stop.is_set():
                    assert len(engine.search("alpha beta", k=60)) % 5 == 0  # batches of 5: never half of one
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for thread in readers:
            thread.start()
        with Engine.open(tmp_path / "i", encoder) as writer:
            for n in range(12):
                writer.add([Document(f"x{n}-{i}", "alpha") for i in range(5)])
        stop.set()
        for thread in readers:
            thread.join()
    assert errors == []


def test_metadata_types_are_kept_and_widened(tmp_path: Path) -> None:
    encoder = HashingDense()
    docs = [
        Document("a", "x", metadata={"year": 1999, "tags": ["p", "q"]}),
        Document("b", "y", metadata={"year": 1.5}),
    ]
    Engine.build(tmp_path / "i", docs, encoder, config=IndexConfig.of(segment_documents=1))
    with Engine.open(tmp_path / "i", encoder) as engine:
        assert engine.inspect().fields["year"] == "double"
        assert engine.get("a").metadata == {"year": 1999, "tags": ["p", "q"]}
        assert engine.get("b").metadata == {"year": 1.5}
        with pytest.raises(DataError, match="year"):
            engine.add([Document("c", "z", metadata={"year": "1999"})])


def test_skip_counts_and_says_why(tmp_path: Path) -> None:
    docs = [
        Document("a", "alpha"),
        Document("a", "again"),
        Document("", "no id"),
        Document("b", " "),
        Document("c", "z"),
    ]
    policy = ErrorPolicy("skip")
    report = Engine.build(tmp_path / "i", docs, HashingDense(), policy=policy)
    assert (report.documents, report.skipped) == (2, 3)
    assert "duplicate id 'a'" in report.skipped_samples[0]


@pytest.mark.parametrize(
    ("query", "k", "fields", "told"),
    [
        ("  ", 5, None, "empty"),
        ("alpha", 0, None, "k must be"),
        ("alpha", True, None, "k must be"),
        ("alpha", 2.5, None, "k must be"),
        ("alpha", 1, ["body"], "'body'"),
        (np.zeros(7, np.float32), 1, None, r"\(7,\)"),
        (np.zeros((2, 32), np.float32), 1, None, r"\(2, 32\)"),
        (np.full(32, np.nan, np.float32), 1, None, "NaN"),
    ],
)
def test_bad_queries(tmp_path: Path, query, k, fields, told: str) -> None:  # type: ignore[no-untyped-def]
    Engine.build(tmp_path / "i", documents(5), HashingDense())
    with Engine.open(tmp_path / "i", HashingDense()) as engine, pytest.raises(QueryError, match=told):
        engine.search(query, k=k, fields=fields)


def test_other_encoders_are_refused(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(5), HashingDense())
    with pytest.raises(EncoderMismatchError, match=r"dim: index 32, given 16"):
        Engine.open(tmp_path / "i", HashingDense(dim=16))
    with Engine.open(tmp_path / "i") as engine, pytest.raises(EncoderError, match="hashing-dense"):
        engine.search("alpha")
    with pytest.raises(ConfigError, match="not an encoder: int"):
        Engine.open(tmp_path / "i", 3)  # type: ignore[arg-type]


class Broken(HashingDense):
    def __init__(self, bad: np.ndarray) -> None:
        super().__init__()
        self.bad = bad

    def encode_document(self, texts):  # type: ignore[no-untyped-def]
        return self.bad


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (np.full((5, 32), np.nan, np.float32), "NaN"),
        (np.zeros((4, 32), np.float32), "5 texts"),
        (np.zeros((5, 31), np.float32), "dimension 31"),
    ],
)
def test_unusable_vectors_are_refused_and_leave_nothing(tmp_path: Path, bad: np.ndarray, told: str) -> None:
    with pytest.raises(EncoderError, match=told):
        Engine.build(tmp_path / "deep" / "i", documents(5), Broken(bad))
    assert list(tmp_path.iterdir()) == []


def test_float16_overflow_is_refused(tmp_path: Path) -> None:
    encoder = Broken(np.full((5, 32), 1e6, np.float32))
    encoder.metric = "dot"
    with pytest.raises(EncoderError, match=r"1e\+06, too large for float16"):
        Engine.build(tmp_path / "i", documents(5), encoder, config=IndexConfig.of(precision="float16"))


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError, match="no index at"):
        Engine.open(tmp_path / "none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(IndexExistsError, match="not an index"):
        Engine.build(tmp_path / "mine", documents(3), HashingDense())
    assert (tmp_path / "mine" / "thesis.txt").exists()
    Engine.build(tmp_path / "i", documents(3), HashingDense())
    for again in (Engine.build, lambda p, d, e: Engine.create(p, e)):
        with pytest.raises(IndexExistsError):
            again(tmp_path / "i", documents(3), HashingDense())
    assert len(Engine.open(tmp_path / "i", HashingDense())) == 3


def test_no_documents_leave_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no documents"):
        Engine.build(tmp_path / "i", [], HashingDense())
    assert not (tmp_path / "i").exists()


def test_errors_name_the_place(tmp_path: Path) -> None:
    records = [Record(Document("a", "x"), "corpus.jsonl:1"), Record(Document("a", "y"), "corpus.jsonl:2")]
    with pytest.raises(DataError, match=r"corpus\.jsonl:2: duplicate id 'a'"):
        Engine.build(tmp_path / "i", records, HashingDense())


def test_unknown_documents(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(3), HashingDense())
    with Engine.open(tmp_path / "i", HashingDense()) as engine:
        for call in (lambda: engine.get("zz"), lambda: engine.explain("alpha", "zz")):
            with pytest.raises(DocumentNotFoundError, match="'zz'"):
                call()


@pytest.mark.parametrize(
    ("doc_id", "told"),
    [(["d0000"], "is a string"), (7, "is a string"), ("\ud800", "not valid Unicode")],
)
def test_ids_that_no_document_can_have(tmp_path: Path, doc_id: Any, told: str) -> None:
    Engine.build(tmp_path / "i", documents(3), HashingDense())
    with Engine.open(tmp_path / "i", HashingDense()) as engine:
        for call in (
            lambda: engine.get(doc_id),
            lambda: engine.explain("alpha", doc_id),
            lambda: engine.delete(["d0001", doc_id]),
        ):
            with pytest.raises(QueryError, match=told):
                call()
        assert len(engine) == 3


def test_unknown_precisions_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(3), HashingDense())
    manual = RuntimeConfig.of(maintenance="manual")
    with Engine.open(tmp_path / "i", HashingDense(), runtime=manual) as engine:
        engine.add([Document("new", "alpha")])
        before = engine.search("alpha").generation
        for precision in ("float64", "foo"):
            with pytest.raises(ConfigError, match=f"'{precision}'; choose float32 or float16 or int8"):
                engine.compact(precision)  # type: ignore[arg-type]
        assert engine.search("alpha").generation == before
    with Engine.open(tmp_path / "i", HashingDense()) as engine:
        assert engine.verify().ok and len(engine) == 4


@pytest.mark.parametrize(
    "empty", [{}, "{}", {"must": []}, {"should": None}, {"must": [{"must_not": []}, {}]}, Filter()]
)
def test_an_empty_filter_deletes_nothing(tmp_path: Path, empty: Any) -> None:
    Engine.build(tmp_path / "i", documents(3), HashingDense())
    with Engine.open(tmp_path / "i", HashingDense()) as engine:
        with pytest.raises(QueryError, match="would delete every document") as caught:
            engine.delete(filter=empty)
        assert engine.count(empty) == 3
        on_purpose = str(caught.value).partition("give ")[2]
        assert engine.delete(filter=on_purpose) == 3 and len(engine) == 0


@pytest.mark.parametrize("ids", [{"year": 1}, Filter(must=(HasId(("d0000",)),))])
def test_a_filter_in_the_place_of_ids_is_told(tmp_path: Path, ids: Any) -> None:
    Engine.build(tmp_path / "i", documents(3), HashingDense())
    with (
        Engine.open(tmp_path / "i", HashingDense()) as engine,
        pytest.raises(QueryError, match="filter="),
    ):
        engine.delete(ids)


def test_a_closed_engine_writes_nothing(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(3), HashingDense())
    engine = Engine.open(tmp_path / "i", HashingDense())
    engine.close()
    engine.close()
    for call in (
        lambda: engine.add([Document("new", "alpha")]),
        lambda: engine.upsert([Document("new", "alpha")]),
        lambda: engine.delete(["d0000"]),
        lambda: engine.delete(filter={"n": 1}),
        engine.flush,
        engine.maintain,
        engine.compact,
        lambda: engine.search("alpha"),
        lambda: engine.get("d0000"),
    ):
        with pytest.raises(IndexFolderError, match="is closed; open it again"):
            call()
    with Engine.open(tmp_path / "i", HashingDense()) as engine:
        assert len(engine) == 3


class Odd(HashingDense):
    def __init__(self, **changes: object) -> None:
        super().__init__()
        self.__dict__.update(changes)

    def fingerprint(self):  # type: ignore[no-untyped-def]
        return self.__dict__.get("given", {"name": "odd", "sizes": (1, 2)})


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        (Odd(metric="cosin"), "metric is 'cosin'"),
        (Odd(kind="Dense"), "kind is 'Dense'"),
        (Odd(kind="late", metric="l2"), "a late encoder has one of maxsim"),
        (Odd(dim=0), "dim is 0"),
        (Odd(given={"array": np.zeros(2)}), "JSON"),
        (HashingDense, "the class HashingDense"),
    ],
)
def test_unusable_encoders_are_refused_at_the_door(tmp_path: Path, encoder, told: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=told):
        Engine.build(tmp_path / "i", documents(3), encoder)
    assert not (tmp_path / "i").exists()


def test_a_fingerprint_equals_itself_after_json(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(3), Odd())
    assert len(Engine.open(tmp_path / "i", Odd())) == 3


@pytest.mark.parametrize(
    "source", [Document("a", "x"), "abc", [{"id": "a"}], [Document("a", "x", metadata={1: 2})]]
)
def test_what_is_no_list_of_documents_is_refused(tmp_path: Path, source) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError):
        Engine.build(tmp_path / "i", source, HashingDense())
    assert not (tmp_path / "i").exists()


def test_more_mistakes(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(5), HashingDense())
    engine = Engine.open(tmp_path / "i", HashingDense())
    assert len(engine.search("alpha", k=np.int64(3))) == 3
    for call in (
        lambda: engine.search(["a", "b"]),  # type: ignore[arg-type]
        lambda: engine.search(b"alpha"),  # type: ignore[arg-type]
        lambda: engine.search_batch("alpha"),
        lambda: engine.search("alpha", fields="title"),
        lambda: engine.search(np.full(32, 1e20)),
        lambda: engine.explain(np.zeros(31), "d0001"),
        lambda: engine.explain(b"alpha", "d0001"),  # type: ignore[arg-type]
    ):
        with pytest.raises(QueryError):
            call()
    engine.close()
    with pytest.raises(RetrievalError, match="closed"):
        engine.search("alpha")


def test_one_policy_serves_reader_and_engine(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": "x"}\nbroken\n{"id": "a", "text": "again"}\n')
    corpus = open_corpus(tmp_path / "c.jsonl", policy=ErrorPolicy("skip"))
    report = Engine.build(tmp_path / "i", corpus, HashingDense())
    assert (report.documents, report.skipped) == (1, 2)
    with pytest.raises(ConfigError, match="two different policies"):
        Engine.build(tmp_path / "j", corpus, HashingDense(), policy=ErrorPolicy("skip"))
    with pytest.raises(ConfigError, match="skpi"):
        ErrorPolicy("skpi")  # type: ignore[arg-type]


def test_threads_may_add_to_one_engine(tmp_path: Path) -> None:
    with Engine.create(tmp_path / "i", HashingDense()) as engine:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(engine.add, [Document(f"d{i}", "alpha")]) for i in range(24)]:
                done.result()
        assert len(engine) == 24


def test_get_finds_what_another_writer_just_added(tmp_path: Path) -> None:
    encoder = HashingDense()
    Engine.build(tmp_path / "i", documents(5), encoder)
    with Engine.open(tmp_path / "i", encoder) as reader, Engine.open(tmp_path / "i", encoder) as writer:
        reader.search("alpha")
        for n in range(5):
            writer.add([Document(f"new{n}", "omega")])
            assert reader.get(f"new{n}").text == "omega"
            assert reader.explain("omega", f"new{n}").score == pytest.approx(1)


def test_candidate_pools_do_not_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.index.flat.KEPT", 50)
    monkeypatch.setattr("retrieval.index.flat.BLOCK_TOKENS", 16)
    encoder, docs = HashingDense(), documents(600)
    Engine.build(tmp_path / "i", docs, encoder)
    with Engine.open(tmp_path / "i", encoder) as engine:
        hits = engine.search("zeta beta", k=40)
    assert [hit.id for hit in hits] == [i for i, _ in brute_force(encoder, "zeta beta", docs, "float32")[:40]]
