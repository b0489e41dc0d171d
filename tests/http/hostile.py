"""What somebody sends who wishes us ill: names, bodies and whole requests, from a seed."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import socket
import zlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote

import pyarrow as pa

JSON, NDJSON, ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
WAIT_SECONDS = 60.0

NAMES = [
    *(
        "",
        ".",
        "..",
        "...",
        "~",
        "*",
        "?",
        "#",
        "%",
        "%%",
        "-",
        "_",
        " ",
        "\t",
        "\\",
        "/",
        "//",
        "C:",
        "C:\\",
    ),
    *(
        "con",
        "nul",
        "aux.txt",
        "com1",
        "lpt9",
        "a.",
        "a ",
        "a::$DATA",
        "~root",
        "$HOME",
        "$(id)",
        "`id`",
        "|id",
    ),
    *("../bait.txt", "../../bait.txt", "..\\bait.txt", "....//bait.txt", "..;/bait.txt", "/etc/passwd"),
    *(
        "dense/../late",
        "dense/../../bait.txt",
        "../data/dense",
        "DENSE",
        "Dense",
        "dense ",
        "dense\n",
        "dense\0",
    ),
    *(
        "a\0b",
        "a\r\nSet-Cookie: a=b",
        "\r\n\r\nGET / HTTP/1.1",
        "\x7f",
        "\x1b[31mred",
        "<script>alert(1)</script>",
    ),
    *("\u2024\u2024/bait.txt", "\uff0e\uff0e\uff0fbait.txt", "\u202etxt.exe", "\ufeffdense", "d\u0435nse"),
    *(
        "' OR 1=1 --",
        "'; DROP TABLE aliases; --",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "%s%s%n",
        "null",
        "undefined",
    ),
    *(
        ".spool",
        ".snapshots",
        ".trash-1",
        ".restoring-1",
        "server.sqlite",
        "catalog.sqlite",
        "server.lock",
        "a" * 64,
    ),
    *("a" * 65, "a" * 300, "a" * 5000, "\U0001f4a3" * 100, "e\u0301" * 50, "id" + "/.." * 200),
]
"""As somebody means them; `segments` writes them in many ways."""
RAW = [
    b"%2e%2e",
    b"%2e%2e%2f",
    b"%252e%252e%252f",
    b"%c0%ae%c0%ae%c0%af",
    b"%e0%80%ae",
    b"%ff%fe",
    b"%00",
    b"%zz",
]
RAW += [
    b"%u002e",
    b"..%5c",
    b"..%2f..%2fbait.txt",
    b"%0d%0aX-Evil:1",
    b"%ed%a0%80",
    b"%f4%90%80%80",
    b"%2500",
    b";a=b",
]


def name(rng: random.Random) -> bytes:
    """A segment of a path, as bytes on the wire."""
    if rng.random() < 0.2:
        return b"".join(rng.choices(RAW, k=rng.randint(1, 4)))
    text = rng.choice(NAMES)
    if rng.random() < 0.3:
        text = text + rng.choice(NAMES)
    safe = rng.choice(["", "/", "/.\\"])
    once = quote(text, safe=safe)
    return (quote(once, safe="") if rng.random() < 0.2 else once).encode()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Attack:
    """One request. ``broken``: HTTP itself may be violated, so that the answer may be the protocol's or none.
    ``cut``: the sender goes away instead of ending it."""

    method: str
    path: bytes
    body: bytes = b""
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    broken: bool = False
    cut: bool = False
    raw: bytes | None = None

    def wire(self, key: str) -> bytes:
        if self.raw is not None:
            return self.raw
        given = {each.lower() for each, _ in self.headers}
        headers = list(self.headers)
        if self.body and not given & {"content-length", "transfer-encoding"}:
            headers.append(("Content-Length", str(len(self.body)).encode()))
        if "host" not in given:
            headers.append(("Host", b"localhost"))
        headers += [("api-key", key.encode()), ("Connection", b"close")]
        lines = [each.encode("latin-1") + b": " + value for each, value in headers]
        return b"\r\n".join([self.method.encode() + b" " + self.path + b" HTTP/1.1", *lines, b"", self.body])


def send(port: int, attack: Attack, key: str) -> Answer | None:
    """The answer; None, if the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as connection:
        try:
            connection.sendall(attack.wire(key))
            if attack.cut:
                return None
            if attack.broken:
                with contextlib.suppress(OSError):  # it has answered and closed already
                    connection.shutdown(socket.SHUT_WR)  # or both would wait
            response = HTTPResponse(connection, method=attack.method)
            response.begin()
            return Answer(
                response.status, {k.lower(): v for k, v in response.getheaders()}, response.read(64 << 20)
            )
        except (ConnectionError, HTTPException):
            if not attack.broken:
                raise
            return None


# -- bodies -------------------------------------------------------------------------------------

