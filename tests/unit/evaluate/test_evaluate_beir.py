"""A collection written here, an encoder of ten lines, the real engine: build, search, measure."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval import Engine, ErrorPolicy, IndexConfig
from retrieval.errors import ConfigError, DataError, EncoderMismatchError, MissingExtraError
from retrieval.evaluate import evaluate_beir, evaluate_run, parse_where
from retrieval.evaluate.beir import BeirDataset
from retrieval.types import FloatArray

pytest.importorskip("pytrec_eval")

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron")


class HashingEncoder:
    """One dimension a hashed word: texts match by the words they share."""

    kind, metric, dim = "dense", "cosine", 512

    def __init__(self, salt: str = "") -> None:
        self.salt = salt

    def fingerprint(self) -> dict[str, str]:
        return {"name": "hashing", "salt": self.salt}

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in text.split():
                vector[zlib.crc32((self.salt + word).encode()) % self.dim] += 1
        return vectors

    encode_query = encode_document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight documents in two languages, an empty one, and a query a word."""
    folder = tmp_path / "mini"
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {
            "_id": f"{lang}-{word}",
            "title": "",
            "text": f"{word} {word} {lang} common",
            "metadata": {"lang": lang},
        }
        for lang in ("en", "de")
        for word in WORDS[:4]
    ]
    documents.append({"_id": "empty", "title": "", "text": "", "metadata": {"lang": "en"}})
    queries = [{"_id": f"q-{word}", "text": f"{word} en"} for word in WORDS]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    lines = [f"q-{word}\ten-{word}\t2\nq-{word}\tde-{word}\t1\n" for word in WORDS[:4]]
    lines.append("q-amber\tempty\t0\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


def test_from_folder_to_measures(folder: Path, tmp_path: Path) -> None:
    seen: list[object] = []
    result = evaluate_beir(
        folder, HashingEncoder(), run_path=tmp_path / "x.run",
        build_progress=seen.append, query_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert result.measures == {"nDCG@10": 1.0, "R@100": 1.0, "MAP": 1.0, "MRR@10": 1.0}
    assert result.encoder == "hashing"
    assert result.queries == {"judged": 4, "answered": 4, "not_judged": 4}
    assert result.judgements == {"total": 9, "relevant": 8, "documents": 9, "documents_not_in_index": 1}
    assert result.index is not None
    assert (result.index["documents"], result.index["skipped"], result.index["reused"]) == (8, 1, False)
    assert "corpus.jsonl:9" in result.index["skipped_samples"][0]
    assert result.index["bytes"] >= 8 * 512 * 4
    assert result.times["query_encode_seconds"] is not None
    assert result.times["build_seconds"] >= result.times["document_encode_seconds"] > 0  # type: ignore[operator]
    assert seen[-1] == (4, 4)
    assert len(seen) > 1
    json.dumps(result.to_json())
    assert evaluate_run(BeirDataset.open(folder), tmp_path / "x.run").measured == result.measured


def test_part_of_a_corpus_leaves_an_honest_count(folder: Path) -> None:
    result = evaluate_beir(folder, HashingEncoder(), where=parse_where(["lang=en"]))
    assert result.index is not None
    assert result.index["documents"] == 4
    assert result.judgements["documents_not_in_index"] == 5  # four German, one empty
    assert result.measures["R@100"] == 0.5
    with pytest.raises(DataError, match="holds no documents"):
        evaluate_beir(folder, HashingEncoder(), where=parse_where(["lang=fr"]))


def test_an_index_that_stays_is_used_again(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    built = evaluate_beir(folder, HashingEncoder(), index_path=kept)
    again = evaluate_beir(folder, HashingEncoder(), index_path=kept)
    assert again.measured == built.measured
    assert again.index is not None
    assert again.index["reused"] is True
    assert "build_seconds" not in again.times
    with pytest.raises(EncoderMismatchError, match="salt"):
        evaluate_beir(folder, HashingEncoder("other"), index_path=kept)
    with pytest.raises(ConfigError, match="precision float32, not float16"):
        evaluate_beir(folder, HashingEncoder(), index_path=kept, config=IndexConfig(precision="float16"))


def test_an_interrupted_build_is_finished(folder: Path, tmp_path: Path) -> None:
    config = IndexConfig(segment_documents=3)

    class Dying(HashingEncoder):
        def encode_document(self, texts: Sequence[str]) -> FloatArray:
            if any("cedar de" in text for text in texts):
                raise KeyboardInterrupt
            return super().encode_document(texts)

    with pytest.raises(KeyboardInterrupt):
        evaluate_beir(folder, Dying(), index_path=tmp_path / "kept", config=config)
    result = evaluate_beir(folder, HashingEncoder(), index_path=tmp_path / "kept", config=config)
    assert result.index is not None
    assert result.index["resumed_documents"] == 6
    assert result.index["documents"] == 8
    with Engine.open(tmp_path / "kept") as engine:
        assert engine.verify().ok


def test_bad_documents_stop_when_asked(folder: Path) -> None:
    with pytest.raises(DataError, match=r"corpus\.jsonl:9"):
        evaluate_beir(folder, HashingEncoder(), policy=ErrorPolicy("stop"))


def test_a_bad_request_is_told_before_a_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="there are: test"):
        evaluate_beir(folder, "no-such-encoder", split="dev")
    with pytest.raises(ConfigError, match="unknown measure"):
        evaluate_beir(folder, "no-such-encoder", measures=["nope"])
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(DataError, match=r"no corpus\.jsonl"):
        evaluate_beir(folder, "no-such-encoder")
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingExtraError, match=r"retrieval-engine\[eval\]"):
        evaluate_beir(folder, "no-such-encoder")
