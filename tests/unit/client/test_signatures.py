"""Embedded and remote are one line apart: the same methods, arguments, defaults and results."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

import retrieval.client
from retrieval import Engine
from retrieval.client import AsyncClient, AsyncRemoteEngine, Client, RemoteEngine

ROOT = Path(__file__).parents[3]

NOT_REMOTE = {
    "create": "Client.create_collection: where a collection lies is the server's business",
    "build": "create_collection, then add",
    "encoder": "the model is the server's; Client.embed asks it",
    "warm_up": "the server is warm before it is ready",
    "damaged": "the server serves whole indexes alone",
    "located": "for other rooms of the engine",
}
DIFFERENT = {
    "open": "a url and a name in place of a folder",
    "snapshot": "to a file of the server, by name, in place of a folder here",
    "export": "tells of the snapshot that it made",
    "close": "that of the async one is awaited",
}
EXTRA = {
    "search": {"mode", "hybrid", "timeout_ms", "vectors"},  # what only a service has
    "search_batch": {"mode", "hybrid", "timeout_ms", "vectors"},
    "add": {"ack"},
    "upsert": {"ack"},
    "compact": {"preset"},  # names of recipes, which the engine leaves to `recipe_of`
}
NOT_SENT = {"compact": {"codec"}}  # arrays of a codec stay where they are
WIDER = {("compact", "recipe")}  # with a preset, values that differ from it are enough
PROPERTIES = {"kind", "generation"}
NOT_AWAITED = {
    "kind": "a property cannot be awaited: a method there",
    "generation": "likewise",
    "__len__": "len() cannot be awaited: await count()",
}


def public(kind: type) -> set[str]:
    named = {name for name in dir(kind) if not name.startswith("_")}
    return named | {name for name in ("__len__",) if hasattr(kind, name)}


def parameters(kind: type, name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(kind, name)).parameters)


ENGINE_METHODS = sorted(public(Engine) - NOT_REMOTE.keys() - DIFFERENT.keys() - PROPERTIES)


def test_nothing_of_the_engine_is_missing() -> None:
    assert public(Engine) - public(RemoteEngine) == set(NOT_REMOTE)
    assert public(RemoteEngine) - public(AsyncRemoteEngine) == {"__len__"}
    assert all(isinstance(getattr(RemoteEngine, name), property) for name in PROPERTIES)


@pytest.mark.parametrize("remote", [RemoteEngine, AsyncRemoteEngine])
@pytest.mark.parametrize("name", ENGINE_METHODS)
def test_arguments_are_the_engines(name: str, remote: type) -> None:
    if remote is AsyncRemoteEngine and name in NOT_AWAITED:
        return
    ours, theirs = parameters(remote, name), parameters(Engine, name)
    extra = EXTRA.get(name, set())
    for name_here in NOT_SENT.get(name, ()):
        del theirs[name_here]
    assert set(ours) - set(theirs) == extra
    shared = [one for one in ours.values() if one.name not in extra]
    assert [(one.name, one.kind, one.default) for one in shared] == [
        (one.name, one.kind, one.default) for one in theirs.values()
    ]
    assert all(ours[one].kind is inspect.Parameter.KEYWORD_ONLY for one in extra)


@pytest.mark.parametrize("remote", [RemoteEngine, AsyncRemoteEngine])
@pytest.mark.parametrize("name", ENGINE_METHODS)
def test_types_are_the_engines(name: str, remote: type) -> None:
    if remote is AsyncRemoteEngine and name in NOT_AWAITED:
        return
    ours, theirs = (typing.get_type_hints(getattr(kind, name)) for kind in (remote, Engine))
    for argument, wanted in theirs.items():
        if (name, argument) not in WIDER and argument not in NOT_SENT.get(name, ()):
            assert ours[argument] == wanted, argument


def twins(sync: type, awaited: type) -> list[str]:
    return sorted(name for name in public(sync) & public(awaited) if callable(getattr(sync, name)))


@pytest.mark.parametrize(
    ("sync", "awaited", "name"),
    [
        (sync, awaited, name)
        for sync, awaited in ((Client, AsyncClient), (RemoteEngine, AsyncRemoteEngine))
        for name in twins(sync, awaited)
    ],
)
def test_the_twins_are_alike(sync: type, awaited: type, name: str) -> None:
    def told(kind: type) -> list[Any]:
        return [(one.name, one.kind, one.default, one.annotation) for one in parameters(kind, name).values()]

    assert told(sync) == told(awaited)
    is_plain = name in ("open", "collection")
    assert inspect.iscoroutinefunction(getattr(awaited, name)) is not is_plain


def test_the_clients_have_the_same_methods() -> None:
    assert public(Client) == public(AsyncClient)


HEAVY = ("torch", "faiss", "transformers", "sentence_transformers", "fastapi", "httpx")


def test_importing_it_loads_no_model_code() -> None:
    code = f"import sys, retrieval.client; sys.exit(str([n for n in {HEAVY} if n in sys.modules] or ''))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == ""


def test_it_does_without_the_engine() -> None:
    """`retrieval` itself imports the engine; this package has no use for it, nor for what it stands on."""
    folder = Path(retrieval.client.__file__).parent
    nodes = [
        node
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    ]
    forbidden = ("engine", "reader", "writer", "hybrid", "kernels", "index", "quantize")
    assert not {f"retrieval.{name}" for name in forbidden} & {node.module for node in nodes}
    public_names = [alias.name for node in nodes if node.module == "retrieval" for alias in node.names]
    assert public_names == ["errors"]
