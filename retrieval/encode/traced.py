"""A model's forward pass as one graph: the same vectors, without Python between the layers.

A short query by MiniLM is four hundred small operations. Python takes a third of its time, and gives up and
takes back its lock around each of them: beside a thread that works in Python the query then waits four
hundred times. A graph holds the lock for none of it.

Tracing writes down what one text made the model do, so what a model decides in Python, by the length of a
text for example, would be decided for all. Therefore a graph is used only if it gives the same bits as the
model for texts of many lengths, and only for texts no longer than those. What cannot be traced runs as
before.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Graph", "trace"]

LENGTHS = (5, 1, 2, 3, 11, 24, 60, 160)
"""Words of the texts that are compared; the first is traced. Longer ones are rare as queries."""

Features = Mapping[str, Any]


class Graph:
    """What was traced. ``longest`` is the number of tokens up to which it may be asked."""

    def __init__(self, script: Callable[..., Any], features: Features) -> None:
        import torch

        self._script, self.longest = script, 0
        self._names = _tensors(features)
        self._rest = {name: value for name, value in features.items() if name not in self._names}
        self._unoptimised = torch.jit.optimized_execution

    def fits(self, features: Features) -> bool:
        """Whether it was compared with the model for texts like this one."""
        return (
            features["input_ids"].shape[1] <= self.longest
            and len(features) == len(self._names) + len(self._rest)
            and all(name in features for name in self._names)
            and all(features.get(name) == value for name, value in self._rest.items())
        )

    def __call__(self, features: Features) -> Sequence[Any]:
        """The tensors of one text's outputs, in the order in which they were named."""
        # As it was written down: what an optimiser fuses may round otherwise.
        with self._unoptimised(False):
            found: Sequence[Any] = self._script(*(features[name] for name in self._names))
        return found


def trace(
    model: Any,
    features_of: Callable[[str], dict[str, Any]],
    run: Callable[[dict[str, Any]], Sequence[Any]],
) -> Graph | None:
    """The graph of a model, or None where it cannot be traced or gives other bits.

    ``features_of`` makes of a text what the model reads (tensors by name, and what is the same for all
    texts), ``run`` gives the tensors that are wanted of the model's outputs. Takes about a second.
    """
    import torch

    with torch.inference_mode():
        try:
            given = [features_of(" ".join(map(str, range(7, 7 + n)))) for n in LENGTHS]
            with _silence(), warnings.catch_warnings():
                # Of decisions in Python: that is what the comparison is for. And that tracing is deprecated:
                # what is named in its place runs Python between the operations, or needs a C++ compiler. A
                # torch without it has no graphs, and runs models as before.
                warnings.simplefilter("ignore")
                graph = Graph(_script(model, given[0], run), given[0])
            graph.longest = max(features["input_ids"].shape[1] for features in given)
            is_same = all(_same(graph, features, run) for features in given)
        except Exception:  # noqa: BLE001 - a model may do anything; then it runs as before
            return None
    return graph if is_same else None


@contextmanager
def _silence() -> Iterator[None]:
    """Tracing asks for every attribute of a model, and those that are deprecated complain."""
    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _script(model: Any, features: Features, run: Callable[[dict[str, Any]], Sequence[Any]]) -> Any:
    import torch

    names = _tensors(features)

    class Forward(torch.nn.Module):  # type: ignore[misc]
        """Tensors in, tensors out; as a module, so that the graph shares the model's weights."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            return tuple(run({**features, **dict(zip(names, tensors, strict=True))}))

    forward = Forward()
    forward.training = False  # not by eval(), which would change the model's own mode too
    given = tuple(features[name] for name in names)
    return torch.jit.trace(forward, given, check_trace=False, strict=False)


def _same(graph: Graph, features: dict[str, Any], run: Callable[[dict[str, Any]], Sequence[Any]]) -> bool:
    import torch

    expected = run(dict(features))
    return graph.fits(features) and all(
        torch.equal(one, other) for one, other in zip(graph(features), expected, strict=True)
    )


def _tensors(features: Features) -> list[str]:
    return sorted(name for name, value in features.items() if hasattr(value, "shape"))
