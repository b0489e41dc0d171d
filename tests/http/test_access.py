from __future__ import annotations

import base64

import pytest
from starlette.datastructures import Headers

from server.http.problems import ProblemError
from server.security.access import Access, KeySettings, Principal, new_key
from server.security.keys import hash_of

READER, WRITER = new_key(), new_key()
ACCESS = Access(
    {
        "reader": KeySettings(sha256=READER[1], scope="read", collections=("papers-*", "notes")),
        "writer": KeySettings(sha256=WRITER[1].upper(), scope="write"),
    }
)


def basic(key: str, user: str = "any") -> str:
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode("latin-1")) for name, value in pairs])


def refused(*pairs: tuple[str, str], browser: bool = False) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        ACCESS.authenticate(headers(*pairs), browser=browser)
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    assert READER[0] not in str(caught.value)
    return caught.value


class TestAuthenticate:
    @pytest.mark.parametrize(
        "pairs",
        [
            [("authorization", f"Bearer {READER[0]}")],
            [("authorization", f"bearer   {READER[0]} ")],
            [("api-key", READER[0])],
            [("authorization", basic(READER[0]))],
            [("authorization", basic(READER[0], user=""))],
            [("authorization", basic(READER[0], user="zoë"))],
            [("authorization", f"Bearer {READER[0]}"), ("api-key", READER[0])],
        ],
    )
    def test_ways_to_send_a_key(self, pairs):
        assert ACCESS.authenticate(headers(*pairs)).name == "reader"

    @pytest.mark.parametrize(
        "pairs",
        [
            [],
            [("authorization", "")],
            [("authorization", "Bearer")],
            [("authorization", "Bearer ")],
            [("authorization", READER[0])],
            [("authorization", f"Token {READER[0]}")],
            [("authorization", f"Bearer{READER[0]}")],
            [("authorization", f"Bearer {READER[0]}x")],
            [("authorization", f"Bearer {READER[0][:-1]}")],
            [("authorization", f"Bearer {READER[0].upper()}")],
            [("authorization", f"Bearer {READER[1]}")],
            [("authorization", f"Bearer {READER[0]} {WRITER[0]}")],
            [("authorization", f"Basic {READER[0]}")],
            [("authorization", "Basic !!!!")],
            [("authorization", "Basic " + base64.b64encode(READER[0].encode()).decode())],
            [("authorization", "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode())],
            [("authorization", basic(""))],
            [("authorization", basic(READER[0] + "x" * 5000))],
            [("api-key", "")],
            [("api-key", "é\xff")],
            [("api-key", "x" * 513)],
            [("api-key", READER[0]), ("api-key", WRITER[0])],
            [("authorization", f"Bearer {READER[0]}"), ("api-key", WRITER[0])],
            [("authorization", f"Bearer {READER[0]}"), ("authorization", basic(WRITER[0]))],
            [("proxy-authorization", f"Bearer {READER[0]}")],
        ],
    )
    def test_anything_else_is_401(self, pairs):
        assert refused(*pairs).headers["WWW-Authenticate"] == 'Bearer realm="retrieval"'

    def test_browsers_are_asked_for_a_password(self):
        assert refused(browser=True).headers["WWW-Authenticate"].startswith("Basic ")

    def test_the_longest_key(self):
        key = "k" * 512
        access = Access({"long": KeySettings(sha256=hash_of(key), scope="read")})
        assert access.authenticate(headers(("api-key", key))).name == "long"

    def test_every_key_is_compared(self, monkeypatch):
        compared = []
        digest = "server.security.access.hmac.compare_digest"
        monkeypatch.setattr(digest, lambda a, b: compared.append(b) or a == b)
        assert ACCESS.authenticate(headers(("api-key", READER[0]))).name == "reader"
        assert compared == [READER[1], WRITER[1]]

    def test_without_keys_everybody_may_do_everything(self):
        access = Access({})
        assert access.is_open and not ACCESS.is_open
        assert access.authenticate(headers(("authorization", "rubbish"))).may("admin", "papers-1")


class TestPrincipal:
    @pytest.mark.parametrize("given", ["read", "write", "admin"])
    def test_scopes_include_those_before(self, given):
        order = ["read", "write", "admin"]
        principal = Principal("x", given)
        assert [principal.may(scope, "c") for scope in order] == [
            scope in order[: order.index(given) + 1] for scope in order
        ]

    @pytest.mark.parametrize(
        ("collection", "may"),
        [
            ("papers-1", True),
            ("notes", True),
            ("papers", False),
            ("notes2", False),
            ("Notes", False),
            (None, True),
        ],
    )
    def test_patterns(self, collection, may):
        principal = ACCESS.authenticate(headers(("api-key", READER[0])))
        assert principal.may("read", collection) is may
        assert not principal.may("write", collection)

    def test_require_says_what_is_lacking(self):
        principal = Principal("reader", "read", ("papers-*",))
        principal.require("read", "papers-1")
        for scope, collection in (("write", "papers-1"), ("read", "other"), ("admin", None)):
            with pytest.raises(
                ProblemError, match=f"'{scope}'.*'reader' has 'read' on 'papers-\\*'"
            ) as caught:
                principal.require(scope, collection)
            assert (caught.value.status, caught.value.code) == (403, "forbidden")
