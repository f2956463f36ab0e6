"""Time zones by the names that servers have for them: Asia/Shanghai, UTC, +08:00."""

from __future__ import annotations

import datetime
import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?", re.IGNORECASE)


def zone(name: str) -> datetime.tzinfo | None:
    """The zone that `name` means; None where it is unknown, such as a server's SYSTEM or an ambiguous CST."""
    offset = _OFFSET.fullmatch(name.strip())
    if offset is not None:
        minutes = int(offset[2]) * 60 + int(offset[3] or 0)
        if minutes > 14 * 60:
            return None
        return datetime.timezone(datetime.timedelta(minutes=minutes if offset[1] == "+" else -minutes))
    if name.upper() in ("UTC", "GMT", "Z", "ETC/UTC"):
        return datetime.UTC
    try:
        return ZoneInfo(name) if "/" in name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def today(name: str, now: datetime.datetime | None = None) -> datetime.date:
    """The date in that zone, in UTC where it is unknown."""
    return (now or datetime.datetime.now(datetime.UTC)).astimezone(zone(name) or datetime.UTC).date()


def posix(name: str) -> str:
    """`name` as the C library takes it in TZ: there the signs of offsets are turned round. "" stays "".

    source: POSIX.1-2017, chapter 8.3
    """
    offset = _OFFSET.fullmatch(name.strip())
    if offset is None:
        return name.strip()
    return f"<{offset[1]}{offset[2]:0>2}>{'-' if offset[1] == '+' else '+'}{offset[2]}:{offset[3] or '00'}"
