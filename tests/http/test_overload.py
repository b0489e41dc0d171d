"""Five times as many clients as there is room for: those let in are served as fast as ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from server.security.keys import KeySettings, new_key
from tests.encoders import HashingDense
from tests.http.misbehaving import Stuck

ROOM = 8
ANSWERS = 80
ATTEMPTS = 5
SECONDS_A_TEXT = 0.03
"""The clients are in this process: were answers quick, their own work would be what is measured."""
WAIT = 60


class Steady(HashingDense):
    """Takes as long for a text whether it is alone or not: no batch raises what the server can do."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0

    def encode_query(self, texts):
        self.texts += len(texts)
        time.sleep(SECONDS_A_TEXT * len(texts))
        return self.encode_document(texts)


class Clients:
    """So many clients in a closed loop, until they have ``ANSWERS`` answers together."""

    def __init__(self, client, count: int) -> None:
        self._client, self._count = client, count
        self._enough = threading.Event()
        self._lock = threading.Lock()
        self.answered, self.refused, self.others, self.most = 0, [], [], 0

    def run(self) -> float:
        """How many answers a second."""
        started = time.monotonic()
        with ThreadPoolExecutor(self._count) as threads:
            for done in [threads.submit(self._loop, i) for i in range(self._count)]:
                done.result()
        return self.answered / (time.monotonic() - started)

    def _loop(self, number: int) -> None:
        context = self._client.app.state.context
        turn = 0
        while not self._enough.is_set():
            turn += 1
            body = {"query": f"wing {self._count} {number} {turn}", "limit": 1, "fields": []}
            response = self._client.post("/v1/collections/dense/search", json=body)
            waiting = context.gate.in_flight + context.pool.waiting("search") + context.pool.waiting("encode")
            with self._lock:
                self.most = max(self.most, context.gate.in_flight, waiting - context.gate.in_flight)
                if response.status_code == 200:
                    self.answered += 1
                elif response.status_code == 503:
                    self.refused.append(response)
                else:
                    self.others.append(response)
                if self.answered >= ANSWERS:
                    self._enough.set()
            if response.status_code == 503:
                self._enough.wait(0.15)


def test_good_throughput_at_five_times_the_capacity(serve, encoders, assert_problem):
    steady = Steady()
    settings = {"max_in_flight": ROOM, "query_cache": 0, "search_threads": 2}
    with serve(given={**encoders, "dense": steady}, **settings) as client:
        ratios = []
        for _ in range(ATTEMPTS):  # other tests run on this machine too
            peak = Clients(client, ROOM)
            best = peak.run()
            assert not peak.refused and not peak.others
            before = steady.texts
            crowd = Clients(client, 5 * ROOM)
            ratios.append(crowd.run() / best)
            assert not crowd.others
            assert crowd.refused
            for response in crowd.refused:
                assert_problem(response, 503, "overloaded")
                assert response.headers["retry-after"] == "1"
            # Nothing was spent on those that were turned away, and never more were let in.
            assert steady.texts - before == crowd.answered
            assert max(peak.most, crowd.most) <= ROOM
            if ratios[-1] >= 0.9:
                break
        assert max(ratios) >= 0.9
        context = client.app.state.context
        assert context.gate.in_flight == 0
        assert context.pool.waiting("search") == context.pool.waiting("encode") == 0


def test_room_is_refused_at_once_while_everybody_waits(serve, encoders, assert_problem):
    stuck = Stuck()
    with serve(given={**encoders, "dense": stuck}, max_in_flight=3) as client:
        stuck.armed = True
        gate = client.app.state.context.gate
        with ThreadPoolExecutor(3) as threads:
            bodies = [{"query": f"wing {i}"} for i in range(3)]
            waiting = [
                threads.submit(client.post, "/v1/collections/dense/search", json=body) for body in bodies
            ]
            try:
                deadline = time.monotonic() + 30
                while gate.in_flight < 3:
                    assert time.monotonic() < deadline
                    time.sleep(0.005)
                # The model answers nobody now: an answer can only come from the door.
                for path in ("search", "search/batch", "explain", "rerank"):
                    response = client.post(f"/v1/collections/late/{path}", json={"query": "x"})
                    assert_problem(response, 503, "overloaded")
                assert gate.turned_away == 4
                assert client.get("/livez").status_code == 200
            finally:
                stuck.gate.set()
            assert [future.result(30).status_code for future in waiting] == [200] * 3


def test_who_is_turned_away_is_told_before_anything_looks_at_it(serve, encoders, assert_problem):
    key, digest = new_key()
    keys = {"reader": KeySettings(sha256=digest, scope="read")}
    page = "https://app.example.org"
    with serve(given=encoders, wait=False, max_in_flight=1, keys=keys, cors_origins=[page]) as client:
        context = client.app.state.context
        deadline = time.monotonic() + WAIT
        while context.registry.not_ready():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with context.gate.enter():
            for path in ("collections/late/search", "collections/late/documents/fetch", "embeddings"):
                sent = {"origin": page, "x-request-id": "mine"}
                refused = client.post(f"/v1/{path}", content=b"no JSON, and no key", headers=sent)
                assert_problem(refused, 503, "overloaded")
                assert refused.headers["retry-after"]
                assert refused.headers["x-content-type-options"] == "nosniff"
                assert refused.headers["access-control-allow-origin"] == page
                assert refused.json()["request_id"] == "mine"
            assert client.post("/v1/collections/late/documents", content=b"").status_code == 401  # writes
            assert client.get("/v1/collections/late/search").status_code in (401, 405)
            assert client.get("/livez").status_code == 200
        assert context.gate.turned_away == 3
        found = client.post("/v1/collections/late/search", json={"query": "wing"}, headers={"api-key": key})
        assert found.status_code == 200
