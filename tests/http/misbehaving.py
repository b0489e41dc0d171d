"""Encoders that answer until they are armed, and then do not."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from retrieval.types import FloatArray
from tests.encoders import HashingDense


class Misbehaving(HashingDense):
    """Armed after the server has warmed it up."""

    def __init__(self) -> None:
        super().__init__()
        self.armed = False

    def encode_query(self, texts: Sequence[str]) -> FloatArray:
        vectors = self.encode_document(texts)
        return self.misbehave(vectors) if self.armed else vectors

    def misbehave(self, vectors: FloatArray) -> FloatArray:
        raise NotImplementedError


class Stuck(Misbehaving):
    """Waits inside the encoder until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()

    def misbehave(self, vectors: FloatArray) -> FloatArray:
        self.entered.set()
        assert self.gate.wait(30), "nobody opened the gate"
        return vectors


class Broken(Misbehaving):
    """Fails in a way that nobody planned for."""

    def misbehave(self, vectors: FloatArray) -> FloatArray:
        raise ZeroDivisionError("secret inside of the model")


class Sick(Misbehaving):
    """Gives NaN."""

    def misbehave(self, vectors: FloatArray) -> FloatArray:
        return np.full_like(vectors, np.nan)
