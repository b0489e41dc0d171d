"""A traced query has the bits of the model; what tracing would get wrong runs as before."""

import numpy as np
import pytest
import torch

from retrieval import RuntimeConfig
from retrieval.encode import load_encoder
from retrieval.encode.traced import Graph
from tests.tiny_models import TEXTS

ASKED = [*TEXTS, "wing", "of lift " * 9, "thin wings in a slipstream " * 40]


def bits(vectors):
    return getattr(vectors, "values", vectors).tobytes()


@pytest.mark.parametrize("name", ["mean", "head", "native", "min", "modernbert", "xmod"])
def test_a_traced_query_has_the_bits_of_the_model(checkpoint, name):
    encoder = load_encoder(str(checkpoint(name)))
    plain = [bits(encoder.encode_query([text])) for text in ASKED]
    assert encoder.trace_queries()
    assert [bits(encoder.encode_query([text])) for text in ASKED] == plain


@pytest.mark.parametrize("mode", [True, False])
def test_tracing_leaves_the_model_s_mode(checkpoint, mode):
    encoder = load_encoder(str(checkpoint("mean")))
    model = encoder._model.model.train(mode)
    encoder.trace_queries()
    assert all(module.training == mode for module in model.modules())


def test_tracing_says_nothing(checkpoint, capfd):
    encoder = load_encoder(str(checkpoint("mean")))
    capfd.readouterr()  # what others said
    assert encoder.trace_queries()
    assert capfd.readouterr().err == ""


def test_an_engine_s_encoder_is_traced_where_that_is_asked_for(checkpoint):
    name = str(checkpoint("mean"))
    plain, traced = load_encoder(name), load_encoder(name, RuntimeConfig.of(trace_queries=True))
    assert plain._model._graph is None and traced._model._graph is not None
    assert bits(traced.encode_query(["wing"])) == bits(plain.encode_query(["wing"]))


def test_a_query_alone_is_traced_up_to_the_longest_that_was_compared(checkpoint, monkeypatch):
    encoder, lengths = load_encoder(str(checkpoint("mean"))), []
    assert encoder.trace_queries()
    graph, run = encoder._model._graph, Graph.__call__
    seen = lambda self, given: lengths.append(given["input_ids"].shape[1]) or run(self, given)  # noqa: E731
    monkeypatch.setattr(Graph, "__call__", seen)
    encoder.encode_query(TEXTS[:2])
    encoder.encode_document(["wing"])
    assert not lengths
    encoder.encode_query(["wing"])
    graph.longest = lengths[0] - 1
    encoder.encode_query(["wing"])
    assert len(lengths) == 1


@pytest.mark.parametrize("kind", ["other bits", "an error"])
def test_what_depends_on_the_length_in_python_is_not_traced(checkpoint, monkeypatch, kind):
    encoder, plain = (load_encoder(str(checkpoint("mean"))) for _ in range(2))
    model, forward = encoder._model.model, type(encoder._model.model).forward

    def by_length(self, features, **options):
        found = forward(self, features, **options)
        if kind == "an error" and torch.jit.is_tracing():
            raise RuntimeError("cannot be traced")
        scale = 2.0 if features["input_ids"].shape[1] > 20 else 1.0
        found["sentence_embedding"] = found["sentence_embedding"] * scale
        return found

    monkeypatch.setattr(model, "forward", by_length.__get__(model))
    assert not encoder.trace_queries()
    assert np.array_equal(encoder.encode_query(["wing"]), plain.encode_query(["wing"]))
    long = " ".join(TEXTS) * 4
    assert np.array_equal(encoder.encode_query([long]), 2 * plain.encode_query([long]))
