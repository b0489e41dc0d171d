"""What a service tells beside search results: collections, snapshots, tasks, models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeVar

__all__ = [
    "CollectionDetail",
    "CollectionSummary",
    "ModelInfo",
    "Ranked",
    "RemoteTask",
    "SnapshotInfo",
    "TaskProgress",
    "TaskState",
    "record_of",
]

TaskState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
T = TypeVar("T")


def record_of(kind: type[T], values: Mapping[str, Any]) -> T:
    """A record from a JSON object. Members that this version does not know are left out; null stands for
    what has a default.

    Raises:
        TypeError: a member is missing.
    """
    given = {}
    for known in fields(kind):  # type: ignore[arg-type]
        has_default = known.default is not MISSING or known.default_factory is not MISSING
        value = values.get(known.name)
        if value is not None or (known.name in values and not has_default):
            given[known.name] = value
    return kind(**given)


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """One collection in the list; ``detail`` says why it failed, if it did. ``kind`` and ``documents`` are
    None until it is ready."""

    name: str
    state: Literal["loading", "ready", "failed"]
    aliases: tuple[str, ...] = ()
    kind: Literal["dense", "late"] | None = None
    documents: int | None = None
    detail: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "aliases", tuple(self.aliases))


@dataclass(frozen=True, slots=True)
class CollectionDetail:
    """What a collection holds and how it is scored; see `IndexInfo` for the words it shares with that.

    ``writable``: whether this server may change it. ``advice`` says what should be done, and why.
    """

    name: str
    kind: Literal["dense", "late"]
    metric: str
    dim: int
    precision: str
    pooling: str
    documents: int
    pending: int
    tokens: int
    segments: int
    bytes: dict[str, int]
    fields: dict[str, str]
    generation: int
    created_at: str
    writable: bool
    aliases: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    encoder: str | None = None
    recipe: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "aliases", tuple(self.aliases))
        object.__setattr__(self, "advice", tuple(self.advice))


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A copy of one commit that the server keeps; None is what the server did not tell."""

    name: str
    created_at: str | None = None
    bytes: int | None = None
    documents: int | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that the service offers; ``dim`` is the dimension of its vectors."""

    id: str
    kind: Literal["dense", "late"] | None = None
    dim: int | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """One of the texts given to `Client.rerank`: its position among them, and its score."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a task is; None is what it cannot tell."""

    stage: str | None = None
    fraction: float | None = None
    documents: int | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """Long work on the server. Times are ISO 8601; ``problem`` says why it failed."""

    id: str
    kind: str
    state: TaskState
    collection: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    progress: TaskProgress = field(default_factory=TaskProgress)
    result: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.progress, Mapping):
            object.__setattr__(self, "progress", record_of(TaskProgress, self.progress))

    @property
    def is_final(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in ("succeeded", "failed", "cancelled")
