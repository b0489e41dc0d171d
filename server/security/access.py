"""Who is asking, and what may they do: decided from a request's headers, before its body is read."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from starlette.datastructures import Headers

from server.http.problems import ProblemError
from server.security.keys import MAX_KEY_LENGTH, KeySettings, Scope, hash_of, new_key

__all__ = ["Access", "KeySettings", "Principal", "Scope", "new_key"]

RANK: Mapping[Scope, int] = {"read": 0, "write": 1, "admin": 2}
MAX_SHOWN = 64
BEARER = 'Bearer realm="retrieval"'
BASIC = 'Basic realm="retrieval", charset="UTF-8"'


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the name of the key, its scope, and the patterns of collection names it is for."""

    name: str
    scope: Scope
    collections: tuple[str, ...] = ("*",)

    def may(self, scope: Scope, collection: str | None) -> bool:
        """Whether the key has ``scope`` for the collection; None: for anything (lists, tasks, metrics), and
        the route shows only what the key is for."""
        if RANK[self.scope] < RANK[scope]:
            return False
        return collection is None or any(fnmatchcase(collection, pattern) for pattern in self.collections)

    def require(self, scope: Scope, collection: str | None, *, called: str | None = None) -> None:
        """Nothing, where it may. ``called`` is what the request calls the collection: where an alias leads is
        not for everybody to know.

        Raises:
            ProblemError: 403 ``forbidden``, also for a collection that does not exist.
        """
        if self.may(scope, collection):
            return
        named = collection if called is None else called
        place = f" on collection '{named[:MAX_SHOWN]}'" if named is not None else ""
        known = ", ".join(f"'{pattern}'" for pattern in self.collections)
        raise ProblemError(
            403,
            "forbidden",
            f"this needs the scope '{scope}'{place}; the key '{self.name}' has '{self.scope}' on {known}",
        )


ANYONE = Principal("anyone", "admin")


class Access:
    """The keys of a server; without any, everybody may do everything (on loopback: `ServerSettings`)."""

    def __init__(self, keys: Mapping[str, KeySettings]) -> None:
        self._keys = dict(keys)

    @property
    def is_open(self) -> bool:
        """Whether there are no keys."""
        return not self._keys

    def authenticate(self, headers: Headers, *, browser: bool = False) -> Principal:
        """Whose key the request holds: ``Authorization: Bearer KEY``, ``api-key: KEY``, or Basic with the key
        as password. ``browser``: where there is none, ask for Basic, which browsers have a dialog for.

        Raises:
            ProblemError: 401 ``unauthorized`` for no key, an unknown one, several, or a malformed header.
        """
        if self.is_open:
            return ANYONE
        challenge = BASIC if browser else BEARER
        sent = _sent_keys(headers, challenge)
        if not sent:
            told = "this needs a key; send it as 'Authorization: Bearer KEY' or 'api-key: KEY'"
            raise _unauthorized(told, challenge)
        if len(sent) > 1:
            raise _unauthorized("the request holds several keys; send one", challenge)
        found = self._find(hash_of(sent.pop()))
        if found is None:
            raise _unauthorized("there is no such key", challenge)
        return found

    def _find(self, digest: str) -> Principal | None:
        """Compared with every key, and each comparison takes the same time: timing tells nothing."""
        found = None
        for name, key in self._keys.items():
            if hmac.compare_digest(digest, key.sha256):
                found = Principal(name, key.scope, key.collections)
        return found


def _sent_keys(headers: Headers, challenge: str) -> set[str]:
    """All keys the request holds; the same one twice counts once."""
    sent = [_from_authorization(value, challenge) for value in headers.getlist("authorization")]
    sent += headers.getlist("api-key")
    if any(not key or len(key) > MAX_KEY_LENGTH for key in sent):
        told = f"a key has 1 to {MAX_KEY_LENGTH} characters"
        raise _unauthorized(told, challenge)
    return set(sent)


def _from_authorization(value: str, challenge: str) -> str:
    scheme, _, credentials = value.strip().partition(" ")
    credentials = credentials.strip()
    match scheme.lower():
        case "bearer":
            return credentials
        case "basic":
            return _password(credentials, challenge)
    raise _unauthorized("the Authorization header is neither 'Bearer KEY' nor Basic", challenge)


def _password(credentials: str, challenge: str) -> str:
    try:
        if len(credentials) > 4 * MAX_KEY_LENGTH:  # a user's name, and base64 of both
            raise ValueError
        user, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        told = "the Authorization header's Basic part is not base64 of 'user:KEY'"
        raise _unauthorized(told, challenge) from None
    del user
    return password if colon else ""


def _unauthorized(detail: str, challenge: str) -> ProblemError:
    return ProblemError(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})
