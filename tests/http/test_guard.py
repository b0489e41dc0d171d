from __future__ import annotations

import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from server.http.middleware import RequestContext
from server.security.guard import Guard, SecurityHeaders
from server.security.keys import new_key
from server.settings import ServerSettings

KEYS = {"ci": {"sha256": new_key()[1], "scope": "read"}}


class _Log:
    def info(self, *_: object, **__: object) -> None: ...


def make_client(base_url: str = "http://localhost:8080", **settings: object) -> TestClient:
    """An application of one route behind the guards."""
    app = FastAPI()

    @app.api_route("/thing", methods=["GET", "HEAD", "POST", "DELETE"])
    def thing() -> dict:
        return {"ok": True}

    @app.get("/page")
    def page() -> Response:
        own = {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "max-age=60"}
        return Response("page", headers=own)

    app.add_middleware(Guard, settings=ServerSettings(**settings))
    app.add_middleware(RequestContext, log=_Log())
    app.add_middleware(SecurityHeaders)
    return TestClient(app, base_url=base_url)


class TestHost:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "localhost:8080",
            "LocalHost:1",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]:8080",
        ],
    )
    def test_loopback_names(self, host):
        assert make_client().get("/thing", headers={"host": host}).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "localhost@evil.example",
            "localhost:8080:8080",
            "localhost/..",
            "localhost:",
            "127.0.0.2",
            "[::1",
            "::1",
            "*",
            "",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_other_names_are_refused(self, assert_problem, host, method):
        response = make_client().request(method, "/thing", headers={"host": host})
        body = assert_problem(response, 400, "bad_host")
        assert "allowed_hosts" in body["detail"]
        if host:
            assert host not in body["detail"].replace("*", "") or host == "*"

    def test_two_host_headers_are_refused(self, assert_problem):
        headers = [("host", "localhost"), ("host", "evil.example")]
        assert_problem(make_client().get("/thing", headers=headers), 400, "bad_host")

    def test_the_configured_host_is_one(self):
        assert make_client(host="127.8.8.8").get("/thing", headers={"host": "127.8.8.8"}).status_code == 200
        assert make_client(host="::1").get("/thing", headers={"host": "[::1]"}).status_code == 200

    def test_with_keys_any_name_will_do(self):
        client = make_client(keys=KEYS)
        assert client.get("/thing", headers={"host": "search.example.org"}).status_code == 200

    def test_named_hosts_count_with_keys_too(self, assert_problem):
        client = make_client(keys=KEYS, allowed_hosts=["Search.example.org", "*.internal"])
        for host in ("search.example.org:443", "a.internal", "a.b.internal"):
            assert client.get("/thing", headers={"host": host}).status_code == 200
        for host in ("localhost", "internal", "x.search.example.org", "evilinternal"):
            assert_problem(client.get("/thing", headers={"host": host}), 400, "bad_host")


class TestOrigin:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"origin": "http://localhost:8080"},
            {"origin": "https://localhost:8080"},
            {"origin": "http://localhost", "host": "localhost:80"},
            {"origin": "https://localhost", "host": "localhost"},
            {"origin": "http://[::1]:8080", "host": "[::1]:8080"},
            {"origin": "http://behind.example", "sec-fetch-site": "same-origin"},
            {"sec-fetch-site": "none"},
        ],
    )
    def test_programs_and_our_own_page_may_write(self, headers):
        assert make_client().post("/thing", headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://evil.example"},
            {"origin": "http://localhost:3000"},
            {"origin": "http://localhost"},
            {"origin": "http://localhost:8080.evil.example"},
            {"origin": "http://localhost:8080@evil.example"},
            {"origin": "http://localhost:no"},
            {"origin": "http://["},
            {"origin": "null"},
            {"origin": ""},
            {"origin": "http://localhost:8080", "sec-fetch-site": "cross-site"},
            {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
            {"sec-fetch-site": "cross-site"},
        ],
    )
    @pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
    def test_other_pages_may_not(self, assert_problem, headers, method):
        response = make_client().request(method, "/thing", headers=headers)
        assert "cors_origins" in assert_problem(response, 403, "cross_site")["detail"]
        assert "access-control-allow-origin" not in response.headers

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_reading_is_left_to_the_browser(self, method):
        headers = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
        response = make_client().request(method, "/thing", headers=headers)
        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers

    def test_a_named_origin_may(self, assert_problem):
        client = make_client(cors_origins=["https://app.example.org"])
        headers = {"origin": "https://app.example.org", "sec-fetch-site": "cross-site"}
        response = client.post("/thing", headers=headers)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://app.example.org"
        assert "access-control-allow-credentials" not in response.headers
        assert "X-Request-ID" in response.headers["access-control-expose-headers"]
        assert_problem(client.post("/thing", headers={"origin": "http://app.example.org"}), 403, "cross_site")

    def test_the_browser_may_ask_first(self):
        client = make_client(cors_origins=["https://app.example.org"])
        headers = {
            "origin": "https://app.example.org",
            "access-control-request-method": "PUT",
            "access-control-request-headers": "authorization, idempotency-key",
        }
        response = client.options("/thing", headers=headers)
        assert response.status_code == 200
        assert "PUT" in response.headers["access-control-allow-methods"]


class TestHeaders:
    @pytest.mark.parametrize(
        ("path", "headers", "status"),
        [("/thing", {}, 200), ("/no-such", {}, 404), ("/thing", {"host": "evil.example"}, 400)],
    )
    def test_on_every_answer(self, path, headers, status):
        response = make_client().get(path, headers=headers)
        assert response.status_code == status
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"

    def test_a_route_may_have_its_own(self):
        headers = make_client().get("/page").headers
        assert headers["content-security-policy"] == "default-src 'self'"
        assert headers["cache-control"] == "max-age=60"
        assert headers["x-content-type-options"] == "nosniff"