DEEP = 5000
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        1.5,
        -0.0,
        1e308,
        5e-324,
        2**31,
        2**63,
        2**64,
        -(2**63) - 1,
        10**400,
        10**4000,
    ),
    *("", " ", "\0", "a", "\ud800", "\udfff\ud800", "\U0001f4a3", "a" * 10_000, "x" * 500_000, "." * 300_000),
    *(
        "../../bait.txt",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "NaN",
        "9999-12-31",
        "0001-01-01",
    ),
    *(
        "9999-12-31T23:59:59.999999-23:59",
        "0001-01-01T00:00:00+23:59",
        "pca:99999999999",
        "muvera:1",
        "ward:0",
    ),
    *(
        "fixed:99999999999999999999",
        "norm:nan",
        "tokens",
        "auto",
        "__class__",
        "%s%n",
        "\u202e",
        "dense",
        "late",
    ),
    *(
        [],
        {},
        [[]],
        [{}],
        [None],
        {"": None},
        {"a": {"b": {"c": 1}}},
        [1] * 10_000,
        ["a"] * 10_000,
        [[0.1] * 32],
    ),
    *(
        {"$ref": "#"},
        {"must": [{"must": []}]},
        {"year": {"gt": 10**400}},
        {"has_id": ["a"] * 5000},
        {"\ud800": 1},
    ),
]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in inner:
        yield from places(member, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    value = deepcopy(value)
    inner = value
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = new
    return value


def changed(rng: random.Random, value: Any) -> Any:
    """The value with something else somewhere in it."""
    at = rng.choice(list(places(value)))
    new = deepcopy(rng.choice(VALUES))
    if at and rng.random() < 0.2 and isinstance(value, dict):
        return {**value, rng.choice(["__proto__", "constructor", "a" * 5000, "", "query", "\u0000"]): new}
    return replaced(value, at, new)


def written(rng: random.Random, value: Any) -> bytes:
    """JSON, or nearly."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7)
    raw = text.encode("utf-8", "surrogatepass")
    cut = rng.randrange(len(raw) + 1)
    ways: list[Callable[[], bytes]] = [
        lambda: raw[:cut],
        lambda: raw[:cut] + bytes([rng.randrange(256)]) + raw[cut:],
        lambda: raw[:cut] + b"NaN" + raw[cut:],
        lambda: raw + raw,
        lambda: b"\xef\xbb\xbf" + raw,
        lambda: text.encode("utf-16", "surrogatepass"),
        lambda: raw.replace(b'"', b"'"),
        lambda: raw.replace(b":", b":" + b"[" * DEEP, 1),
        lambda: b"[" * DEEP + b"]" * DEEP,
        lambda: b'{"a":' * DEEP,
        lambda: raw[:-1] + b"," + raw[1:] if raw[:1] == b"{" and len(raw) > 2 else raw,
        lambda: raw + b"\0",
        lambda: raw.replace(b"1", b"1" + b"0" * 5000, 1),
        lambda: raw.replace(b"e", b"\xed\xa0\x80", 1),
        lambda: b"",
        lambda: b" " * 200_000 + raw,
        lambda: b'"' + b"\\" * 100_001,
    ]
    return raw if rng.random() < 0.7 else rng.choice(ways)()


def lines(rng: random.Random, documents: list[dict[str, Any]]) -> bytes:
    """NDJSON, or nearly."""
    end = rng.choice([b"\n", b"\r\n", b"\r", b"\n\n\n", b"\x0b", "\u2028".encode(), b""])
    rows = [written(rng, changed(rng, each) if rng.random() < 0.5 else each) for each in documents]
    whole = end.join(rows)
    return rng.choice(
        [whole, b"\xef\xbb\xbf" + whole, b"a" * 300_000, whole + b"\0", b"\n" * 100_000, whole[:-3]]
    )


def arrow(rng: random.Random) -> bytes:
    """An Arrow stream, perhaps of odd types, with some bytes changed."""
    n = rng.choice([0, 1, 3, 100])
    ids: Any = pa.array([f"arrow-{i}" for i in range(n)])
    odd: list[Callable[[], Any]] = [
        lambda: pa.nulls(n),
        lambda: pa.array([b"\xff"] * n, pa.binary()),
        lambda: pa.array([None] * n, pa.string()),
        lambda: pa.array([2**63 - 1] * n, pa.timestamp("s")),
        lambda: pa.array([2**31 - 1] * n, pa.date32()),
        lambda: pa.array([-1] * n, pa.duration("ns")),
        lambda: pa.array(["x"] * n).dictionary_encode(),
        lambda: pa.FixedSizeListArray.from_arrays(pa.nulls(n * 1000), 1000),
        lambda: pa.array([[["x"]]] * n),
        lambda: pa.array([{"": None}] * n, pa.struct([("", pa.null())])),
        lambda: pa.array([float("nan")] * n),
        lambda: pa.array([(1, 2, 3)] * n, pa.month_day_nano_interval()),
    ]
    columns = {
        "id": ids,
        "text": pa.array(["wing"] * n),
        rng.choice(["odd", "title", "", "year"]): rng.choice(odd)(),
    }
    if rng.random() < 0.2:
        columns[rng.choice(["id", "text"])] = rng.choice(odd)()
    sink = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    raw = bytearray(sink.getvalue())
    for _ in range(rng.choice([0, 1, 4, 40])):
        raw[rng.randrange(len(raw))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(raw[: rng.choice([len(raw), rng.randrange(len(raw))])])


def bomb(size: int) -> bytes:
    """A few kilobytes that unpack to ``size`` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(b" " * size) + packer.flush()


def packed(rng: random.Random, body: bytes) -> bytes:
    """gzip, or nearly."""
    raw = bytearray(gzip.compress(body))
    match rng.randrange(6):
        case 0:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        case 1:
            del raw[rng.randrange(len(raw)) :]
        case 2:
            raw *= 2
        case 3:
            raw = bytearray(bomb(80 << 20))
        case 4:
            raw += b"\0" * 1000 + b"x"
    return bytes(raw)


# -- whole requests -----------------------------------------------------------------------------

HEADERS: list[tuple[str, bytes]] = [
    ("Content-Type", b"text/plain"),
    ("Content-Type", b"application/json; charset=utf-16"),
    ("Content-Type", b"multipart/form-data; boundary=" + b"x" * 5000),
    ("Content-Type", b"\xff\xfe/\x80"),
    ("Content-Type", b"application/json;" * 500),
    ("Content-Encoding", b"br"),
    ("Content-Encoding", b"gzip, gzip"),
    ("X-Request-ID", b"a\tb\x80" + b"z" * 1000),
    ("X-HTTP-Method-Override", b"DELETE"),
    ("X-Forwarded-Host", b"evil.example"),
    ("X-Original-URL", b"/metrics"),
    ("Idempotency-Key", b"\x80\xff"),
    ("Idempotency-Key", b"k" * 5000),
    ("Authorization", b"Basic " + b"=" * 3000),
    ("Authorization", b"Bearer"),
    ("Host", b"["),
    ("Host", b"[::1"),
    ("Host", b"a/b?c#d@e"),
    ("Origin", b"http://["),
    ("Origin", b"null"),
    ("Cookie", b"a=b; " * 2000),
    ("Range", b"bytes=" + b",".join(b"%d-" % i for i in range(2000))),
    ("Range", b"bytes=9-1"),
    ("If-None-Match", b"*," * 2000),
    ("Accept", b"\x80" * 2000),
    ("Expect", b"100-continue"),
    ("Upgrade", b"websocket"),
    ("Last-Event-ID", b"999999999999999999999"),
]


def broken_requests(path: bytes, key: bytes) -> list[Attack]:
    """Requests that are hardly HTTP."""
    ours = b"Host: localhost\r\napi-key: " + key + b"\r\n"
    typed = ours + b"Content-Type: application/json\r\n"
    chunked = typed + b"Transfer-Encoding: chunked\r\n"
    post = b"POST " + path + b" HTTP/1.1\r\n"
    raws = [
        b"",
        b"\r\n\r\n",
        b"\0" * 5000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /../../bait.txt HTTP/1.1\r\n" + ours + b"\r\n",
        b"GET http://evil.example/livez HTTP/1.1\r\n" + ours + b"\r\n",
        b"GET /%00%0d%0a HTTP/1.0\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n" + ours + b"\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\n" + ours + b"\r\n",
        b"TRACE " + path + b" HTTP/1.1\r\n" + ours + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + ours + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/collections?" + b"a&" * 100_000 + b" HTTP/1.1\r\n" + ours + b"\r\n",
        b"GET /v1/collections HTTP/1.1\r\n" + ours + b"X-A: b\r\n" * 20_000 + b"\r\n",
        b"GET /v1/collections HTTP/1.1\r\n" + ours + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /v1/collections HTTP/1.1\r\n" + ours + b"A: b\r\n c\r\n\r\n",
        b"GET /v1/collections HTTP/1.1\r\nHost: a\r\n" + ours + b"\r\n",
        post + typed + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}{}{}",
        post + typed + b"Content-Length: -1\r\n\r\n{}",
        post + typed + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}",
        post + typed + b"Content-Length: 999\r\n\r\n{}",
        post + chunked + b"Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        post + chunked + b"\r\n2\r\n{}\r\n",
        post + chunked + b"\r\nffffffffffffffff\r\n{}",
        post + chunked + b"\r\nzz\r\n{}\r\n0\r\n\r\n",
        post + chunked + b"\r\n-1\r\n{}\r\n0\r\n\r\n",
        post + typed + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        post + typed + b"Transfer-Encoding: x\r\n\r\n{}",
    ]
    return [Attack("POST" if raw.startswith(b"POST") else "GET", path, raw=raw, broken=True) for raw in raws]
