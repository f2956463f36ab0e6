"""Which provider and which database answer a caller, from the names in its question and the rights of its key.

A name that a key may not use is 403; a name that is not configured is 400 and lists only names that the key may use.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.access.auth import Caller
from gateway.errors import Failure, shown


def provider(caller: Caller, name: str | None, known: Iterable[str], default: str, field: str = "provider") -> str:
    """The provider that answers: `name`, or the caller's default.

    Raises Failure: 400 for a name that is not configured, 403 for one that the caller may not ask.
    """
    names = list(known)
    mine = caller.providers_of(names)
    if name is None:
        if default in mine:
            return default
        if not mine:
            raise Failure("forbidden", f"{field}: this key may ask no provider", param=field)
        return mine[0]
    if name not in names:
        raise Failure("bad_request", f"{field}: unknown provider {shown(name)}; {one_of(mine)}", param=field)
    if name not in mine:
        raise Failure("forbidden", f"{field}: this key may not ask {shown(name)}; {one_of(mine)}", param=field)
    return name


def database(caller: Caller, name: str | None, known: Iterable[str], field: str = "database") -> str:
    """The database that is asked: `name`; for None or "" the caller's first one, "none" where it has none.

    Raises Failure as `provider` does. "" is the first of all, for callers without limits.
    """
    names = list(known)
    mine = caller.databases_of(names)
    if not name:
        return "" if caller.databases is None else (mine[0] if mine else "none")
    if name == "none" or name in mine:
        return name
    if name not in names:
        expected = 'none is configured (use "none" for a plain chat)'
        if mine:
            expected = f"must be one of {', '.join(mine)}, or none"
        raise Failure("bad_request", f"{field}: unknown database {shown(name)}; {expected}", param=field)
    raise Failure("forbidden", f"{field}: this key may not ask {shown(name)}; {one_of([*mine, 'none'])}", param=field)


def one_of(names: list[str]) -> str:
    return f"must be one of {', '.join(names)}" if names else "it may ask none"
