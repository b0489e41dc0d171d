"""Calls to the service as a whole: collections, aliases, models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from retrieval.client.answers import vectors_of
from retrieval.client.errors import RemoteError
from retrieval.client.exchange import Call, Request, ask, json_request, path_of
from retrieval.client.records import CollectionSummary, ModelInfo, Ranked, record_of
from retrieval.config import EncoderConfig, RecipeConfig
from retrieval.encode import GivenVectors
from retrieval.errors import ConfigError
from retrieval.types import FloatArray

__all__ = [
    "change_aliases",
    "create_collection",
    "delete_alias",
    "delete_collection",
    "embed",
    "is_ready",
    "list_aliases",
    "list_collections",
    "list_models",
    "pages",
    "recipe_json",
    "rerank_texts",
    "set_alias",
]

T = TypeVar("T")
PAGE = "100"


def pages(path: str, member: str, make: Callable[[Mapping[str, Any]], T]) -> Call[list[T]]:
    """All items of a list, page by page."""
    found: list[T] = []
    params = {"limit": PAGE}
    while True:
        page, cursor = (yield from ask(Request("GET", path, dict(params)))).read(
            lambda body: ([make(item) for item in body[member]], body.get("next_cursor"))
        )
        found += page
        if cursor is None:
            return found
        params["cursor"] = cursor


def is_ready() -> Call[bool]:
    """Whether the service answers now and every collection is ready."""
    try:
        yield from ask(Request("GET", "readyz", once=True))
    except RemoteError:
        return False
    return True


def list_collections() -> Call[list[CollectionSummary]]:
    """All collections that the key may read, by name."""
    return (
        yield from pages(
            path_of("collections"), "collections", lambda item: record_of(CollectionSummary, item)
        )
    )


def create_collection(
    name: str,
    encoder: EncoderConfig | GivenVectors | str,
    *,
    precision: str,
    pooling: str,
    preset: str | None,
    recipe: RecipeConfig | Mapping[str, Any] | None,
) -> Call[None]:
    """Make an empty collection, or do nothing where it is there and was made the same way."""
    body: dict[str, Any] = {**_encoder_json(encoder), "precision": precision, "pooling": pooling}
    if preset is not None:
        body["preset"] = preset
    if recipe is not None:
        body["recipe"] = recipe_json(recipe)
    yield from ask(json_request("PUT", path_of("collections", name), body, repeatable=True))


def _encoder_json(encoder: EncoderConfig | GivenVectors | str) -> dict[str, Any]:
    if isinstance(encoder, GivenVectors):
        values = encoder.fingerprint()
        return {"encoder": values.pop("name"), **values}
    return {"encoder": encoder if isinstance(encoder, str) else encoder.model_dump(exclude_defaults=True)}


def recipe_json(recipe: RecipeConfig | Mapping[str, Any]) -> dict[str, Any]:
    """All of a recipe, or the values that are to differ from a preset's."""
    return recipe.model_dump(mode="json") if isinstance(recipe, RecipeConfig) else dict(recipe)


def delete_collection(name: str) -> Call[None]:
    """Delete a collection and its files."""
    yield from ask(json_request("DELETE", path_of("collections", name)))


def list_aliases() -> Call[dict[str, str]]:
    """Where each alias leads."""
    found = yield from pages(
        path_of("aliases"), "aliases", lambda item: (str(item["alias"]), str(item["collection"]))
    )
    return dict(found)


def set_alias(alias: str, collection: str) -> Call[str | None]:
    """Let an alias lead to a collection; returns where it led before."""
    request = json_request("PUT", path_of("aliases", alias), {"collection": collection})
    previous: str | None = (yield from ask(request)).read(lambda body: body.get("previous"))
    return previous


def change_aliases(put: Mapping[str, str] | None, delete: Sequence[str]) -> Call[dict[str, str]]:
    """Several changes at once; returns where each alias leads then."""
    if isinstance(delete, str):
        raise ConfigError(f"the aliases to delete are a list of names, such as [{delete!r}]")
    puts = [{"action": "put", "alias": alias, "collection": to} for alias, to in (put or {}).items()]
    deletes = [{"action": "delete", "alias": alias} for alias in delete]
    request = json_request("POST", path_of("aliases"), {"actions": [*puts, *deletes]})
    return (yield from ask(request)).read(
        lambda body: {item["alias"]: item["collection"] for item in body["aliases"]}
    )


def delete_alias(alias: str) -> Call[None]:
    """Delete an alias; the collection stays."""
    yield from ask(json_request("DELETE", path_of("aliases", alias)))


def list_models() -> Call[list[ModelInfo]]:
    """The models that requests may name."""
    reply = yield from ask(json_request("GET", path_of("models")))
    return reply.read(lambda body: [record_of(ModelInfo, item) for item in body["data"]])


def embed(
    model: str, texts: str | Sequence[str], input_type: Literal["query", "document"]
) -> Call[list[FloatArray]]:
    """Vectors of texts, in their order."""
    given = [texts] if isinstance(texts, str) else list(texts)
    if not given:
        return []
    body = {"model": model, "input": given, "encoding_format": "float", "input_type": input_type}
    reply = yield from ask(json_request("POST", path_of("embeddings"), body, repeatable=True))
    return reply.read(lambda answer: vectors_of(answer["data"]))


def rerank_texts(model: str, query: str, documents: Sequence[str], top_n: int | None) -> Call[list[Ranked]]:
    """Texts by their score for a query, best first."""
    if isinstance(documents, str):
        raise ConfigError("the documents to rerank are a list of texts, not one text")
    if not documents:
        return []
    body: dict[str, Any] = {"model": model, "query": query, "documents": list(documents)}
    if top_n is not None:
        body["top_n"] = top_n
    reply = yield from ask(json_request("POST", path_of("rerank"), body, repeatable=True))
    return reply.read(
        lambda answer: [Ranked(item["index"], item["relevance_score"]) for item in answer["results"]]
    )
