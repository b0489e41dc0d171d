from __future__ import annotations

import json

import pytest

from retrieval.corpus import open_corpus
from retrieval.types import Document

GOOD = '{"_id": "a", "text": "first"}'
LAST = '{"_id": "z", "text": "last"}'


def test_reads_documents_with_their_places(write) -> None:
    lines = [
        '{"_id": "d1", "title": "T", "text": "hello", "metadata": {"lang": "en"}, "year": 1999}',
        "",
        '  {"id": 7, "text": "x", "title": null, "score": 1.5, "ok": true, "no": null, "tags": ["a", "b"]}  ',
        '{"_id": "d3", "title": "only a title", "text": "", "metadata": null}',
    ]
    records = list(open_corpus(write("docs.jsonl", "\n".join(lines))))
    assert [record.document for record in records] == [
        Document("d1", "hello", "T", {"lang": "en", "year": 1999}),
        Document("7", "x", "", {"score": 1.5, "ok": True, "no": None, "tags": ["a", "b"]}),
        Document("d3", "", "only a title", {}),
    ]
    assert [record.where for record in records] == ["docs.jsonl:1", "docs.jsonl:3", "docs.jsonl:4"]
    assert [type(value) for value in records[1].document.metadata.values()] == [float, bool, type(None), list]


@pytest.mark.parametrize(
    "name", ["docs.jsonl", "docs.ndjson", "docs.jsonl.gz", "docs.ndjson.gz", "DOCS.JSONL"]
)
def test_every_extension(name, write, documents) -> None:
    assert documents(write(name, GOOD + "\n" + LAST)) == [Document("a", "first"), Document("z", "last")]


def test_field_options(write, documents) -> None:
    path = write("d.jsonl", '{"pmid": 5, "name": "N", "abstract": "A", "id": "kept", "text": 3, "_id": null}')
    read = documents(path, id_field="pmid", title_field="name", text_field="abstract")
    assert read == [Document("5", "A", "N", {"id": "kept", "text": 3, "_id": None})]


def test_underscore_id_goes_before_id(write, documents) -> None:
    path = write("d.jsonl", '{"id": "other", "_id": "mine", "text": "t"}')
    assert documents(path) == [Document("mine", "t", "", {"id": "other"})]


def test_metadata_that_is_no_object_is_a_field(write, documents) -> None:
    path = write("d.jsonl", '{"_id": "a", "text": "t", "metadata": "plain"}')
    assert documents(path) == [Document("a", "t", "", {"metadata": "plain"})]


