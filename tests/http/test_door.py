"""The connection itself: what it turns away, and how large and slow a head may be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest

pytest.importorskip("httptools")

import uvicorn
from uvicorn.server import ServerState

from server.working.admission import Admission
from server.working.door import MAX_HEAD, Door
from server.working.shedding import Refusal

ORIGIN = "https://app.example.org"
POST = "POST /v1/collections/a/search?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"


async def application(scope, receive, send) -> None:
    message = await receive()
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok" if message["type"] == "http.request" else b"no"})


def connected(talk: Callable, *, room: int = 1, head_seconds: float = 60.0, keep_alive: float = 60.0):
    """What ``talk(reader, writer, context)`` returns, on a connection to a `Door`."""

    async def run():
        context = SimpleNamespace(gate=Admission(room), write_gate=Admission(1), streams=Admission(1))
        refusal = Refusal({"search"}, [ORIGIN])
        state = SimpleNamespace(context=context, refusal=refusal, head_seconds=head_seconds)
        config = uvicorn.Config(application, log_config=None, access_log=False, ws="none")
        config.timeout_keep_alive = keep_alive  # type: ignore[assignment] - seconds, and whole by default
        config.load()
        given = {"config": config, "server_state": ServerState(), "app_state": {}}
        made = partial(Door, app=SimpleNamespace(state=state), **given)
        async with await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                async with asyncio.timeout(30):
                    return await talk(reader, writer, context)
            finally:
                writer.close()
                await writer.wait_closed()

    return asyncio.run(run())


async def answer(reader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def test_a_refusal_is_a_whole_answer_and_the_connection_goes_on():
    async def talk(reader, writer, context):
        with context.gate.enter():
            # Two of them, one after the other's body, which comes in pieces.
            writer.write(f"{POST}Origin: {ORIGIN}\r\nX-Request-ID: mine\r\n\r\n12".encode())
            first = await answer(reader)
            writer.write(f"34{POST}\r\n1234".encode())
            second = await answer(reader)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            other = await answer(reader)
            assert context.gate.turned_away == 2
        writer.write(f"{POST}\r\n1234".encode())
        return first, second, other, await answer(reader)

    first, second, other, after = connected(talk)
    status, headers, body = first
    assert (status, headers["retry-after"], headers["x-request-id"]) == (503, "1", "mine")
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in headers["access-control-expose-headers"]
    assert "connection" not in headers
    problem = json.loads(body)
    assert (problem["code"], problem["status"], problem["request_id"]) == ("overloaded", 503, "mine")
    assert second[0] == 503 and "access-control-allow-origin" not in second[1]
    assert json.loads(second[2])["request_id"] == second[1]["x-request-id"] != "mine"
    assert other[0] == after[0] == 200


def test_of_two_that_come_at_once_one_has_the_room():
    """Neither has begun when the other is read."""

    async def talk(reader, writer, context):
        other_reader, other = await asyncio.open_connection(*writer.get_extra_info("peername"))
        other.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await answer(other_reader)  # it has been accepted
        for each in (writer, other):
            each.write(f"{POST}\r\n1234".encode())
        found = [(await answer(each))[0] for each in (reader, other_reader)]
        other.close()
        await other.wait_closed()
        return sorted(found), context.gate.turned_away

    assert connected(talk) == ([200, 503], 1)


def test_requests_of_other_kinds_take_no_room():
    """Downloads and upkeep last, and some clients do not read their answers."""

    async def talk(reader, writer, context):
        others = [await asyncio.open_connection(*writer.get_extra_info("peername")) for _ in range(2)]
        for _, other in others:  # they wait for a body that does not come
            other.write(b"POST /maintain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
        await asyncio.sleep(0.02)
        writer.write(f"{POST}\r\n1234".encode())
        found = await answer(reader)
        for _, other in others:
            other.close()
            await other.wait_closed()
        return found[0], context.gate.turned_away

    assert connected(talk) == (200, 0)


@pytest.mark.parametrize("then", ["1234", "\r\n"])
def test_a_connection_is_not_kept_for_ever_by_what_is_no_request(then):
    async def talk(reader, writer, context):
        with context.gate.enter():
            writer.write(f"{POST}\r\n".encode() if then == "1234" else b"GET / HTTP/1.1\r\n\r\n")
            await answer(reader)
            writer.write(then.encode())
            return await reader.read()

    assert connected(talk, keep_alive=0.2) == b""


@pytest.mark.parametrize("given", ["Connection: close\r\n", "Expect: 100-continue\r\n"])
def test_what_is_less_simple_is_answered_too(given):
    async def talk(reader, writer, context):
        with context.gate.enter():
            writer.write(f"{POST}{given}\r\n1234".encode())
            return await reader.read() if "close" in given else await reader.readuntil(b"\r\n\r\n")

    found = connected(talk)
    assert found.startswith(b"HTTP/1.1 503" if "close" in given else b"HTTP/1.1 100")
    assert (b"connection: close" in found) == ("close" in given)


@pytest.mark.parametrize(
    "begun", [b"get / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nno header\r\n\r\n"]
)
def test_what_is_no_request_is_a_problem(begun):
    async def talk(reader, writer, context):
        writer.write(begun)
        return await answer(reader), await reader.read()

    (status, headers, body), rest = connected(talk)
    assert (status, headers["connection"], rest) == (400, "close", b"")
    problem = json.loads(body)
    assert (problem["code"], problem["request_id"]) == ("bad_request", headers["x-request-id"])


def test_a_head_may_not_grow_for_ever():
    async def talk(reader, writer, context):
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _ in range(4):
            writer.write(b"x" * (MAX_HEAD // 2))
            await asyncio.sleep(0.02)
        return await reader.read()

    assert connected(talk).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_may_not_take_for_ever(begun):
    async def talk(reader, writer, context):
        writer.write(begun)
        return await reader.read()

    assert connected(talk, head_seconds=0.05) == b""
