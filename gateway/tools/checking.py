"""`sluice check`: the configuration judged as at start, and what of it can be used here. Asks no network."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from gateway.answers.headroom import raise_limit
from gateway.answers.retention import KEPT_BYTES
from gateway.settings import Settings, SettingsError, language, load
from gateway.tools.spoken import spoken

Echo = Callable[[str], object]


def run(config: str | None, echo: Echo, *, as_json: bool = False) -> int:
    """Print what was found; returns 0 if it can be served, 1 if the default cannot answer, 2 if it cannot be used."""
    try:
        settings = load(config)
    except SettingsError as error:
        if as_json:
            problems = [
                {"key": problem.key, "line": problem.line, "message": problem.sentence(language())}
                for problem in error.problems
            ]
            echo(json.dumps({"ok": False, "problems": problems}, ensure_ascii=False, indent=2))
        else:
            said = spoken("the configuration cannot be used:\n{}", error.text(language()))
            click.echo(f"sluice: {said}", err=True)
        return 2
    result = report(settings)
    if as_json:
        echo(json.dumps(result, ensure_ascii=False, indent=2))
        return 0 if result["ok"] else 1
    for provider in result["providers"]:
        about = ", ".join(
            (provider["type"], provider["model"], *([spoken("the default")] if provider["default"] else []))
        )
        state = spoken("unavailable: {}", provider["reason"]) if provider["reason"] else spoken("ok")
        echo(spoken("provider {} ({}): {}", provider["name"], about, state))
    for database in result["databases"]:
        tables = ", ".join(database["tables"]) if database["tables"] else spoken("all tables")
        echo(spoken("database {}: {}", database["name"], tables))
    for note in result["notes"]:
        echo(spoken("note: {}", note))
    if not result["ok"]:
        (reason,) = (row["reason"] for row in result["providers"] if row["default"])
        click.echo(f"sluice: {spoken('the default provider cannot answer: {}', reason)}", err=True)
        return 1
    echo(spoken("the configuration is good"))
    return 0


def report(settings: Settings) -> dict[str, Any]:
    """What there is to say about a configuration that can be used."""
    providers = []
    for name, provider in settings.providers.items():
        reason = provider.missing or None
        if not provider.has_its_folder:
            reason = f"there is no folder {provider.model}"
        elif provider.type == "local":
            from providers.local.supervisor import refusal

            reason = refusal(provider.model) or reason
        row = {"name": name, "type": provider.type, "model": provider.shown_model, "default": name == settings.default}
        providers.append(row | {"available": reason is None, "reason": reason})
    return {
        "ok": all(row["available"] for row in providers if row["default"]),
        "providers": providers,
        "databases": [{"name": name, "tables": database.tables} for name, database in settings.databases.items()],
        "keys": len(settings.auth.keys),
        "notes": [note.sentence(language()) for note in settings.notes(raise_limit(), KEPT_BYTES)],
        "python": sys.version.split()[0],
    }
