from __future__ import annotations

import csv
import threading

import pytest

from retrieval.corpus import open_corpus, table
from retrieval.errors import DataError
from retrieval.types import Document


def test_reads_rows_as_strings_with_null_for_empty(write) -> None:
    text = 'id,title,text,year,note\n1,T,"a, ""b""",1999,\n\n2,,"two\nlines",,x\n3,,t,2001,y\n'
    records = list(open_corpus(write("d.csv", text)))
    assert [record.document for record in records] == [
        Document("1", 'a, "b"', "T", {"year": "1999", "note": None}),
        Document("2", "two\nlines", "", {"year": None, "note": "x"}),
        Document("3", "t", "", {"year": "2001", "note": "y"}),
    ]
    assert [record.where for record in records] == ["d.csv:2", "d.csv:4", "d.csv:6"]


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.tsv", "d.tsv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_every_extension_line_end_and_start(name, end, start, write, documents) -> None:
    separator = "\t" if "tsv" in name else ","
    rows = [["_id", "text"], ["a", "x"], ["b", f'"x{separator}y"']]
    path = write(name, start + end.join(separator.join(row) for row in rows) + end)
    assert documents(path) == [Document("a", "x"), Document("b", f"x{separator}y")]


def test_field_options_and_both_kinds_of_id(write, documents) -> None:
    path = write("d.csv", "pmid,_id,id,abstract,heading\n9,,i,words,H\n")
    read = documents(path, id_field="pmid", text_field="abstract", title_field="heading")
    assert read == [Document("9", "words", "H", {"_id": None, "id": "i"})]
    path = write("e.csv", "_id,id,text\nx,,t\n")
    assert documents(path) == [Document("x", "t", "", {"id": None})]


BAD_ROWS = {
    "b,t": "the row has 2 fields, but the header has 3",
    "b,t,u,v": "the row has 4 fields, but the header has 3",
    ",t,": "the id is empty ('')",
    "b,,": "the document is empty: title and text are both blank",
    "b,x\ry,": "not valid CSV: a carriage return outside quotes; end lines with a line feed",
    '"b"x,t,u': "not valid CSV: ',' expected after '\"' (inside quotes, write a quote twice)",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_is_named(row, write, refused) -> None:
    path = write("d.csv", f'id,text,title\na,"x\ny",\n{row}\nz,t,\n')
    assert refused(path, f"d.csv:4: {BAD_ROWS[row]}") == ["a", "z"]


def test_an_unclosed_quote_is_named_where_it_starts(write, refused) -> None:
    path = write("d.csv", 'id,text\na,x\nb,"open\nc,t\nd,t\n')
    told = "d.csv:3: not valid CSV: a quoted field is not closed (inside quotes, write a quote twice)"
    assert refused(path, told) == ["a"]


def test_wrong_encoding_inside_a_quoted_field_costs_one_row(write, refused) -> None:
    path = write("d.csv", b'id,text\na,x\nb,"one\ntwo \xe9\nthree"\nc,t\n')
    assert refused(path, "d.csv:4: not UTF-8; convert the file to UTF-8") == ["a", "c"]


BAD_HEADERS = {
    "": "d.csv:1: the file is empty: a header line is expected",
    "\n\n": "d.csv:1: the file is empty: a header line is expected",
    "id,,text\n1,2,3\n": "d.csv:1: column 2 of the header has no name",
    "id,text,n,n\n1,2,3,4\n": "d.csv:1: the column 'n' is in the header twice",
    "a,text\n1,2\n": (
        "d.csv:1: there is no id column '_id' or 'id' among 'a', 'text'; name it with --id-field (id_field=)"
    ),
    "id,b\n1,2\n": (
        "d.csv:1: there is no text column 'text' among 'id', 'b'; name it with --text-field (text_field=)"
    ),
    'id,te"xt,"x"y\n1,2\n': (
        "d.csv:1: not valid CSV: ',' expected after '\"' (inside quotes, write a quote twice)"
    ),
}


@pytest.mark.parametrize("text", BAD_HEADERS)
def test_a_bad_header_ends_it_under_any_policy(text, write, fatal) -> None:
    assert fatal(write("d.csv", text)) == BAD_HEADERS[text]


def test_a_given_column_must_be_there(write, fatal) -> None:
    path = write("d.csv", "id,text\n1,t\n")
    assert fatal(path, id_field="k") == (
        "d.csv:1: there is no id column 'k' among 'id', 'text'; name it with --id-field (id_field=)"
    )
    assert fatal(path, title_field="k") == "d.csv:1: there is no title column 'k' among 'id', 'text'"


def test_long_fields_are_read_and_the_process_limit_stays(write, documents) -> None:
    before = csv.field_size_limit()
    long = "x" * (before + 1000)
    path = write("d.csv", f'id,text\na,{long}\nb,"{long}"\nc,"t"x\n')
    corpus = iter(open_corpus(path))
    assert [next(corpus).document.text, next(corpus).document.text] == [long, long]
    assert csv.field_size_limit() == before
    with pytest.raises(DataError, match=r"d\.csv:4: not valid CSV"):
        next(corpus)
    assert csv.field_size_limit() == before


def test_readers_in_threads_leave_the_process_limit_alone(write) -> None:
    before = csv.field_size_limit()
    path = write("d.csv", "id,text\n" + "".join(f"{i},{'x' * (before + 1)}\n" for i in range(20)))
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(list(open_corpus(path))))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [20] * 4
    assert csv.field_size_limit() == before


def test_a_row_without_end_stops_before_memory_does(write, fatal, monkeypatch) -> None:
    monkeypatch.setattr(table, "MAX_LINE_BYTES", 1000)
    rows = "".join(f"{i},text\n" for i in range(500))
    assert len(list(open_corpus(write("many.csv", "id,text\n" + rows)))) == 500
    path = write("d.csv", 'id,text\na,t\nb,"open\n' + rows)
    assert fatal(path) == "d.csv:3: the row is longer than 0 MiB; is a quote not closed?"
