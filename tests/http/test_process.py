"""Real processes: they start, drain and end; two of them on one folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from retrieval import Engine
from retrieval.errors import ConfigError
from server.listening import listen, refuse_new
from tests.encoders import HashingDense
from tests.http.conftest import documents
from tests.http.serving import Running, running

SEARCH = "/v1/collections/papers/search"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    Engine.build(tmp_path / "data" / "papers", documents(), HashingDense())
    return tmp_path / "data"


def until_ready(server: Running) -> str:
    address, deadline = server.address, time.monotonic() + 60
    while httpx.get(f"{address}/readyz").status_code != 200:
        assert time.monotonic() < deadline, "never ready"
        time.sleep(0.02)
    return address


class Load:
    """Threads that search in a loop, until no connection can be made any more; nothing is tried twice."""

    def __init__(self, address: str, threads: int, query: str = "wing") -> None:
        self.address, self.query = address, query
        self.seen: Counter[str] = Counter()
        self.threads = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _work(self) -> None:
        with httpx.Client(base_url=self.address, timeout=30) as client:
            while True:
                try:
                    response = client.post(SEARCH, json={"query": self.query, "limit": 3})
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    self.seen[repr(error)] += 1
                    return
                self.seen[str(response.status_code)] += 1

    def until(self, answers: int) -> None:
        deadline = time.monotonic() + 60
        while self.seen["200"] < answers:
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.01)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(60)


@pytest.mark.parametrize("query", ["wing", "wait 0.05"])
@pytest.mark.parametrize("round_", range(2))
def test_sigterm_under_load_fails_no_request(data_dir, tmp_path, query, round_):
    with running(cwd=tmp_path, data_dir=data_dir) as server:
        load = Load(until_ready(server), 8, query)
        load.until(50 if query == "wing" else 16)
        before = load.seen["200"]
        server.process.send_signal(signal.SIGTERM)
        load.join()
        assert server.ended() == 0
    assert set(load.seen) == {"200"}, load.seen
    assert load.seen["200"] > before  # it went on serving
    assert server.events[-1]["event"] in {"stopped", f"Finished server process [{server.process.pid}]"}
    assert not server.other


def test_while_it_drains_it_is_not_ready_and_answers_close_connections(data_dir, tmp_path):
    with running(cwd=tmp_path, data_dir=data_dir) as server:
        address = until_ready(server)
        with httpx.Client(base_url=address) as client:
            assert "connection" not in client.get("/livez").headers
            server.process.send_signal(signal.SIGINT)
            server.until("draining")
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["code"]) == (503, "draining")
            assert ready.headers["connection"] == "close"
            assert client.post(SEARCH, json={"query": "wing"}).status_code == 200
        assert server.ended() == 0


def test_what_is_in_flight_is_answered_and_what_takes_too_long_is_not_waited_for(data_dir, tmp_path):
    answers = {}

    def ask(address: str, seconds: float) -> None:
        try:
            answers[seconds] = httpx.post(address + SEARCH, json={"query": f"wait {seconds}"}, timeout=60)
        except httpx.HTTPError as error:
            answers[seconds] = type(error)

    with running(cwd=tmp_path, data_dir=data_dir, drain_seconds=4, search_threads=2) as server:
        address = until_ready(server)
        threads = [threading.Thread(target=ask, args=(address, seconds)) for seconds in (2.5, 8)]
        # One after the other: the model takes queries one at a time, and together those that wait.
        threads[0].start()
        time.sleep(0.5)
        threads[1].start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert server.ended() == 0
    # It was asked before the signal, seconds after which lists of headers were made anew.
    assert (answers[2.5].status_code, answers[2.5].headers.get("connection")) == (200, "close")
    assert isinstance(answers[8], type) or answers[8].status_code != 200


def test_a_second_signal_ends_it_at_once(data_dir, tmp_path):
    with running(cwd=tmp_path, data_dir=data_dir, drain_seconds=300) as server:
        address = until_ready(server)
        asking = threading.Thread(target=_ask_in_vain, args=(address,))
        asking.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        server.until("draining")
        server.process.send_signal(signal.SIGTERM)
        assert server.ended(20) == 128 + signal.SIGTERM
        asking.join(30)


def _ask_in_vain(address: str) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.post(address + SEARCH, json={"query": "wait 100"}, timeout=60)


def test_streams_of_events_end(data_dir, tmp_path):
    with running(cwd=tmp_path, data_dir=data_dir, drain_seconds=30) as server:
        address = until_ready(server)
        # A compaction measures its recall with queries: these take their time.
        body = {"recipe": {"index": "flat"}, "queries": [f"wait 0.15 {i}" for i in range(25)], "force": True}
        started = httpx.post(f"{address}/v1/collections/papers/compact", json=body)
        assert started.status_code == 202, started.text
        events = f"{address}{started.headers['location']}/events"
        with httpx.stream("GET", events, timeout=60) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: task"
            server.process.send_signal(signal.SIGTERM)
            told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
            # It ends, and ends well (a connection that is cut raises), although the task goes on.
            assert told[-1]["state"] == "running"
        assert server.ended() == 0


def test_what_one_process_writes_another_finds_at_once(data_dir, tmp_path):
    with (
        running(cwd=tmp_path, data_dir=data_dir) as writer,
        running(cwd=tmp_path, data_dir=data_dir, read_only="true") as reader,
    ):
        at, other = until_ready(writer), until_ready(reader)
        with httpx.Client() as client:
            for number in range(20):
                one = {"id": f"new{number}", "text": f"zeppelin number{number}"}
                written = client.post(f"{at}/v1/collections/papers/documents", json={"documents": [one]})
                assert written.status_code == 200, written.text
                found = client.post(other + SEARCH, json={"query": one["text"], "limit": 1}).json()
                assert found["hits"][0]["id"] == one["id"]
                assert found["generation"] == written.json()["generation"]
            refused = client.post(f"{other}/v1/collections/papers/documents", json={"documents": []})
            assert (refused.status_code, refused.json()["code"]) == (403, "read_only")
        for server in (writer, reader):
            server.process.send_signal(signal.SIGTERM)
        assert (writer.ended(), reader.ended()) == (0, 0)


def test_the_command_says_where_it_listens_and_what_it_serves(tmp_path):
    (tmp_path / "data").mkdir()
    with running(module="server", cwd=tmp_path, data_dir=tmp_path / "data") as server:
        said = server.until("serving")
        assert said["keys"] == 0 and said["collections"] == [] and said["read_only"] is False
        assert said["data_dir"] == str(tmp_path / "data")
        answer = httpx.get(f"{server.address}/livez")
        assert answer.status_code == 200
        assert "server" not in answer.headers
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0


@pytest.mark.parametrize("read_only", ["false", "true"])
def test_a_mistyped_folder_is_refused_and_not_made(tmp_path, read_only):
    with running(module="server", cwd=tmp_path, data_dir="nowhere", read_only=read_only) as server:
        assert server.ended() == 2
        assert f"there is no such folder ({tmp_path / 'nowhere'})" in "".join(server.other)
    assert not (tmp_path / "nowhere").exists()


def test_https(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run(
            [*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    (tmp_path / "data").mkdir()
    files = {"tls_certificate": certificate, "tls_key": key}
    with running(module="server", cwd=tmp_path, data_dir=tmp_path / "data", **files) as server:
        assert server.address.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(certificate))
        assert httpx.get(f"{server.address}/livez", verify=trusted).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0
    key.write_text("no key")
    with running(module="server", cwd=tmp_path, data_dir=tmp_path / "data", **files) as server:
        assert server.ended() == 2
    assert len(server.other) == 1 and server.other[0].startswith("error: server settings tls_certificate=")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_port_that_is_taken_is_one_sentence(host):
    try:
        taken = listen(host, 0)
    except ConfigError as error:
        pytest.skip(str(error))  # no IPv6 here
    try:
        port = taken[0].getsockname()[1]
        assert {each.getsockname()[1] for each in taken} == {port}
        with pytest.raises(ConfigError, match=f"cannot listen on {host}:{port}: Address already in use"):
            listen(host, port)
        for each in taken:
            with socket.create_connection(each.getsockname()[:2]):
                pass
    finally:
        for each in taken:
            each.close()


def test_a_host_that_is_not_ours_is_one_sentence():
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign"):
        listen("192.0.2.1", 0)


def test_a_store_that_cannot_be_opened_is_one_sentence(tmp_path):
    (tmp_path / "server.sqlite").write_bytes(b"no database at all")
    done = subprocess.run(
        [sys.executable, "-m", "server"],
        env={**os.environ, "RETRIEVAL_SERVER_DATA_DIR": str(tmp_path), "RETRIEVAL_SERVER_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "server.sqlite" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_answers_do_not_wait_for_acknowledgements():
    with contextlib.ExitStack() as opened:
        listening = [opened.enter_context(each) for each in listen("127.0.0.1", 0)]
        client = opened.enter_context(socket.create_connection(listening[0].getsockname()))
        taken = opened.enter_context(listening[0].accept()[0])
        assert client.getpeername() == taken.getsockname()
        assert taken.proto == socket.IPPROTO_TCP  # by this asyncio knows that it may set TCP_NODELAY


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_connections_are_no_longer_begun_but_those_there_are_kept():
    with contextlib.ExitStack() as opened:
        (listening,) = [opened.enter_context(each) for each in listen("127.0.0.1", 0)]
        before = opened.enter_context(socket.create_connection(listening.getsockname()))
        refuse_new(listening)
        with pytest.raises(TimeoutError):
            socket.create_connection(listening.getsockname(), timeout=0.3)
        taken = opened.enter_context(listening.accept()[0])  # made before, accepted after
        before.sendall(b"there")
        assert taken.recv(5) == b"there"
        taken.sendall(b"back")
        assert before.recv(4) == b"back"
