"""A retrieval service from Python: `RemoteEngine` has the methods of `Engine`, over HTTP.

    engine = Engine.open("papers")                                    # the index in this folder
    engine = Client("http://127.0.0.1:8080").collection("papers")     # the collection of that service

`AsyncClient` and `AsyncRemoteEngine` are the same for asyncio. Needs the extra ``client``.
"""

from retrieval.client.client import Client
from retrieval.client.client_async import AsyncClient
from retrieval.client.errors import ConnectionFailedError, RemoteError
from retrieval.client.records import (
    CollectionDetail,
    CollectionSummary,
    ModelInfo,
    Ranked,
    RemoteTask,
    SnapshotInfo,
    TaskProgress,
)
from retrieval.client.remote import RemoteEngine
from retrieval.client.remote_async import AsyncRemoteEngine

__all__ = [
    "AsyncClient",
    "AsyncRemoteEngine",
    "Client",
    "CollectionDetail",
    "CollectionSummary",
    "ConnectionFailedError",
    "ModelInfo",
    "Ranked",
    "RemoteEngine",
    "RemoteError",
    "RemoteTask",
    "SnapshotInfo",
    "TaskProgress",
]
