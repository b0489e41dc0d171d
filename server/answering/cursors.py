"""Where a page of hits ended, as text that a client hands back."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from retrieval.types import Hit
from server.http.problems import ProblemError, invalid_request

__all__ = ["MAX_LENGTH", "Cursor", "digest_of"]

DIGEST_BYTES = 12
MAX_LENGTH = 4096
"""A cursor that would be longer, of an id that long, is none: requests take no longer ones."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last hit of a page, how many have been handed out, and a digest of what was asked."""

    score: float
    id: str
    seen: int
    digest: str

    @classmethod
    def read(cls, text: str, digest: str, pointer: str) -> Self:
        """A cursor from what a client sent; ``pointer`` is where it stood.

        Raises:
            ProblemError: 422, it is none of ours, or one of another question.
        """
        try:
            score, doc_id, seen, asked = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
            found = cls(float.fromhex(score), doc_id, seen, asked)
            well_formed = isinstance(doc_id, str) and type(seen) is int and seen >= 1
        except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
            well_formed = False
        if not well_formed or not math.isfinite(found.score):
            raise _refused(pointer, "this is no cursor; send next_cursor of an answer as it is")
        if found.digest != digest:
            told = "the cursor belongs to another question, or the collection was converted since"
            raise _refused(pointer, f"{told}; ask again without it")
        return found

    def write(self) -> str:
        """As text, safe in a URL."""
        value = json.dumps([self.score.hex(), self.id, self.seen, self.digest], separators=(",", ":"))
        return base64.urlsafe_b64encode(value.encode()).decode()

    def after(self, hits: Sequence[Hit]) -> list[Hit]:
        """Those hits, best first, that come after this place: by score descending, then id ascending."""
        return [hit for hit in hits if (-hit.score, hit.id) > (-self.score, self.id)]


def digest_of(parts: Sequence[bytes | Any]) -> str:
    """A digest of what was asked: bytes as they are, anything else as JSON with sorted names."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        raw = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def _refused(pointer: str, told: str) -> ProblemError:
    return invalid_request([(pointer, told)])
