from __future__ import annotations

import threading

import pytest

from retrieval import EncoderConfig, Engine, RuntimeConfig
from server.collections import models
from server.collections.loading import Opener
from server.collections.models import Models
from server.settings import ServerSettings
from tests.encoders import HashingLate
from tests.http.conftest import until_loaded
from tests.http.misbehaving import Stuck


def test_live_at_once_and_ready_only_after_loading(serve, assert_problem, monkeypatch):
    go = threading.Event()
    opened = Opener.open

    def slow(self, name, path):
        if name == "late":
            assert go.wait(30)
        return opened(self, name, path)

    monkeypatch.setattr(Opener, "open", slow)
    with serve(wait=False) as client:
        assert client.get("/livez").json() == {"status": "live"}
        response = client.get("/readyz")
        body = assert_problem(response, 503, "not_ready")
        assert body["collections"]["late"] == "loading"
        assert "late: loading" in body["detail"]
        assert response.headers["retry-after"]
        waiting = client.post("/v1/collections/late/search", json={"query": "wing"})
        assert_problem(waiting, 503, "loading")
        assert waiting.headers["retry-after"]
        assert_problem(client.get("/v1/collections/late"), 503, "loading")
        go.set()
        until_loaded(client)
        assert client.get("/readyz").json() == {"status": "ready", "collections": ["dense", "late"]}
        assert client.post("/v1/collections/late/search", json={"query": "wing"}).status_code == 200


def test_a_failed_collection_says_why_and_leaves_the_others_alone(
    serve, assert_problem, tmp_path, encoders, capfd
):
    missing = tmp_path / "nowhere"
    with serve(collections={"gone": missing}) as client:
        body = assert_problem(client.get("/readyz"), 503, "not_ready")
        assert list(body["collections"]) == ["gone"]
        assert "no index" in body["collections"]["gone"]
        failed = assert_problem(client.get("/v1/collections/gone"), 503, "collection_failed")
        assert "no index" in failed["detail"]
        assert client.post("/v1/collections/dense/search", json={"query": "wing"}).status_code == 200


def test_an_own_encoder_that_is_not_given_fails_with_what_to_do(serve, encoders):
    with serve(given={"dense": encoders["dense"]}) as client:
        why = client.get("/readyz").json()["collections"]["late"]
    assert "create_app(encoders={'late': ...})" in why


def test_another_encoder_than_the_index_was_built_with_is_refused(serve, encoders):
    class Other(HashingLate):
        def fingerprint(self):
            return {"name": "other"}

    with serve(given={**encoders, "late": Other()}) as client:
        why = client.get("/readyz").json()["collections"]["late"]
    assert "hashing-late" in why and "other" in why


def test_an_unplanned_failure_while_opening_is_not_told_to_clients(serve, monkeypatch, capfd):
    def explode(self, name, path):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Opener, "open", explode)
    with serve() as client:
        response = client.get("/readyz")
    assert response.status_code == 503
    assert "secret" not in response.text


def test_models_are_loaded_once_per_configuration(indexes, tmp_path, monkeypatch):
    loaded = []

    class Configured(HashingLate):
        def __init__(self, config):
            super().__init__()
            self.config = config

        def encode_document(self, texts, *, progress=None):
            return super().encode_document(texts)

        def encode_query(self, texts, *, progress=None):
            return super().encode_document(texts)

    def load(config, runtime):
        loaded.append(config)
        return Configured(config)

    monkeypatch.setattr(models, "load_encoder", load)
    same = EncoderConfig.of(name="words")
    for name, config in {"a": same, "b": same, "c": same.replace(query_length=8)}.items():
        Engine.create(tmp_path / name, Configured(config)).close()
    opener = Opener(RuntimeConfig.of(), Models(ServerSettings(data_dir=tmp_path), RuntimeConfig.of()))
    engines = [opener.open(name, tmp_path / name) for name in "abc"]
    assert loaded == [same, same.replace(query_length=8)]
    assert engines[0].encoder is engines[1].encoder
    assert engines[0].encoder is not engines[2].encoder
    for engine in engines:
        engine.close()


def test_the_event_loop_answers_while_a_search_is_stuck_in_the_encoder(serve, encoders):
    stuck = Stuck()
    done = []
    with serve(given={**encoders, "dense": stuck}, search_threads=1) as client:
        stuck.armed = True

        def ask():
            done.append(client.post("/v1/collections/dense/search", json={"query": "wing"}).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            assert stuck.entered.wait(30)
            assert client.get("/livez").status_code == 200
            assert client.get("/readyz").status_code == 200
            assert done == []  # the answers above came while the search was still running
        finally:
            stuck.gate.set()
            thread.join(30)
    assert done == [200]


def test_shutdown_while_loading_stops_after_the_collection_at_hand(serve, monkeypatch):
    opened = []
    began = threading.Event()
    go = threading.Event()
    real = Opener.open

    def slow(self, name, path):
        opened.append(name)
        began.set()
        assert go.wait(30)
        return real(self, name, path)

    monkeypatch.setattr(Opener, "open", slow)
    with serve(wait=False) as client:
        assert began.wait(30)
        stop = client.app.state.context.registry.stop
        monkeypatch.setattr(client.app.state.context.registry, "stop", lambda: (stop(), go.set()))
    assert opened == ["dense"]


def test_engines_are_closed_at_shutdown(serve):
    with serve() as client, client.app.state.context.registry.lease("dense") as engine:
        engine.search("wing")
    with pytest.raises(Exception, match="closed"):
        engine.search("wing")
