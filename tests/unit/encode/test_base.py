import zlib

import numpy as np
import pytest

from retrieval.encode import (
    ConfiguredEncoder,
    Encoder,
    TokenizingEncoder,
    as_ragged,
    encode_documents,
    encode_queries,
)
from retrieval.encode.base import check_fingerprint
from retrieval.errors import EncoderError, EncoderMismatchError
from retrieval.types import Ragged


class Hashing:
    kind, metric, dim = "dense", "cosine", 8

    def fingerprint(self):
        return {"name": "hashing-8"}

    def encode_document(self, texts):
        rows = [np.bincount([zlib.crc32(w.encode()) % 8 for w in t.split()], minlength=8) for t in texts]
        return np.array(rows, dtype=np.float32).reshape(-1, 8)

    encode_query = encode_document


class Fixed(Hashing):
    """Returns what it was given."""

    def __init__(self, vectors, kind="dense"):
        self.kind = kind
        self.encode_document = self.encode_query = lambda texts: vectors


def test_ten_lines_are_an_encoder(checkpoint):
    assert isinstance(Hashing(), Encoder)
    assert not isinstance(Hashing(), ConfiguredEncoder)
    assert not isinstance(Hashing(), TokenizingEncoder)
    assert not isinstance(object(), Encoder)
    done = []
    vectors = encode_documents(Hashing(), ["a b", "c"], done.append)
    assert vectors.doclens.tolist() == [1, 1]
    assert vectors.values.sum() == 3
    assert done == [2]
    assert len(encode_queries(Hashing(), [])) == 0


def test_ragged_and_lists_are_taken():
    arrays = [np.ones((2, 8)), np.zeros((0, 8)), np.ones((1, 8))]
    for vectors in (arrays, Ragged.from_list(arrays, 8)):
        ragged = encode_documents(Fixed(vectors, "late"), ["a", "b", "c"])
        assert ragged.doclens.tolist() == [2, 0, 1]
        assert ragged.values.dtype == np.float32


@pytest.mark.parametrize(
    ("vectors", "kind", "message"),
    [
        (np.ones((1, 8)), "dense", "given 2 texts and returned vectors for 1"),
        (np.ones((2, 7)), "dense", "dimension 7, but its dim is 8"),
        (np.ones(8), "dense", r"shape \(8,\)"),
        (np.ones((2, 8)), "late", r"shape \(2, 8\)"),
        ([np.ones((1, 8)), np.ones((2, 8))], "dense", "exactly one vector a text"),
        ([np.ones((1, 8)), np.ones((2, 5))], "late", r"shape \(2, 5\), but its dim is 8"),
        ([np.ones((3, 8))], "late", "given 2 texts and returned vectors for 1"),
        ([np.ones((3, 8)), np.array([[np.nan] * 8])], "late", "NaN or infinity for text 1 of 2"),
        (np.array([[0.0] * 8, [np.inf] * 8]), "dense", "NaN or infinity for text 1 of 2"),
    ],
)
def test_vectors_that_cannot_be_scored_are_refused(vectors, kind, message):
    encoder = Fixed(vectors, kind)
    with pytest.raises(EncoderError, match=f"Fixed .*{message}"):
        as_ragged(encoder.encode_document(["a", "b"]), encoder, 2)


def test_every_difference_of_two_fingerprints_is_named():
    check_fingerprint({"dim": 8, "kind": "dense"}, {"kind": "dense", "dim": 8})
    with pytest.raises(
        EncoderMismatchError, match="dim: index 8, given 9; pooling: index 'mean', given None"
    ):
        check_fingerprint({"dim": 8, "pooling": "mean"}, {"dim": 9})
    with pytest.raises(EncoderMismatchError, match=r"\(kind: index 'dense', given 'late'\)"):
        check_fingerprint({"dim": 8, "kind": "dense"}, {"dim": 9, "kind": "late"})
