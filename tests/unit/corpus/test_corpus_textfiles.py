from __future__ import annotations

import os
import sys

import pytest

from retrieval.corpus import ErrorPolicy, open_corpus, textfiles
from retrieval.errors import DataError
from retrieval.types import Document


def test_files_are_documents_in_sorted_order(write, documents, tmp_path) -> None:
    for name in ("b.txt", "a/z.md", "a/deep/y.rst", "a.text", "C.TXT"):
        write(f"docs/{name}", f"text of {name}\n")
    for name in (".hidden.txt", ".git/x.txt", "a/picture.png", "Makefile"):
        write(f"docs/{name}", "not a document")
    names = ["C.TXT", "a.text", "a/deep/y.rst", "a/z.md", "b.txt"]
    assert documents(tmp_path / "docs") == [Document(name, f"text of {name}\n") for name in names]
    corpus = open_corpus(tmp_path / "docs")
    assert [record.where for record in corpus] == names
    assert corpus.paths == tuple(tmp_path / "docs" / name for name in names)


def test_byte_order_mark_is_dropped(write, documents, tmp_path) -> None:
    write("docs/a.txt", "\ufefftext")
    assert documents(tmp_path / "docs") == [Document("a.txt", "text")]


def test_a_blank_file_and_wrong_encoding_are_named(write, refused, tmp_path) -> None:
    write("one/a.txt", "fine")
    write("one/b.txt", " \n")
    assert refused(tmp_path / "one", "b.txt: the document is empty: title and text are both blank") == [
        "a.txt"
    ]
    write("two/a.txt", b"fine\nfine\ncaf\xe9\n")
    assert refused(tmp_path / "two", "a.txt:3: not UTF-8; convert the file to UTF-8") == []


def test_a_link_out_of_the_folder_is_refused(write, refused, tmp_path) -> None:
    secret = write("secret.txt", "secret")
    write("docs/a.txt", "fine")
    told = "is a link that leads outside the folder; copy what it leads to into the folder"
    (tmp_path / "docs" / "b.txt").symlink_to(secret)
    assert refused(tmp_path / "docs", f"b.txt: {told}") == ["a.txt"]
    (tmp_path / "docs" / "b.txt").unlink()
    write("elsewhere/c.txt", "outside")
    (tmp_path / "docs" / "folder").symlink_to(tmp_path / "elsewhere")
    assert refused(tmp_path / "docs", f"folder: {told}") == ["a.txt"]


def test_links_inside_are_read_once_a_name_and_never_loop(write, documents, tmp_path) -> None:
    write("docs/in/a.txt", "fine")
    (tmp_path / "docs" / "b.txt").symlink_to("in/a.txt")
    (tmp_path / "docs" / "in" / "loop").symlink_to("..")
    assert documents(tmp_path / "docs") == [Document("b.txt", "fine"), Document("in/a.txt", "fine")]


def test_the_folder_itself_may_be_a_link(write, documents, tmp_path) -> None:
    write("docs/a.txt", "fine")
    (tmp_path / "docs" / "b.txt").symlink_to("a.txt")
    (tmp_path / "link").symlink_to("docs")
    assert [document.id for document in documents(tmp_path / "link")] == ["a.txt", "b.txt"]


def test_a_broken_link_and_a_pipe(write, refused, documents, tmp_path) -> None:
    write("docs/a.txt", "fine")
    os.mkfifo(tmp_path / "docs" / "pipe.txt")
    assert len(documents(tmp_path / "docs")) == 1
    (tmp_path / "docs" / "b.txt").symlink_to("nowhere")
    assert refused(tmp_path / "docs", "b.txt: there is no such file") == ["a.txt"]
    (tmp_path / "docs" / "b.txt").unlink()
    (tmp_path / "docs" / "b.txt").symlink_to("pipe.txt")
    assert refused(tmp_path / "docs", "b.txt: there is no such file") == ["a.txt"]


def test_a_file_that_is_gone_costs_itself_only(write, tmp_path) -> None:
    for name in "abc":
        write(f"docs/{name}.txt", name)
    policy = ErrorPolicy("skip")
    corpus = open_corpus(tmp_path / "docs", policy=policy)
    (tmp_path / "docs" / "b.txt").unlink()
    assert [record.document.id for record in corpus] == ["a.txt", "c.txt"]
    assert policy.samples == ["b.txt: there is no such file"]
    assert corpus.fraction() == 1.0


def test_a_file_that_is_too_long(write, refused, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(textfiles, "MAX_LINE_BYTES", 1 << 20)
    write("docs/a.txt", "x" * (1 << 20))
    write("docs/b.txt", "x" * ((1 << 20) + 1))
    assert refused(tmp_path / "docs", "b.txt: the file is longer than 1 MiB; split it") == ["a.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes as a name")
def test_a_name_that_is_not_utf8(write, refused, tmp_path) -> None:
    write("docs/a.txt", "fine")
    with open(os.fsencode(tmp_path / "docs") + b"/\xff.txt", "wb") as file:  # noqa: PTH123
        file.write(b"text")
    told = r"\udcff.txt: the id '\udcff.txt' is not valid Unicode"
    assert refused(tmp_path / "docs", told) == ["a.txt"]


def test_a_folder_that_cannot_be_listed(write, tmp_path, monkeypatch) -> None:
    write("docs/a.txt", "fine")

    def denied(top, onerror):
        onerror(PermissionError(13, "Permission denied", f"{top}/closed"))

    monkeypatch.setattr(textfiles.os, "walk", denied)
    with pytest.raises(DataError, match=r"docs/closed: no permission to read it$"):
        open_corpus(tmp_path / "docs")
