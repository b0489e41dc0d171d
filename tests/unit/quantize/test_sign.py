"""Signs are those of other people's binary embeddings."""

from __future__ import annotations

import numpy as np

from retrieval.quantize import fit_codec


def test_bits_are_those_of_sentence_transformers() -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    values = np.random.default_rng(0).standard_normal((20, 48)).astype(np.float32)
    values[0, :4] = 0.0, -0.0, 1e-40, -1e-40
    codes = fit_codec("sign", values, {}).encode(values)
    np.testing.assert_array_equal(codes, quantize_embeddings(values, "ubinary"))


def test_estimates_have_the_order_of_the_distance() -> None:
    values = 3 * np.random.default_rng(1).standard_normal((200, 77)).astype(np.float32)
    codec = fit_codec("sign", values, {})
    queries = values[:3]
    distances = ((queries[:, None] > 0) != (values > 0)).sum(axis=2)
    scores = codec.scores(queries, codec.encode(values))
    lengths = np.linalg.norm(values, axis=1)
    np.testing.assert_allclose(
        scores, (lengths[:3] * lengths.mean())[:, None] * (1 - 2 * distances / 77), rtol=1e-5
    )
    assert (scores.argmax(axis=1) == [0, 1, 2]).all()
