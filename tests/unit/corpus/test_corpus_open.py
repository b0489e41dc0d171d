from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.corpus import ErrorPolicy, open_corpus, source
from retrieval.errors import ConfigError, DataError

LINE = '{"_id": "%s", "text": "words"}\n'
TABLE = "id,text\n%s,words\n"


def ids(path: Path, **options: str) -> list[str]:
    return [record.document.id for record in open_corpus(path, **options)]


def write_parquet(path: Path, *names: str) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"id": list(names), "text": ["words"] * len(names)}), path)


def test_a_beir_folder_reads_its_corpus_only(write, tmp_path) -> None:
    write("beir/corpus.jsonl.gz", LINE % "packed")
    write("beir/queries.jsonl", LINE % "query")
    write("beir/README.md", "words")
    assert ids(tmp_path / "beir") == ids(str(tmp_path / "beir"), format="beir") == ["packed"]
    write("beir/corpus.jsonl", LINE % "plain")
    corpus = open_corpus(tmp_path / "beir")
    assert [record.document.id for record in corpus] == ["plain"]
    assert corpus.paths == (tmp_path / "beir" / "corpus.jsonl",)
    assert [record.where for record in corpus] == ["corpus.jsonl:1"]


def test_shards_are_read_in_sorted_order(write, tmp_path) -> None:
    for name in ("c.jsonl", "a.jsonl.gz", "b.ndjson"):
        write(f"lines/{name}", LINE % name)
    write("lines/.hidden.jsonl", LINE % "hidden")
    write("lines/_SUCCESS", "")
    assert ids(tmp_path / "lines") == ["a.jsonl.gz", "b.ndjson", "c.jsonl"]
    for name in ("2.csv", "1.csv.gz"):
        write(f"tables/{name}", TABLE % name)
    assert ids(tmp_path / "tables") == ["1.csv.gz", "2.csv"]
    for name in ("2.parquet", "1.parquet"):
        write_parquet(tmp_path / "columns" / name, name)
    assert ids(tmp_path / "columns") == ["1.parquet", "2.parquet"]


def test_a_mixed_folder_asks_for_the_format(write, tmp_path) -> None:
    write("mix/a.jsonl", LINE % "line")
    write("mix/b.csv", TABLE % "row")
    write("mix/c.txt", "words")
    with pytest.raises(ConfigError, match=r"several formats \(csv, jsonl, text\); say which one with format"):
        open_corpus(tmp_path / "mix")
    assert ids(tmp_path / "mix", format="jsonl") == ["line"]
    assert ids(tmp_path / "mix", format="csv") == ["row"]
    assert ids(tmp_path / "mix", format="text") == ["c.txt"]
    with pytest.raises(DataError, match=r"mix: the folder has no parquet files in it; understood are .jsonl"):
        open_corpus(tmp_path / "mix", format="parquet")
    with pytest.raises(DataError, match="the folder has no beir files in it"):
        open_corpus(tmp_path / "mix", format="beir")


def test_a_given_format_goes_before_the_name(write) -> None:
    assert ids(write("data.txt", LINE % "a"), format="jsonl") == ["a"]
    assert ids(write("data.txt.gz", TABLE % "a"), format="csv") == ["a"]


