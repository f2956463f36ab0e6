"""What the commands of `sluice` share: the configuration's option, and one sentence for what went wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from gateway.tools.spoken import spoken

if TYPE_CHECKING:
    from gateway.settings import Settings

config_option = click.option(
    "--config", "config", metavar="FILE", help="The configuration; $SLUICE_CONFIG, else sluice.yaml."
)
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")


def settings_of(path: str | None) -> Settings:
    """The configuration; where it cannot be used, its problems on standard error, and exit code 2."""
    from gateway.settings import SettingsError, language, load

    try:
        return load(path)
    except SettingsError as error:
        fail(spoken("the configuration cannot be used:\n{}", error.text(language())), 2)


def file_of(config: str | None) -> Path:
    """The configuration's file."""
    return Path(config or os.environ.get("SLUICE_CONFIG") or "sluice.yaml")


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong on standard error, and exit."""
    click.echo(f"sluice: {message}", err=True)
    sys.exit(code)
