"""How long does a filter take on the columns of one segment, and a facet count?

    python -m bench.filters [--documents 1000000] [--json OUT]

Made-up columns in memory, one for each selectivity: a share of the documents has what the filter asks
for. Beside it, in turns in the same process: NumPy over the same values (fixed-width strings, flat
lists), written as one would by hand. Masks are compared before anything is timed. One thread. Times are
medians, in milliseconds per million documents.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.machine import describe_machine
from bench.search import timed
from retrieval.filters import (
    AnyOf,
    Condition,
    Filter,
    Match,
    Prefix,
    Range,
    check,
    count_values,
    evaluate,
    top_counts,
)

SELECTIVITIES = (0.001, 0.01, 0.1, 0.5, 0.9)
LIST_LENGTH = 3
WANTED = [f"hit{i:02d}" for i in range(100)]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """Columns of which a share ``selectivity`` of the documents has what is asked for."""

    year: NDArray[np.int64]
    price: NDArray[np.float64]
    word: NDArray[np.str_]
    code: NDArray[np.str_]
    tags: NDArray[np.str_]

    @classmethod
    def of(cls, n: int, selectivity: float) -> Columns:
        rng = np.random.default_rng(7)

        def words(hits: Mask, wanted: list[str]) -> NDArray[np.str_]:
            others = np.array([f"word{i:03d}" for i in range(1000)])[rng.integers(0, 1000, len(hits))]
            return np.where(hits, np.array(wanted)[rng.integers(0, len(wanted), len(hits))], others)

        share = 1 - (1 - selectivity) ** (1 / LIST_LENGTH)
        return cls(
            year=rng.integers(0, 100_000, n),
            price=rng.random(n),
            word=words(rng.random(n) < selectivity, ["hit"]),
            code=words(rng.random(n) < selectivity, WANTED),
            tags=words(rng.random(n * LIST_LENGTH) < share, ["hit"]),
        )

    def arrow(self) -> dict[str, pa.Array]:
        offsets = pa.array(np.arange(0, len(self.tags) + 1, LIST_LENGTH), pa.int32())
        flat = {
            name: pa.array(getattr(self, name).astype(object) if kind == "U" else getattr(self, name))
            for name in ("year", "price", "word", "code", "tags")
            for kind in [getattr(self, name).dtype.kind]
        }
        return flat | {"tags": pa.ListArray.from_arrays(offsets, flat["tags"])}


@dataclass(frozen=True)
class Case:
    name: str
    condition: Condition
    numpy: Callable[[], Mask]


def cases(of: Columns, selectivity: float) -> Iterator[Case]:
    """Each kind of condition, with the same by NumPy."""
    bound = int(100_000 * selectivity)
    wanted, starts = np.array(WANTED), np.arange(0, len(of.tags), LIST_LENGTH)
    anything = AnyOf("code", tuple(WANTED))
    yield Case("match, string", Match("word", "hit"), lambda: of.word == "hit")
    yield Case("any of 100 strings", anything, lambda: np.isin(of.code, wanted))
    yield Case(
        "any of 100 integers",
        AnyOf("year", tuple(range(0, bound, max(bound // 100, 1)))[:100]),
        lambda: np.isin(of.year, np.arange(0, bound, max(bound // 100, 1))[:100]),
    )
    yield Case("range, integer", Range("year", lt=bound), lambda: of.year < bound)
    yield Case(
        "range, float, two bounds",
        Range("price", gte=0.05, lt=0.05 + selectivity),
        lambda: (of.price >= 0.05) & (of.price < 0.05 + selectivity),
    )
    yield Case("prefix", Prefix("code", "hit"), lambda: np.char.startswith(of.code, "hit"))
    yield Case(
        f"list of {LIST_LENGTH}, match",
        Match("tags", "hit"),
        lambda: np.logical_or.reduceat(of.tags == "hit", starts),
    )
    yield Case(
        "must(range, should(match, list)), must_not",
        Filter(
            must=(Range("price", lt=0.95), Filter(should=(Match("word", "hit"), Match("tags", "hit")))),
            must_not=(Match("year", 5),),
        ),
        lambda: (
            (of.price < 0.95)
            & ((of.word == "hit") | np.logical_or.reduceat(of.tags == "hit", starts))
            & (of.year != 5)
        ),
    )


def measure(n: int, selectivity: float) -> Iterator[dict[str, Any]]:
    of = Columns.of(n, selectivity)
    columns = of.arrow()
    types = {name: column.type for name, column in columns.items()}
    for case in cases(of, selectivity):
        checked = check(Filter(must=(case.condition,)), types)

        def ours(checked: Any = checked) -> Mask:
            return evaluate(checked, columns.get, n, lambda: pa.nulls(n))

        mask = ours()
        assert np.array_equal(mask, case.numpy()), f"wrong results are not timed: {case.name}"
        seconds = timed({"ours": ours, "numpy": case.numpy})
        yield {
            "case": case.name,
            "accepted": float(mask.mean()),
            "ms": seconds["ours"] * 1e9 / n,
            "numpy_ms": seconds["numpy"] * 1e9 / n,
        }


def _facet(column: pa.Array, mask: Mask) -> list[tuple[Any, int]]:
    part = count_values(column, mask)
    return top_counts([part], part[0].type, 10)


def measure_facets(n: int) -> Iterator[dict[str, Any]]:
    of = Columns.of(n, 0.1)
    columns = of.arrow()
    columns["id"] = pa.array([f"{i:09d}" for i in range(n)])
    for accepted in (0.01, 1.0):
        mask = np.random.default_rng(3).random(n) < accepted
        for name, column in columns.items():
            seconds = timed({"ours": lambda column=column, mask=mask: _facet(column, mask)})
            yield {"field": name, "accepted": accepted, "ms": seconds["ours"] * 1e9 / n}


def table_of(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if name in ("case", "field") else "right")
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    return table


def main(documents: int = 1_000_000, json_out: Annotated[Path | None, typer.Option("--json")] = None) -> None:
    """Measure filters at several selectivities, and facet counts."""
    machine = describe_machine()
    rows = [row for selectivity in SELECTIVITIES for row in measure(documents, selectivity)]
    facets = list(measure_facets(documents))
    rows.sort(key=lambda row: str(row["case"]))
    console = Console()
    console.print(table_of("filters, ms per million documents", rows))
    console.print(table_of("facets (the 10 most frequent), ms per million documents", facets))
    console.print(machine)
    if json_out is not None:
        told = {"machine": machine, "documents": documents, "filters": rows, "facets": facets}
        json_out.write_text(json.dumps(told, indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
