"""The doors of other services' clients: forms as those services document them, values those of the model."""

from __future__ import annotations

import base64
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import uvicorn

from server.app import create_app
from server.collections import models
from server.settings import ServerSettings
from tests.encoders import HashingDense, HashingLate
from tests.http.misbehaving import Stuck

TEXTS = ["lift of a thin wing", "heat shield", "shock wave in front of a cone"]


@pytest.fixture
def known(monkeypatch):
    """The two built-in names, with encoders that cost nothing behind them."""
    made = {"minilm": HashingDense(), "minilm-late": HashingLate()}
    monkeypatch.setattr(models, "load_encoder", lambda config, runtime: made[config.name])
    return made


def embed(client, **body):
    return client.post("/v1/embeddings", json={"model": "minilm", "input": TEXTS, **body})


def test_embeddings_are_the_models(known, client):
    response = embed(client)
    assert response.status_code == 200
    body = response.json()
    assert body["object"] == "list" and body["model"] == "minilm"
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    assert {item["object"] for item in body["data"]} == {"embedding"}
    vectors = np.array([item["embedding"] for item in body["data"]], np.float32)
    np.testing.assert_array_equal(vectors, known["minilm"].encode_document(TEXTS))
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0


def test_a_model_that_is_loaded_keeps_no_other_waiting(known, client, monkeypatch):
    load, entered, gate = models.load_encoder, threading.Event(), threading.Event()
    assert embed(client).status_code == 200

    def slow(config, runtime):
        entered.set()
        assert gate.wait(30), "nobody opened the gate"
        return load(config, runtime)

    monkeypatch.setattr(models, "load_encoder", slow)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(embed, client, model="minilm-late")
        try:
            assert entered.wait(30)
            assert client.app.state.context.pool.running("encode") == 0
            assert embed(client).status_code == 200
        finally:
            gate.set()
        assert late.result().status_code == 200


def test_one_text_is_a_list_of_one_and_a_client_s_user_is_ignored(known, client):
    alone = embed(client, input=TEXTS[0], user="somebody").json()
    assert alone["data"] == embed(client).json()["data"][:1]


def test_base64_holds_little_endian_float32(known, client):
    item = embed(client, encoding_format="base64").json()["data"][1]
    vector = np.frombuffer(base64.b64decode(item["embedding"], validate=True), "<f4")
    np.testing.assert_array_equal(vector, known["minilm"].encode_document(TEXTS)[1])


def test_more_texts_than_a_chunk_keep_their_order(known, client):
    texts = [f"wing number {i}" for i in range(70)]
    data = embed(client, input=texts).json()["data"]
    assert [item["index"] for item in data] == list(range(70))
    vectors = np.array([item["embedding"] for item in data], np.float32)
    np.testing.assert_array_equal(vectors, known["minilm"].encode_document(texts))


def test_a_late_model_gives_a_list_of_vectors_a_text(known, client):
    body = embed(client, model="minilm-late").json()
    packed = embed(client, model="minilm-late", encoding_format="base64").json()
    wanted = known["minilm-late"].encode_document(TEXTS)
    for item, small, array in zip(body["data"], packed["data"], wanted, strict=True):
        np.testing.assert_array_equal(np.array(item["embedding"], np.float32), array)
        bytes_ = b"".join(base64.b64decode(vector) for vector in small["embedding"])
        np.testing.assert_array_equal(np.frombuffer(bytes_, "<f4").reshape(array.shape), array)
    assert body["usage"]["total_tokens"] == sum(map(len, wanted))


def test_queries_are_encoded_as_queries(monkeypatch, client):
    class TwoSides(HashingDense):
        def encode_query(self, texts):
            return -self.encode_document(texts)

    encoder = TwoSides()
    monkeypatch.setattr(models, "load_encoder", lambda config, runtime: encoder)
    asked, stored = (embed(client, input_type=side).json()["data"] for side in ("query", "document"))
    np.testing.assert_array_equal(asked[0]["embedding"], -np.array(stored[0]["embedding"]))


