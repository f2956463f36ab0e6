"""What `sluice doctor` finds about each database: reachable, what its role may do, which tables are there."""

from __future__ import annotations

from collections.abc import Iterator

import click

from gateway.settings import Settings
from gateway.text2sql.database import ADVICE, Database, Databases
from gateway.text2sql.errors import SqlFailed

# So many tables are named.
NAMED = 8
Line = tuple[str, str, str]  # mark, what, detail; advice has the mark "→"


def examined(settings: Settings) -> Iterator[tuple[str, list[Line], bool]]:
    """Each configured database: its heading, what was found, and whether it can be asked."""
    databases = Databases(settings.databases, settings.text2sql)
    try:
        for database in databases:
            lines: list[Line] = []
            well = _judged(database, lines)
            heading = click.style(database.name, bold=True) + click.style(f"  {database.dialect.name}", dim=True)
            yield heading, lines, well
    finally:
        databases.close()


def _judged(database: Database, lines: list[Line]) -> bool:
    try:
        excess = database.server.excess()
        lines.append(("✓", "reachable", ""))
        accepted, runs = database.settings.unsafe_role, database.settings.execute
        mark = "!" if accepted or not runs else "✗"
        lines.extend((mark, "role", one.whole) for one in excess)
        if not excess:
            lines.append(("✓", "role", "can only read"))
        elif accepted:
            lines.append(("!", "role", f"accepted: {accepted}"))
        elif runs:
            lines.append(("→", ADVICE + ".", ""))
        schema = database.schema()
    except SqlFailed as error:
        detail = f"{error.message}: {error.detail}" if error.detail else error.message
        lines.append(("✗", "tables" if lines else "reachable", detail))
        return False
    names = [table.name for table in schema.tables]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    lines.append(("✓" if names else "✗", "tables", f"{len(names)}: {', '.join(names[:NAMED])}{more}"))
    lines.extend(("!", "tables", f"there is no {missing}") for missing in schema.missing)
    return bool(names) and (not excess or bool(accepted) or not runs)