def test_what_is_not_understood(write, tmp_path) -> None:
    for name in ("a.json", "a.txt", "a.parquet.gz", "jsonl", "a.gz"):
        with pytest.raises(
            DataError, match=r"unknown kind of file; understood are \.jsonl, \.ndjson, \.csv, "
        ):
            open_corpus(write(name, "words"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: the folder has no documents in it; understood are .jsonl"):
        open_corpus(tmp_path / "empty")
    missing = tmp_path / "missing.jsonl"
    with pytest.raises(DataError) as error:
        open_corpus(missing)
    assert str(error.value) == f"{missing}: there is no such file or folder"
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match="must be readable more than once"):
        open_corpus(tmp_path / "pipe.jsonl")


def test_options_that_cannot_work(write, tmp_path) -> None:
    path = write("docs/a.txt", "words")
    for options, message in (
        (
            {"format": "xml"},
            "format='xml' is unknown; choose one of auto, beir, jsonl, csv, tsv, parquet, text",
        ),
        ({"id_field": ""}, "a field name is empty"),
        ({"id_field": "a", "text_field": "a"}, "must differ; given 'a', 'a'"),
        ({"id_field": "a"}, "have no use for a folder of text files"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_corpus(tmp_path / "docs", **options)
    for name in ("text", "beir"):
        with pytest.raises(ConfigError, match=f"format='{name}' is for folders"):
            open_corpus(path, format=name)


def test_no_permission(write, fatal, tmp_path, monkeypatch) -> None:
    path = write("a.jsonl", LINE % "a")

    def denied(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    assert fatal(path) == "a.jsonl: no permission to read it"
    write_parquet(tmp_path / "b.parquet", "b")
    assert fatal(tmp_path / "b.parquet") == "b.parquet: no permission to read it"


def test_gzip_that_is_cut_off_damaged_or_none(write, fatal, tmp_path) -> None:
    lines = "".join(LINE % os.urandom(8).hex() for _ in range(3000))
    packed = write("a.jsonl.gz", lines).read_bytes()
    path = tmp_path / "b.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    told = fatal(path)
    assert told.endswith(": the gzip data ends too early; the file is cut off")
    assert 1 < int(told.split(":")[1]) < 3000
    path.write_bytes(packed[:-8] + b"\0\0\0\0" + packed[-4:])
    assert fatal(path).startswith("b.jsonl.gz:3001: the gzip data is damaged (CRC check failed")
    path.write_bytes(packed[:20] + b"\xff" * 100 + packed[120:])
    assert ": the gzip data is damaged (" in fatal(path)
    path.write_bytes(lines.encode())
    assert fatal(path).startswith("b.jsonl.gz:1: the gzip data is damaged (Not a gzipped file")
    path.write_bytes(b"")
    assert fatal(path) == "b.jsonl.gz: is an empty file, not gzip data"
    path.write_bytes(gzip.compress(b""))
    assert ids(path) == []


def test_a_line_that_is_too_long(write, fatal, monkeypatch) -> None:
    monkeypatch.setattr(source, "MAX_LINE_BYTES", 1 << 20)
    long = '{"_id": "b", "text": "%s"}' % ("x" * (1 << 20))
    for name in ("d.jsonl", "d.jsonl.gz"):
        path = write(name, LINE % "a" + long + "\n" + LINE % "z")
        assert fatal(path) == f"{name}:2: the line is longer than 1 MiB"


def test_the_policy_is_shared_and_keeps_the_first_messages(write) -> None:
    policy = ErrorPolicy("skip")
    corpus = open_corpus(write("d.jsonl", "bad\n" * 30 + LINE % "a"), policy=policy)
    assert corpus.policy is policy
    assert len(list(corpus)) == 1
    assert policy.skipped == 30
    assert policy.samples == [
        f"d.jsonl:{line}: not valid JSON: Expecting value at column 1" for line in range(1, 21)
    ]


def make(tmp_path: Path, kind: str, count: int) -> Path:
    """A corpus of about 50 kB a file, in the format ``kind``."""
    path = tmp_path / kind
    path.parent.mkdir(exist_ok=True)
    rows = [(str(i), os.urandom(50).hex()) for i in range(count)]
    lines = "".join(f'{{"_id": "{name}", "text": "{text}"}}\n' for name, text in rows).encode()
    if kind == "text":
        path.mkdir()
        for name, text in rows[:50]:
            (path / f"{name}.txt").write_text(text)
    elif kind == "shards":
        path.mkdir()
        (path / "1.jsonl").write_bytes(lines)
        (path / "2.jsonl.gz").write_bytes(gzip.compress(lines))
    elif kind.endswith(".parquet"):
        table = pa.table({"id": [row[0] for row in rows], "text": [row[1] for row in rows]})
        pq.write_table(table, path)
    elif kind.endswith(".gz"):
        path.write_bytes(gzip.compress(lines))
    else:
        path.write_text("id,text\n" + "".join(f"{name},{text}\n" for name, text in rows))
    return path


@pytest.mark.parametrize("kind", ["d.csv", "d.jsonl.gz", "d.parquet", "shards", "text"])
def test_reading_again_gives_the_same_and_the_fraction_grows_to_one(kind, tmp_path) -> None:
    corpus = open_corpus(make(tmp_path, kind, 2000))
    assert corpus.fraction() is None
    seen = []
    for _ in range(2):
        records, fractions = [], []
        iterator = iter(corpus)
        assert corpus.fraction() == 0.0
        for record in iterator:
            records.append(record)
            fractions.append(corpus.fraction())
        seen.append(records)
        assert fractions == sorted(fractions)
        assert 0.0 < fractions[0] < 0.2
        assert len(set(fractions)) > 5
        assert fractions[-1] <= 1.0
        assert corpus.fraction() == 1.0
    assert seen[0] == seen[1]
    assert len(seen[0]) > 40


def test_the_fraction_ends_at_one_even_if_a_file_was_left_out_or_is_empty(write, tmp_path) -> None:
    write("docs/a.txt", "words")
    (tmp_path / "docs" / "b.txt").symlink_to(write("outside.txt", "words"))
    for path in (tmp_path / "docs", write("empty.jsonl", "")):
        corpus = open_corpus(path, policy=ErrorPolicy("skip"))
        list(corpus)
        assert corpus.fraction() == 1.0


def test_two_readings_at_once_do_not_disturb_each_other(tmp_path) -> None:
    corpus = open_corpus(make(tmp_path, "shards", 50))
    first, second = iter(corpus), iter(corpus)
    pairs = list(zip(first, second, strict=True))
    assert len(pairs) == 100
    assert all(one == two for one, two in pairs)


def test_a_reading_that_is_left_closes_its_file(write) -> None:
    records = iter(open_corpus(write("d.jsonl", LINE % "a" + LINE % "b")))
    next(records)
    records.close()
    assert list(records) == []


def test_memory_does_not_grow_with_the_file(tmp_path) -> None:
    line = (LINE % "%07d").replace("words", "some words " * 400).encode()
    count = (50 << 20) // len(line)
    plain, packed = tmp_path / "big.jsonl", tmp_path / "big.jsonl.gz"
    with plain.open("wb") as raw, gzip.open(packed, "wb", compresslevel=1) as zipped:
        for i in range(count):
            raw.write(line % i)
            zipped.write(line % i)
    for path in (plain, packed):
        tracemalloc.start()
        assert sum(1 for _ in open_corpus(path)) == count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 << 20


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_file_is_closed_although_somebody_keeps_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    content = b'{"id": "a", "text": "t"}\n{"id": "b"}\n'
    path = tmp_path / f"docs{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    opened = []

    class Noted(source.LineReader):
        def __enter__(self) -> Noted:
            opened.append(self)
            return self

    monkeypatch.setattr("retrieval.corpus.jsonl.LineReader", Noted)
    with pytest.raises(DataError) as kept:
        list(open_corpus(path))
    assert kept.value and [reader._raw.closed for reader in opened] == [True]
