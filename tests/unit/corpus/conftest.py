"""Files to read, and what reading them must say."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.corpus import ErrorPolicy, open_corpus
from retrieval.errors import DataError
from retrieval.types import Document

Write = Callable[[str, str | bytes], Path]
Refused = Callable[..., list[str]]
Fatal = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file below the test's folder; a name that ends in .gz packs it."""

    def written(name: str, content: str | bytes) -> Path:
        data = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return written


@pytest.fixture
def refused() -> Refused:
    """Read a corpus whose only bad record gives ``message``; returns the ids of the others."""

    def checked(path: Path, message: str, **options: str) -> list[str]:
        with pytest.raises(DataError) as stopped:
            list(open_corpus(path, **options))
        assert str(stopped.value) == message
        assert message.startswith(f"{stopped.value.where}: ")
        policy = ErrorPolicy("skip")
        records = list(open_corpus(path, policy=policy, **options))
        assert (policy.skipped, policy.samples) == (1, [message])
        return [record.document.id for record in records]

    return checked


@pytest.fixture
def fatal() -> Fatal:
    """Read a corpus that cannot be read on, whatever the policy says; returns the message."""

    def told(path: Path, **options: str) -> str:
        messages = []
        for policy in (ErrorPolicy("stop"), ErrorPolicy("skip")):
            with pytest.raises(DataError) as error:
                list(open_corpus(path, policy=policy, **options))
            assert policy.skipped == 0
            messages.append(str(error.value))
        assert messages[0] == messages[1]
        return messages[0]

    return told


@pytest.fixture
def documents() -> Callable[..., list[Document]]:
    """All documents of a corpus, by `open_corpus`."""

    def read(path: Path, **options: str) -> list[Document]:
        return [record.document for record in open_corpus(path, **options)]

    return read