def test_dimensions_cut_and_unit_vectors_stay_so(monkeypatch, client):
    class Unit(HashingDense):
        def encode_document(self, texts):
            vectors = super().encode_document(texts)
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    encoder = Unit()
    monkeypatch.setattr(models, "load_encoder", lambda config, runtime: encoder)
    short = np.array([item["embedding"] for item in embed(client, dimensions=8).json()["data"]])
    full = encoder.encode_document(TEXTS)[:, :8]
    np.testing.assert_allclose(short, full / np.linalg.norm(full, axis=1, keepdims=True), rtol=1e-6)
    whole = embed(client, dimensions=32).json()
    assert whole["data"] == embed(client).json()["data"]


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({"input": []}, "/input"),
        ({"input": ""}, "/input/0"),
        ({"input": ["wing", "  "]}, "/input/1"),
        ({"input": [1, 2, 3]}, "/input/0"),
        ({"input": None}, "/input"),
        ({"dimensions": 0}, "/dimensions"),
        ({"dimensions": 33}, "/dimensions"),
        ({"model": "minilm-late", "dimensions": 8}, "/dimensions"),
        ({"encoding_format": "hex"}, "/encoding_format"),
        ({"input_type": "passage"}, "/input_type"),
        ({"inputs": ["wing"]}, "/inputs"),
        ({"input": ["a", "w" * 51], "input_type": "query"}, "/input/1"),
        ({"input": ["w"] * 11}, "/input"),
    ],
)
def test_what_is_wrong_with_a_request_for_embeddings(known, serve, assert_problem, body, pointer):
    with serve(max_query_chars=50, max_documents=10) as client:
        problem = assert_problem(embed(client, **body), 422, "invalid_request")
        assert problem["errors"][0]["pointer"] == pointer
        assert embed(client, input=["w"] * 10).status_code == 200
        assert embed(client, input=["w" * 50], input_type="query").status_code == 200


@pytest.mark.parametrize("door", ["/v1/embeddings", "/v1/rerank"])
def test_only_models_of_the_list(known, client, assert_problem, door, tmp_path):
    for name in (
        "text-embedding-3-small",
        str(tmp_path),
        "../minilm",
        "sentence-transformers/all-MiniLM-L6-v2",
    ):
        body = {"model": name, "input": "wing", "query": "wing", "documents": ["wing"]}
        for member in ("input",) if door.endswith("rerank") else ("query", "documents"):
            del body[member]
        problem = assert_problem(client.post(door, json=body), 422, "unknown_model")
        assert problem["errors"][0]["pointer"] == "/model"
        assert "'minilm'" in problem["detail"]


def order(client, **body):
    asked = {"model": "minilm-late", "query": "thin wing", "documents": TEXTS, **body}
    return client.post("/v1/rerank", json=asked)


