"""What answers queries: the index alone, or together with BM25 and another index of its documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import ConfigError

if TYPE_CHECKING:
    from retrieval import Engine, Hybrid, RuntimeConfig

__all__ = ["HybridOptions"]


@dataclass(frozen=True, slots=True)
class HybridOptions:
    """Options of the command line; None was not given.

    ``words``: BM25 takes part; ``dense``: the folder of another index that does.
    """

    words: bool = False
    dense: Path | None = None
    fuse: str | None = None
    stemmer: str | None = None

    def __post_init__(self) -> None:
        if self.fuse is not None and not self.is_hybrid:
            raise ConfigError("--fuse says how rankings become one; add --hybrid or --hybrid-dense")
        if self.stemmer is not None and not self.words:
            raise ConfigError("--stemmer is for BM25; add --hybrid")

    @property
    def is_hybrid(self) -> bool:
        """Whether anything but the index answers."""
        return self.words or self.dense is not None

    @property
    def added(self) -> str:
        """What takes part besides the index, for people."""
        return "".join(
            [" + BM25" if self.words else "", f" + {self.dense.name}" if self.dense is not None else ""]
        )

    @contextmanager
    def over(self, engine: Engine, runtime: RuntimeConfig | None = None) -> Iterator[Engine | Hybrid]:
        """What answers; the other index is open for as long."""
        if not self.is_hybrid:
            yield engine
            return
        from retrieval import Engine, Hybrid

        with ExitStack() as stack:
            other = None
            if self.dense is not None:
                other = stack.enter_context(Engine.open(self.dense, runtime=runtime))
            given = {"fuse": self.fuse, "language": self.stemmer}
            chosen = {name: value for name, value in given.items() if value is not None}
            yield Hybrid(engine, other, bm25=self.words, **chosen)  # type: ignore[arg-type]
