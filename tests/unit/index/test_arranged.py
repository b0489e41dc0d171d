"""Candidates found and scored in one call are those of several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retrieval.config import RecipeConfig
from retrieval.index import Arranged, Effort, Pipeline, Work, in_memory
from retrieval.quantize import Codec, FloatCodec, Int8Codec
from retrieval.types import FloatArray, Metric, Ragged

N, DIM, K = 700, 32, 10
EFFORT = Effort(nprobe=4, depth=20, ef_search=20, accepted=0.9)


def arranged(metric: Metric, stored: str, **options: Any) -> tuple[Arranged, Pipeline, FloatArray]:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((N, DIM)).astype(np.float32)
    codec: Codec = Int8Codec.fit(values, {}) if stored == "int8" else FloatCodec("float16")
    rows = codec.encode(values)
    recipe = {"index": "ivf", "nlist": 16, **options}
    if recipe["index"] == "vamana":
        del recipe["nlist"]
    pipeline = Pipeline.fit(values, N, RecipeConfig.of(**recipe), metric)
    arrays = in_memory(pipeline.arrange([Ragged.from_matrix(codec.decode(rows))], N))
    search = pipeline.attach(arrays, np.arange(N + 1), rows, codec)
    norm = float(np.linalg.norm(values, axis=1).max())
    made = Arranged(search, rows, codec, metric, norm, 3, is_bounded=pipeline.is_bounded)
    return made, pipeline, rng.standard_normal((5, DIM)).astype(np.float32)


@pytest.mark.parametrize(
    ("metric", "stored", "options", "in_one"),
    [
        ("dot", "float16", {"codec": "bits", "bits": 1}, True),
        ("dot", "int8", {"codec": "bits", "bits": 2, "residual": False}, True),
        ("l2", "float16", {"codec": "bits", "bits": 1}, True),
        ("l2", "int8", {"codec": "bits", "bits": 4}, True),
        ("dot", "float16", {"codec": "bits", "bits": 4, "scan_bits": 1}, True),
        ("dot", "int8", {"codec": "bits", "bits": 1, "reduce": "pca:24"}, True),
        ("dot", "int8", {"index": "vamana", "m_links": 8}, True),
        ("l2", "float16", {"index": "vamana", "m_links": 8}, True),
        ("dot", "float16", {"index": "vamana", "m_links": 8, "reduce": "pca:24"}, True),
        ("dot", "float16", {"codec": "bits", "bits": 8}, False),
        ("dot", "float16", {"codec": "pq", "nbits": 4}, False),
    ],
    ids=[
        "dot",
        "dot-int8-origin",
        "l2",
        "l2-int8",
        "nested",
        "reduced",
        "graph",
        "graph-l2",
        "graph-reduced",
        "8-bits",
        "pq",
    ],
)
def test_one_call_finds_what_several_do(
    metric: Metric, stored: str, options: dict[str, Any], in_one: bool
) -> None:
    segment, pipeline, queries = arranged(metric, stored, **options)
    assert (segment._both is not None) == in_one
    accept = np.random.default_rng(1).random(N) < 0.4
    few = np.arange(N) < 30
    for query, mask in zip(queries, (None, accept, None, few, np.zeros(N, np.bool_)), strict=True):
        one = Ragged.from_matrix(query[None])
        probe = pipeline.reduce_queries(one)
        work, detailed = Work(), Work(is_detailed=True)  # pages are counted where candidates come out
        (got,) = segment.candidates(one, probe, K, EFFORT, mask, work)
        (expected,) = segment.candidates(one, probe, K, EFFORT, mask, detailed)
        np.testing.assert_array_equal(got.ordinals, expected.ordinals)
        np.testing.assert_allclose(got.scores, expected.scores, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(got.final, expected.final)
        np.testing.assert_array_equal(got.segments, np.full(len(got), 3))
        assert (work.codes, work.vectors, got.slack) == (detailed.codes, detailed.vectors, expected.slack)
        assert work.pages == 0
        assert (detailed.pages > 0) == (mask is None or bool(mask.any()))


def test_an_effort_is_not_taken_for_another() -> None:
    segment, _, queries = arranged("dot", "float16", codec="bits", bits=1)
    one, seen = Ragged.from_matrix(queries[:1]), []
    for effort in (Effort(nprobe=1, depth=5), Effort(nprobe=16, depth=5), Effort(nprobe=1, depth=5)):
        work = Work()
        segment.candidates(one, one, 1, effort, None, work)
        seen.append(work.codes)
    assert seen[0] == seen[2] < seen[1] == N
