"""MUVERA encodings against vectors worked out here, token by token, from the definition."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.kernels.fde import cpu, reference
from retrieval.kernels.fde.reference import Matrices, Sketch, draw_matrices


def whole(matrices: Matrices) -> Matrices:
    """Hyperplanes of whole numbers: with tokens of whole numbers no sign is lost to rounding."""
    return matrices._replace(planes=np.rint(3 * matrices.planes))


def slow(tokens: list[list[float]], matrices: Matrices, query: bool, fill: bool) -> list[float]:
    """One text in plain Python, written without looking at the code under test."""
    planes, projections, final = matrices
    reps, d, ksim = planes.shape
    out: list[float] = []
    for r in range(reps):
        dim = projections.dim if projections else d
        block = [[0.0] * dim for _ in range(2**ksim)]
        members: list[list[int]] = [[] for _ in range(2**ksim)]
        signs, points = [], []
        for token in tokens:
            bits = [sum(token[j] * float(planes[r, j, i]) for j in range(d)) > 0 for i in range(ksim)]
            signs.append(bits)
            point = [0.0] * dim
            for j in range(d):
                if projections:
                    point[int(projections.targets[r, j])] += float(projections.signs[r, j]) * token[j]
                else:
                    point[j] = token[j]
            points.append(point)
        # The partition of a sign pattern is its rank in the reflected Gray code.
        gray = [""]
        for _ in range(ksim):
            gray = ["0" + code for code in gray] + ["1" + code for code in reversed(gray)]
        for t, bits in enumerate(signs):
            members[gray.index("".join("01"[bit] for bit in bits))].append(t)
        for p, inside in enumerate(members):
            for t in inside:
                block[p] = [a + b for a, b in zip(block[p], points[t], strict=True)]
            if inside and not query:
                block[p] = [a / len(inside) for a in block[p]]
            if not inside and fill and not query and tokens:
                distances = [
                    sum(("01"[b] != c) for b, c in zip(bits, gray[p], strict=True)) for bits in signs
                ]
                block[p] = list(points[distances.index(min(distances))])
        out.extend(number for row in block for number in row)
    if final:
        sketch = [0.0] * final.dim
        for i, number in enumerate(out):
            sketch[int(final.targets[i])] += float(final.signs[i]) * number
        return sketch
    return out


def texts(seed: int, lengths: list[int], d: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(seed).integers(-4, 5, (sum(lengths), d))
    return values.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


LENGTHS = st.lists(st.sampled_from([0, 1, 2, 3, 9]), max_size=4)


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    LENGTHS,
    st.sampled_from([1, 5, 16]),
    st.integers(1, 3),
    st.sampled_from([0, 1, 2, 3, 5, 8]),
    st.sampled_from([None, 1, 4]),
    st.sampled_from([None, 1, 7]),
    st.booleans(),
)
def test_equals_the_slow_one(
    seed: int, lengths: list[int], d: int, reps: int, ksim: int, proj_dim: Any, final_dim: Any, fill: bool
) -> None:
    values, offsets = texts(seed, lengths, d)
    matrices = whole(draw_matrices(d, reps, ksim, proj_dim, final_dim, seed))
    runs = [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    size = final_dim or reps * 2**ksim * (proj_dim or d)
    documents = np.array([slow(run, matrices, False, fill) for run in runs]).reshape(len(runs), size)
    queries = np.array([slow(run, matrices, True, False) for run in runs]).reshape(len(runs), size)
    for backend, kind in ((reference, np.float64), (cpu, np.float32)):
        found = backend.fde_documents(values.astype(kind), offsets, *matrices, fill=fill)
        np.testing.assert_allclose(found, documents, rtol=1e-5, atol=1e-4)
        assert found.dtype == kind
        found = backend.fde_queries(values.astype(kind), offsets, *matrices)
        np.testing.assert_allclose(found, queries, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", [reference, cpu])
def test_worked_example(backend) -> None:  # type: ignore[no-untyped-def]
    """Two hyperplanes, the axes. Signs 00 01 11 10 are partitions 0 1 2 3."""
    planes = np.eye(2, dtype=np.float32)[None]
    tokens = np.array([[1, 2], [3, 4], [-1, 5], [0, -2]], np.float32)
    offsets = np.array([0, 4])
    np.testing.assert_array_equal(backend.fde_queries(tokens, offsets, planes), [[0, -2, -1, 5, 4, 6, 0, 0]])
    # Partition 3 has signs 10: tokens 0 (11) and 3 (00) differ in one bit each, and 0 comes first.
    np.testing.assert_array_equal(
        backend.fde_documents(tokens, offsets, planes), [[0, -2, -1, 5, 2, 3, 1, 2]]
    )
    np.testing.assert_array_equal(
        backend.fde_documents(tokens, offsets, planes, fill=False), [[0, -2, -1, 5, 2, 3, 0, 0]]
    )


def test_the_inner_product_approximates_the_best_matches() -> None:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((400, 64)).astype(np.float32)
    documents = centers[rng.integers(0, 400, (60, 24))]
    query = documents[17, :8] + 0.2 * rng.standard_normal((8, 64)).astype(np.float32)
    matrices = draw_matrices(64, 20, 4, 16, None, seed=1)
    sides = (
        cpu.fde_queries(query, np.array([0, 8]), *matrices),
        cpu.fde_documents(documents.reshape(-1, 64), np.arange(61) * 24, *matrices),
    )
    assert (sides[0] @ sides[1].T).argmax() == 17


def test_matrices() -> None:
    a, b = (draw_matrices(10, 3, 4, 5, 6, seed=2) for _ in range(2))
    np.testing.assert_array_equal(a.planes, b.planes)
    assert a.planes.shape == (3, 10, 4)
    assert a.projections is not None
    assert a.final is not None
    assert a.projections.targets.shape == (3, 10)
    assert a.final.targets.shape == (3 * 16 * 5,)
    assert set(np.unique(a.final.signs)) == {-1, 1}
    assert a.final.targets.max() < 6
    assert draw_matrices(10, 3, 4, None, None, seed=2)[1:] == (None, None)


@pytest.mark.parametrize(
    "wrong", [{"d": 0}, {"reps": 0}, {"proj_dim": 0}, {"final_dim": -1}, {"ksim": 9}, {"ksim": -1}]
)
def test_bad_matrices_are_refused(wrong: dict[str, int]) -> None:
    good = {"d": 4, "reps": 2, "ksim": 2, "proj_dim": 2, "final_dim": None, "seed": 0}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        draw_matrices(**{**good, **wrong})


def test_threads_and_mapped_memory(tmp_path: Path) -> None:
    values, offsets = texts(1, [3, 0, 40, 1, 7] * 20, 16)
    matrices = whole(draw_matrices(16, 2, 3, 4, None, 0))
    expected = reference.fde_documents(values, offsets, *matrices)
    (tmp_path / "values").write_bytes(b"x" + values.tobytes())
    mapped = np.memmap(tmp_path / "values", np.uint8, "r")[1:].view(np.float32).reshape(values.shape)
    for threads in (1, 4):
        got = cpu.fde_documents(mapped, offsets, *matrices, threads=threads)
        np.testing.assert_allclose(got, expected, atol=1e-4)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cpu.fde_queries(mapped, offsets, *matrices), range(8)):
            np.testing.assert_allclose(got, reference.fde_queries(values, offsets, *matrices), atol=1e-4)


def test_a_text_alone_is_encoded_as_among_others() -> None:
    """Byte for byte, whatever rounding does to a sign near zero."""
    rng = np.random.default_rng(3)
    lengths = [1, 2, 31, 0, 33, 5, 64, 1, 17, 200]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.standard_normal((offsets[-1], 128)).astype(np.float32)
    matrices = draw_matrices(128, 20, 1, 4, None, 0)
    for encode in (cpu.fde_documents, cpu.fde_queries):
        together = encode(values, offsets, *matrices, threads=2)
        for i, (a, b) in enumerate(itertools.pairwise(offsets)):
            alone = encode(values[a:b], np.array([0, b - a]), *matrices)
            assert alone.tobytes() == together[i : i + 1].tobytes()


def test_one_very_long_document() -> None:
    values, offsets = texts(3, [8192], 8)
    matrices = whole(draw_matrices(8, 2, 8, None, None, 0))
    np.testing.assert_allclose(
        cpu.fde_documents(values, offsets, *matrices),
        reference.fde_documents(values.astype(float), offsets, *matrices),
        rtol=1e-4,
        atol=1e-4,
    )


GOOD = {
    "values": np.ones((3, 4), np.float32),
    "offsets": np.array([0, 3]),
    "planes": np.ones((2, 4, 1), np.float32),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"values": np.ones((3, 4))}, "values"),
        ({"values": np.full((3, 4), np.nan, np.float32)}, "values"),
        ({"planes": np.ones((2, 5, 1), np.float32)}, "planes"),
        ({"planes": np.ones((2, 4, 9), np.float32)}, "ksim=9"),
        ({"offsets": np.array([0, 4])}, "offsets"),
        ({"offsets": np.array([0, 2, 1, 3])}, "offsets"),
        ({"offsets": np.array([], np.int64)}, "offsets"),
        (
            {"projections": Sketch(np.full((2, 4), 3, np.int32), np.ones((2, 4), np.float32), 3)},
            "projections",
        ),
        ({"projections": Sketch(np.zeros((2, 3), np.int32), np.ones((2, 3), np.float32), 3)}, "projections"),
        ({"final": Sketch(np.full(16, -1, np.int32), np.ones(16, np.float32), 3)}, "final"),
    ],
)
def test_bad_input_is_refused(wrong: dict[str, Any], message: str) -> None:
    for function in (cpu.fde_documents, cpu.fde_queries):
        with pytest.raises(ValueError, match=message):
            function(**{**GOOD, **wrong})
