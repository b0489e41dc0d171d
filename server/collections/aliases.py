"""Changes of aliases: all of a request or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from server.context import AppContext
from server.http.problems import ProblemError, invalid_request
from server.schemas.collections import AliasAction
from server.security.access import Principal

__all__ = ["change"]


def change(
    context: AppContext, principal: Principal, actions: Sequence[AliasAction]
) -> dict[str, str | None]:
    """Do them in order, together; what each alias led to before. Blocks.

    Raises:
        ProblemError: 403; 404 unknown_alias, unknown_collection; 409 is_alias, is_collection; 422.
    """
    lacking = [
        (f"/actions/{i}/collection", "a put needs it: where shall the alias lead?")
        for i, action in enumerate(actions)
        if action.action == "put" and action.collection is None
    ]
    if lacking:
        raise invalid_request(lacking)
    named = {name for action in actions for name in (action.alias, action.collection) if name is not None}
    with context.registry.changing(*named):
        before = context.store.aliases()
        after = dict(before)
        for action in actions:
            _check(context, principal, action, after)
            if action.collection is None or action.action == "delete":
                del after[action.alias]
            else:
                after[action.alias] = action.collection
        touched = {action.alias for action in actions}
        puts = {name: to for name, to in after.items() if name in touched}
        context.store.change_aliases(puts, touched - set(puts))
    return {name: before.get(name) for name in touched}


def _check(context: AppContext, principal: Principal, action: AliasAction, aliases: dict[str, str]) -> None:
    """Whether the key may do it and it makes sense, where ``aliases`` are those there are by then."""
    alias, collection = action.alias, action.collection
    principal.require("admin", alias)
    if alias in aliases:
        principal.require("admin", aliases[alias], called=alias)
    if collection is not None:
        principal.require("admin", collection)
    if action.action == "delete":
        if alias not in aliases:
            raise ProblemError(404, "unknown_alias", f"there is no alias '{alias[:64]}'")
        return
    if context.registry.get(alias) is not None:
        told = f"'{alias}' is a collection; an alias needs a name of its own"
        raise ProblemError(409, "is_collection", told)
    if collection is not None and context.registry.get(collection) is None:
        if collection in aliases:
            told = (
                f"'{collection}' is an alias; name the collection that it leads to: '{aliases[collection]}'"
            )
            raise ProblemError(409, "is_alias", told)
        context.registry.resolve(collection)
