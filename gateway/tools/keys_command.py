"""`sluice keys new|list|revoke`: keys of callers in the configuration's file."""

from __future__ import annotations

import json
from typing import Any

import click

from gateway.tools.command_options import config_option, fail, file_of, json_option, settings_of
from gateway.tools.spoken import spoken


@click.group()
def keys() -> None:
    """Keys of callers: make, list and revoke the entries of `auth.keys`.

    Example: sluice keys new web --database shop --expires 2027-12-31
    """


@keys.command(name="new")
@click.argument("name")
@config_option
@click.option("--provider", "providers", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--database", "databases", multiple=True, metavar="NAME", help="Only this one; none: chats.")
@click.option("--admin", is_flag=True, help="The operator's key: details of /readyz, the overview.")
@click.option("--expires", metavar="DATE", help="A date or time, such as 2027-12-31.")
@click.option("--requests", metavar="RATE", help='Its own rate, such as "60/minute".')
@click.option("--streams", type=click.IntRange(min=1), metavar="N", help="Its own number of answers at once.")
def keys_new(
    name: str, config: str | None, providers: tuple[str, ...], databases: tuple[str, ...], **rights: Any
) -> None:
    """Make a key for NAME, write its digest and rights into the configuration, and print the key: once.

    Example: sluice keys new web --provider qwen --expires 2027-12-31
    """
    from gateway.tools import key_entries

    entry: dict[str, Any] = {"name": name}
    if providers:
        entry["providers"] = list(providers)
    if databases:
        entry["databases"] = [database for database in databases if database != "none"]
    if rights["admin"]:
        entry["admin"] = True
    if rights["expires"]:
        entry["expires"] = rights["expires"]
    if limits := {key: rights[key] for key in ("requests", "streams") if rights[key] is not None}:
        entry["limits"] = limits
    file = file_of(config)
    try:
        key = key_entries.new(file, entry)
    except key_entries.Refused as error:
        fail(str(error), 2)
    click.echo(key)
    said = spoken("{} is written into {}; the key is shown this once. A running server takes it at SIGHUP.", name, file)
    click.echo(f"sluice: {said}", err=True)


@keys.command(name="list")
@config_option
@json_option
def keys_list(config: str | None, as_json: bool) -> None:
    """List the keys of the configuration and what each may use; the keys themselves are nowhere.

    Example: sluice keys list --json
    """
    settings = settings_of(config)
    rows: list[dict[str, Any]] = [
        {
            "name": key.name or None,
            "sha256": key.sha256[:8],
            "providers": key.providers,
            "databases": key.databases,
            "admin": key.admin,
            "expires": key.expires.isoformat() if key.expires else None,
            "expired": key.expired(),
            "limits": key.limits.model_dump(exclude_none=True),
        }
        for key in settings.auth.keys
    ]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif not rows:
        click.echo(spoken("no keys: every caller who reaches the server may ask"))
    else:
        from gateway.tools.terminal import table

        shown = [
            [
                row["name"] or f"({row['sha256']}…)",
                spoken("all") if row["providers"] is None else ", ".join(row["providers"]) or spoken("none"),
                spoken("all") if row["databases"] is None else ", ".join(row["databases"]) or spoken("none"),
                spoken("yes") if row["admin"] else "",
                "" if row["expires"] is None else row["expires"] + (spoken(" (expired)") if row["expired"] else ""),
                ", ".join(f"{name} {value}" for name, value in row["limits"].items()),
            ]
            for row in rows
        ]
        names = ["name", "providers", "databases", "admin", "expires", "limits"]
        click.echo(table([spoken(name) for name in names], shown), nl=False)


@keys.command(name="revoke")
@click.argument("name")
@config_option
def keys_revoke(name: str, config: str | None) -> None:
    """Take the key called NAME out of the configuration.

    At the next SIGHUP it is refused, and its running answers end as unauthorized. Example: sluice keys revoke web
    """
    from gateway.tools import key_entries

    file = file_of(config)
    try:
        key_entries.revoke(file, name)
    except key_entries.Refused as error:
        fail(str(error), 2)
    said = spoken("{} is no longer in {}; a running server refuses it after SIGHUP", name, file)
    click.echo(f"sluice: {said}", err=True)