def test_byte_order_mark_is_accepted_at_the_start_only(write, documents, refused) -> None:
    assert documents(write("bom.jsonl", "\ufeff" + GOOD)) == [Document("a", "first")]
    path = write("mid.jsonl", f"{GOOD}\n\ufeff{LAST}")
    assert refused(path, "mid.jsonl:2: not valid JSON: Expecting value at column 1") == ["a"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends(end, write, documents) -> None:
    assert len(documents(write("d.jsonl", GOOD + end + LAST + end))) == 2


def test_unicode_line_separators_do_not_end_a_line(write, documents) -> None:
    path = write("d.jsonl", '{"_id": "a", "text": "one\u2028two\u0085three"}\n' + LAST)
    assert [document.text for document in documents(path)] == ["one\u2028two\u0085three", "last"]


BAD_LINES = {
    "{": "not valid JSON: Expecting property name enclosed in double quotes at column 2",
    '{"_id": "b", "text": "cut': "not valid JSON: Unterminated string starting at column 22",
    "[1, 2]": "a JSON object is expected on each line, not list",
    '"text"': "a JSON object is expected on each line, not str",
    '{"_id": "b", "text": "t", "x": NaN}': "not valid JSON: NaN is not a JSON value; write null",
    '{"_id": "b", "text": "t", "x": -Infinity}': "not valid JSON: -Infinity is not a JSON value; write null",
    '{"_id": "b", "text": "t", "x": 1e999}': "not valid JSON: the number 1e999 is too large",
    '{"_id": "b", "text": "t", "_id": "c"}': "not valid JSON: the key '_id' is given twice in one object",
    '{"_id": "b", "m": [{"k": 1, "k": 1}]}': "not valid JSON: the key 'k' is given twice in one object",
    '{"text": "t"}': "the id is missing: there is no field '_id' or 'id'",
    '{"_id": null, "text": "t"}': "an id must be a string or an integer, not null",
    '{"_id": 1.5, "text": "t"}': "an id must be a string or an integer, not float (1.5)",
    '{"_id": true, "text": "t"}': "an id must be a string or an integer, not bool (True)",
    '{"_id": [1], "text": "t"}': "an id must be a string or an integer, not a list",
    '{"_id": {}, "text": "t"}': "an id must be a string or an integer, not an object",
    '{"_id": "", "text": "t"}': "the id is empty ('')",
    '{"_id": " \\u00a0", "text": "t"}': "the id is empty (' \\xa0')",
    '{"_id": "a\\u0000b", "text": "t"}': "the id 'a\\x00b' has a control character",
    '{"_id": "a\\nb", "text": "t"}': "the id 'a\\nb' has a control character",
    '{"_id": "\\ud800", "text": "t"}': "the id '\\ud800' is not valid Unicode",
    '{"_id": "b"}': "the text is missing: there is no field 'text'",
    '{"_id": "b", "text": null}': "the text must be a string, not null",
    '{"_id": "b", "text": 5}': "the text must be a string, not int (5)",
    '{"_id": "b", "text": "t", "title": ["t"]}': "the title must be a string, not a list",
    '{"_id": "b", "text": "half \\udc00"}': "the text is not valid Unicode: it has half of a surrogate pair",
    '{"_id": "b", "text": ""}': "the document is empty: title and text are both blank",
    '{"_id": "b", "text": "\\n", "title": "\\u2003"}': "the document is empty: title and text are both blank",
    '{"_id": "b", "text": "t", "lang": 1, "metadata": {"lang": 2}}': (
        "the field 'lang' is given twice: beside 'metadata' and inside it"
    ),
    "[" * 100_000: "not usable JSON: nested too deeply",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line[:40])
@pytest.mark.parametrize("name", ["docs.jsonl", "docs.jsonl.gz"])
def test_a_bad_line_is_named(line, name, write, refused) -> None:
    path = write(name, f"{GOOD}\n\n{line}\n{LAST}\n")
    assert refused(path, f"{name}:3: {BAD_LINES[line]}") == ["a", "z"]


def test_an_integer_of_thousands_of_digits_is_refused(write, refused) -> None:
    path = write("d.jsonl", f'{GOOD}\n{{"_id": "b", "text": "t", "x": {"9" * 5000}}}\n')
    message = (
        "d.jsonl:2: not valid JSON: Exceeds the limit (4300 digits) for integer string conversion: "
        "value has 5000 digits; use sys.set_int_max_str_digits() to increase the limit"
    )
    assert refused(path, message) == ["a"]


def test_wrong_encoding_names_line_and_byte(write, refused) -> None:
    path = write("d.jsonl", GOOD.encode() + b'\n{"_id": "b", "text": "caf\xe9"}\n' + LAST.encode())
    told = "d.jsonl:2: not UTF-8 at byte 26 of the line; convert the file to UTF-8"
    assert refused(path, told) == ["a", "z"]


def test_id_length_counts_bytes(write, refused, documents) -> None:
    def line(doc_id: str) -> str:
        return json.dumps({"_id": doc_id, "text": "t"}, ensure_ascii=False)

    longest = ["x" * 512, "é" * 256, "\U0001f600" * 128]
    assert [d.id for d in documents(write("ok.jsonl", "\n".join(map(line, longest))))] == longest
    for doc_id, size in (("x" * 513, 513), ("é" * 257, 514)):
        message = f"d.jsonl:1: the id '{doc_id[0] * 56}... has {size} bytes; at most 512 are allowed"
        assert refused(write("d.jsonl", line(doc_id)), message) == []


def test_missing_given_field_is_named(write, refused) -> None:
    path = write("d.jsonl", '{"_id": "a", "text": "t"}')
    refused(path, "d.jsonl:1: the id is missing: there is no field 'pmid'", id_field="pmid")
    refused(path, "d.jsonl:1: the text is missing: there is no field 'body'", text_field="body")
