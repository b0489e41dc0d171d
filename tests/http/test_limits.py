from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.problems import ProblemError
from server.security.limits import gunzip_limited, parse_json

DEPTH = 64


def refused(body: bytes, depth: int = DEPTH) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        parse_json(body, depth)
    return caught.value


class TestJson:
    @pytest.mark.parametrize(
        "body", [b'{"a":1,"a":2}', b'{"a":{"b":1},"c":{"b":1,"b":{}}}', b'{"a":[{"b":1,"b":":"}]}']
    )
    def test_a_member_that_is_there_twice_is_refused_at_any_depth(self, body):
        problem = refused(body)
        assert (problem.status, problem.code) == (422, "invalid_request")
        assert "is there twice" in problem.detail

    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers()))
    def test_numbers_are_those_that_were_written(self, numbers):
        body = json.dumps({"vector": numbers}).encode()
        found = parse_json(body, DEPTH)["vector"]
        assert [(type(one), repr(one)) for one in found] == [(type(one), repr(one)) for one in numbers]

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=30,
        ),
        st.booleans(),
    )
    def test_what_python_writes_is_read(self, value, ascii_only):
        body = json.dumps(value, ensure_ascii=ascii_only).encode()
        assert parse_json(body, 200) == value

    @given(st.text(alphabet='[]{}"\\,:a1 \n', max_size=80), st.integers(1, 6))
    def test_depth_is_that_of_the_value(self, text, limit):
        """Whatever parses is refused exactly when it is nested deeper than allowed."""
        body = text.encode()
        try:
            value = json.loads(body)
        except ValueError:
            with pytest.raises(ProblemError):
                parse_json(body, limit)
            return
        if nesting(value) > limit:
            assert refused(body, limit).code == "json_too_deep"
            return
        try:
            assert parse_json(body, limit) == value
        except ProblemError as problem:
            assert "twice" in problem.detail

    @pytest.mark.parametrize(
        "make",
        [
            lambda n: b"[" * n + b"]" * n,
            lambda n: b'{"a":' * n + b"1" + b"}" * n,
            lambda n: b'["]]]]\\"]]", ' * n + b"1" + b"]" * n,
            lambda n: b'["\\\\", ' * n + b"1" + b"]" * n,
            lambda n: b"[[],[],{}," + b"[" * (n - 1) + b"]" * n,
        ],
        ids=["lists", "objects", "brackets in texts", "backslashes", "siblings"],
    )
    def test_depth_at_the_limit_and_one_beyond(self, make):
        parse_json(make(DEPTH), DEPTH)
        problem = refused(make(DEPTH + 1))
        assert (problem.status, problem.code) == (422, "json_too_deep")
        assert "64" in problem.detail

    def test_many_brackets_side_by_side_are_not_deep(self):
        body = b"[" + b",".join([b'["[[[[", {}]'] * 200_000) + b"]"  # more than one block of the scan
        assert len(parse_json(body, 2 + 1)) == 200_000
        assert refused(body, 2).code == "json_too_deep"

    @pytest.mark.parametrize("content", [b"[", b'{"a":', b'[{"":'], ids=["lists", "objects", "both"])
    @pytest.mark.parametrize("size", [1000, 1 << 20])
    def test_an_abyss_needs_no_recursion(self, content, size):
        assert refused(content * (size // len(content))).code == "json_too_deep"

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"", "Expecting value at character 0"),
            (b"{", "at character 1"),
            (b"{'a': 1}", "at character 1"),
            (b'{"a": 1,}', "at character"),
            (b'{"a": 1} x', "Extra data at character 9"),
            (b'"\x01"', "Invalid control character at character 1"),
            (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
            ("{}".encode("utf-16"), "byte 0 is not UTF-8"),
            (b'"\xed\xa0\x80"', "byte 1 is not UTF-8"),
            (b"\xef\xbb\xbf{}", "BOM"),
            (b'{"a": NaN}', "NaN"),
            (b'{"a": [Infinity]}', "Infinity"),
            (b"-Infinity", "-Infinity"),
        ],
    )
    def test_what_is_no_json(self, body, told):
        problem = refused(body)
        assert (problem.status, problem.code) == (400, "malformed_json")
        assert told in problem.detail

    @pytest.mark.parametrize(
        ("body", "pointer", "told"),
        [
            (b'{"query": "\\ud800"}', "/query", "surrogate"),
            (b'{"ids": ["a", "\\udfff\\ud800"]}', "/ids/1", "surrogate"),
            (b'{"a/b~c": ["\\uDBFF"]}', "/a~1b~0c/0", "surrogate"),
            (b'{"\\ud800": 1}', "/\ud800", "name"),
            (b'{"vector": [0.5, 1E+999 ]}', "/vector/1", "float64"),
            (b"1e999", "", "float64"),
            (b'{"vector": [0.5, 1e999]}', "/vector/1", "float64"),
            (b"[-1.5E+400]", "/0", "float64"),
            (b"[" + b"1" * 400 + b".0]", "/0", "float64"),
            (b'{"a": ' + b"9" * 4301 + b"}", "", "4300 digits"),
            (b'{"a": 1, "b": 2, "a": 1}', "", "'a' is there twice"),
            (b'[{"a": {"x": 1, "x": 2}}]', "", "'x' is there twice"),
        ],
    )
    def test_values_that_cannot_be_used_are_pointed_at(self, body, pointer, told):
        problem = refused(body)
        assert (problem.status, problem.code) == (422, "invalid_request")
        assert problem.errors[0]["pointer"] == pointer
        assert told in problem.errors[0]["detail"]
        json.dumps(problem.errors).encode()

    def test_what_only_looks_unusable_is_taken(self):
        body = rb'{"a": "\ud83d\ude00 \\ud800 e999", "b": 1e-999, "c": 1e308, "d": "' + b"1" * 500 + b'"}'
        assert parse_json(body, DEPTH)["a"] == "😀 \\ud800 e999"
        assert parse_json(b"9" * 4300, DEPTH) == 10**4300 - 1

    def test_many_unusable_values_give_a_short_answer(self):
        long = "x" * 100_000
        body = json.dumps({long: [{"\ud800": 1}] * 1000}).encode()
        problem = refused(body)
        assert len(problem.errors) == 20
        assert len(json.dumps(problem.errors)) < 10_000

    def test_a_member_twice_among_very_many(self):
        body = "{" + ",".join(f'"{i}": 0' for i in range(100_000)) + ', "99999": 1}'
        assert "'99999'" in refused(body.encode()).detail


