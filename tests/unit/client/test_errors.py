"""A problem becomes the error that the engine would have raised."""

from __future__ import annotations

from typing import Any

import pytest

from retrieval import errors
from retrieval.client import RemoteError
from retrieval.client.errors import error_of_problem
from retrieval.errors import DataError, MissingExtraError, QueryError, RetrievalError
from tests.unit.client.service import KEY, Service, answer, problem

KINDS = [getattr(errors, name) for name in errors.__all__ if name != "RetrievalError"]
FLUSH = "POST /collections/papers/flush"


def raised(kind: type[RetrievalError]) -> RetrievalError:
    """As the engine raises it."""
    return kind("hybrid search", "hybrid") if kind is MissingExtraError else kind("a sentence")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_the_engine_comes_back_as_itself(
    kind: type[RetrievalError], engine: Any, service: Service
) -> None:
    original = raised(kind)
    status = 500 if kind is not DataError else 422
    service.on(FLUSH, problem(status, kind.code, str(original)))
    with pytest.raises(RetrievalError) as caught:
        engine.flush()
    error = caught.value
    assert type(error) is kind
    assert str(error) == str(original)
    assert vars(error).keys() == vars(original).keys()
    remote = error.__cause__
    assert isinstance(remote, RemoteError)
    assert (remote.code, remote.status, remote.request_id) == (kind.code, status, "req-1")


def test_codes_of_the_engine_are_different() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)


def test_the_missing_extra_is_still_named() -> None:
    told = str(MissingExtraError("hybrid search", "hybrid"))
    error = error_of_problem(
        {"code": "missing_extra", "detail": told}, status=501, request_id=None, otherwise=""
    )
    assert isinstance(error, MissingExtraError) and error.extra == "hybrid"


def test_what_only_a_service_has(engine: Any, service: Service) -> None:
    wrong = [{"pointer": "/limit", "detail": "at most 1000"}]
    service.on(FLUSH, problem(422, "invalid_request", "/limit: at most 1000", errors=wrong, most=1000))
    with pytest.raises(RemoteError) as caught:
        engine.flush()
    error = caught.value
    assert str(error) == error.detail == "/limit: at most 1000"
    assert (error.code, error.status, error.request_id) == ("invalid_request", 422, "req-1")
    assert error.errors == tuple(wrong) and error.members == {"most": 1000}


def test_an_invalid_question_is_a_query_error(engine: Any, service: Service) -> None:
    service.on("POST /collections/papers/search", problem(422, "invalid_request", "/limit: at most 1000"))
    with pytest.raises(QueryError, match="at most 1000") as caught:
        engine.search("q", 5000)
    assert (
        isinstance(caught.value.__cause__, RemoteError) and caught.value.__cause__.code == "invalid_request"
    )


@pytest.mark.parametrize(
    "reply",
    [
        answer("<html>", 500),
        answer({"detail": "Not Found"}, 404),
        answer(["code"], 400),
        answer({"code": 7}, 418),
        answer(None, 307, location="http://elsewhere.test/"),
    ],
)
def test_an_answer_that_is_no_problem(engine: Any, service: Service, reply: Any) -> None:
    service.on(FLUSH, reply)
    with pytest.raises(
        RemoteError, match=f"POST /v1/collections/papers/flush.*status {reply.status_code}"
    ) as caught:
        engine.flush()
    assert caught.value.code == "bad_answer" and caught.value.status == reply.status_code
    assert len(service.asked) == 1  # a redirect is not followed: the key is not for others


@pytest.mark.parametrize("body", [[], {}, {"documents": None}, "text", None, 3])
def test_an_answer_that_means_nothing(engine: Any, service: Service, body: Any) -> None:
    service.on(FLUSH, answer(body, x_request_id="req-9"))
    with pytest.raises(RemoteError, match="not one that this client understands") as caught:
        engine.flush()
    assert caught.value.request_id == "req-9" and caught.value.code == "bad_answer"


def test_members_of_the_wrong_kind_do_no_harm() -> None:
    error = error_of_problem(
        {"code": "odd", "detail": None, "errors": [1, {"pointer": "/a"}], "request_id": 5},
        status=400,
        request_id="from-the-header",
        otherwise="",
    )
    assert isinstance(error, RemoteError)
    assert (str(error), error.errors, error.request_id) == ("odd", ({"pointer": "/a"},), "from-the-header")


def test_without_a_key_one_is_told_where_to_give_it(engine: Any, service: Service) -> None:
    service.on(FLUSH, problem(401, "unauthorized", "no key was given"))
    with pytest.raises(RemoteError, match=r"no key was given; give Client.key=.*RETRIEVAL_API_KEY") as caught:
        engine.flush()
    assert caught.value.code == "unauthorized" and KEY not in str(caught.value)