@pytest.mark.parametrize("name", ["minilm", "minilm-late"])
def test_rerank_orders_as_a_search_would(known, client, name):
    documents = TEXTS + [f"study {i} of a wing" for i in range(40)]
    body = order(client, model=name, documents=documents).json()
    encoder = known[name]
    query = encoder.encode_query(["thin wing"])[0]
    if name == "minilm":
        vectors = encoder.encode_document(documents).astype(np.float64)
        wanted = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    else:
        wanted = [(query @ array.T).max(1).sum() for array in encoder.encode_document(documents)]
    assert body["model"] == name and body["usage"]["total_tokens"] > 0
    scores = [result["relevance_score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(result["index"] for result in body["results"]) == list(range(len(documents)))
    np.testing.assert_allclose(scores, [wanted[result["index"]] for result in body["results"]], atol=1e-5)


def test_rerank_in_cohere_s_form(known, client):
    extras = {"top_n": 2, "return_documents": True, "max_chunks_per_doc": 10, "max_tokens_per_doc": 4096}
    results = order(client, **extras, priority=1).json()["results"]
    assert len(results) == 2
    assert results[0]["index"] == 0
    assert results[0]["document"] == {"text": TEXTS[0]}


def test_rerank_in_jina_s_form(known, client):
    given = [{"text": text} for text in TEXTS]
    body = order(client, documents=given, truncation=True, top_n=50).json()
    assert body["results"] == order(client).json()["results"]
    assert all("document" not in result for result in body["results"])


def test_equal_texts_keep_their_order(known, client):
    results = order(client, documents=["wing"] * 5).json()["results"]
    assert [result["index"] for result in results] == list(range(5))


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({"documents": []}, "/documents"),
        ({"documents": ["wing", ""]}, "/documents/1/text"),
        ({"documents": ["wing", {"title": "x", "text": "y"}]}, "/documents/1/title"),
        ({"documents": "wing"}, "/documents"),
        ({"documents": ["wing"] * 11}, "/documents"),
        ({"query": " "}, "/query"),
        ({"query": "w" * 51}, "/query"),
        ({"top_n": 0}, "/top_n"),
        ({"truncation": False}, "/truncation"),
    ],
)
def test_what_is_wrong_with_a_request_to_rerank(known, serve, assert_problem, body, pointer):
    with serve(max_query_chars=50, max_documents=10) as client:
        problem = assert_problem(order(client, **body), 422, "invalid_request")
        assert problem["errors"][0]["pointer"] == pointer


def test_time_is_limited(monkeypatch, serve, assert_problem):
    stuck = Stuck()
    stuck.armed = True
    monkeypatch.setattr(models, "load_encoder", lambda config, runtime: stuck)
    with serve(timeout_ms=50) as client:
        try:
            assert_problem(embed(client, input_type="query"), 504, "deadline_exceeded")
        finally:
            stuck.gate.set()


def test_the_real_model(client):
    body = embed(client, input=["What moves a boat?", "sailing", "tax law"]).json()
    a, b, c = (np.array(item["embedding"]) for item in body["data"])
    assert a @ b > a @ c
    short = embed(client, dimensions=64).json()["data"][0]["embedding"]
    assert len(short) == 64 and np.linalg.norm(short) == pytest.approx(1, abs=1e-5)


@contextmanager
def listening(app):
    """The application behind a real socket; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()


def test_openai_s_own_client(known, indexes, encoders):
    openai = pytest.importorskip("openai", reason="the client of OpenAI is not installed")
    app = create_app(ServerSettings(data_dir=indexes), encoders=encoders)
    with listening(app) as address:  # noqa: SIM117
        # It asks for base64 by itself, and decodes that.
        with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            made = client.embeddings.create(model="minilm", input=TEXTS)
            vectors = np.array([item.embedding for item in made.data], np.float32)
            np.testing.assert_array_equal(vectors, known["minilm"].encode_document(TEXTS))
            assert made.usage.total_tokens > 0
            floats = client.embeddings.create(
                model="minilm", input=TEXTS[0], dimensions=8, encoding_format="float", user="me"
            )
            assert len(floats.data[0].embedding) == 8
            assert {"minilm", "minilm-late"} <= {model.id for model in client.models.list()}
            with pytest.raises(openai.UnprocessableEntityError) as raised:
                client.embeddings.create(model="gpt", input="wing")
            assert "no model 'gpt'" in raised.value.response.json()["detail"]


def test_over_a_real_socket_without_any_client_library(known, indexes, encoders):
    app = create_app(ServerSettings(data_dir=indexes), encoders=encoders)
    with listening(app) as address:
        response = httpx.post(f"{address}/v1/embeddings", json={"model": "minilm", "input": "wing"})
        assert response.status_code == 200
        assert len(response.json()["data"][0]["embedding"]) == 32