def nesting(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(nesting, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(nesting, value), default=0)
    return 0


async def _chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def unpack(parts: Iterable[bytes], max_bytes: int = 1 << 20) -> bytes:
    async def read() -> bytes:
        return b"".join([piece async for piece in gunzip_limited(_chunks(parts), max_bytes)])

    return asyncio.run(read())


def gzip_refused(parts: Iterable[bytes], max_bytes: int = 1 << 20) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        unpack(parts, max_bytes)
    return caught.value


TEXT = b"lift and drag of a wing " * 20_000


class TestGzip:
    @pytest.mark.parametrize("size", [1, 100, 10_000, 10_000_000])
    def test_in_chunks_of_any_size(self, size):
        packed = gzip.compress(TEXT)
        parts = [packed[start : start + size] for start in range(0, len(packed), size)]
        assert unpack(parts) == TEXT

    @given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(1, 50), st.integers(0, 9))
    def test_several_members_and_padding(self, contents, size, padding):
        packed = b"".join(map(gzip.compress, contents)) + b"\0" * padding
        parts = [packed[start : start + size] for start in range(0, len(packed), size)]
        assert unpack(parts) == b"".join(contents)

    @pytest.mark.parametrize(
        "content", [TEXT, bytes(300_000), b"ab" * 65536], ids=["text", "zeros", "pieces"]
    )
    def test_at_the_limit_and_one_beyond(self, content):
        packed = gzip.compress(content)
        assert unpack([packed], len(content)) == content
        problem = gzip_refused([packed], len(content) - 1)
        assert (problem.status, problem.code) == (413, "body_too_large")
        assert str(len(content) - 1) in problem.detail

    def test_what_cannot_be_compressed_fits_at_the_limit(self):
        import random

        noise = random.Random(1).randbytes(100_000)
        assert unpack([gzip.compress(noise)], len(noise)) == noise

    @pytest.mark.parametrize(
        "packed",
        [
            b"",
            b"not gzip at all",
            gzip.compress(TEXT)[:-1],
            gzip.compress(TEXT)[:10],
            gzip.compress(TEXT)[:-8] + b"\0" * 8,
            gzip.compress(b"a") + b"rubbish",
            gzip.compress(b"a") + gzip.compress(b"b")[:-3],
            zlib.compress(TEXT),
        ],
        ids=["empty", "other", "no end", "header", "checksum", "trailing", "second cut", "zlib"],
    )
    def test_broken_streams(self, packed):
        problem = gzip_refused([packed])
        assert (problem.status, problem.code) == (400, "malformed_gzip")

    def test_a_bomb_costs_no_more_than_the_cap(self):
        """10 MB that would unpack to 10 GB."""
        packer = zlib.compressobj(9, wbits=31)
        block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
        again = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
        bomb = block + again * ((10 << 20) // len(again))
        tracemalloc.start()
        try:
            taken = 0

            async def read() -> None:
                nonlocal taken
                async for piece in gunzip_limited(_chunks([bomb]), 16 << 20):
                    taken += len(piece)

            with pytest.raises(ProblemError, match="larger than 16777216 bytes"):
                asyncio.run(read())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert 15 << 20 < taken <= 16 << 20
        assert peak < 2 << 20

    def test_an_archive_of_nothing_ends(self):
        nothing = gzip.compress(b"")
        assert gzip_refused([nothing * 70_000], 64 << 20).code == "malformed_gzip"
        assert gzip_refused([nothing * 1000] * 10, 1000).code == "body_too_large"
