"""The command `sluice`. Exit codes: 0 good, 1 the work failed, 2 used wrongly; errors go to standard error.

What takes long to import is imported by the commands: an interrupt meanwhile is click's to answer, with one word.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway import __version__

if TYPE_CHECKING:
    from gateway.settings import Settings


def _settings(path: str | None) -> Settings:
    from gateway.settings import SettingsError, language, load

    try:
        return load(path)
    except SettingsError as error:
        click.echo(f"sluice: the configuration cannot be used:\n{error.text(language())}", err=True)
        sys.exit(2)


config_option = click.option(
    "--config", "config", metavar="FILE", help="The configuration; $SLUICE_CONFIG, else sluice.yaml."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sluice")
def main() -> None:
    """A streaming gateway between a product and its language models."""


@main.command()
@config_option
@click.option("--bind", metavar="HOST:PORT", help="Listen here, whatever the configuration says.")
def serve(config: str | None, bind: str | None) -> None:
    """Serve: gunicorn with gevent workers, and the engine where a local provider is configured."""
    from gateway.settings import DEFAULT_FILE

    path = Path(config or os.environ.get("SLUICE_CONFIG") or DEFAULT_FILE).resolve()
    os.environ["SLUICE_CONFIG"] = str(path)
    settings = _settings(str(path))
    if bind:
        settings.server.bind = bind
        os.environ["SLUICE_BIND"] = bind
        if problems := settings.problems():
            click.echo("sluice: " + "; ".join(map(str, problems)), err=True)
            sys.exit(2)
    from gateway.server import master

    if trouble := _not_free(settings.server.bind):
        click.echo(f"sluice: cannot listen on {settings.server.bind}: {trouble}", err=True)
        sys.exit(1)
    master.master()


@main.command()
@click.argument("folder", default="sluice-demo", type=click.Path(file_okay=False, path_type=Path))
@click.option("--bind", metavar="HOST:PORT", help="Listen here instead of 127.0.0.1:9001.")
@click.pass_context
def demo(context: click.Context, folder: Path, bind: str | None) -> None:
    """Make the demo in FOLDER (its database, a configuration) and serve it."""
    from gateway.tools.demo import Missing, prepare

    try:
        configuration = prepare(folder.resolve())
    except Missing as error:
        click.echo(f"sluice: {error}", err=True)
        sys.exit(1)
    click.echo(f"sluice: the demo is in {folder}; edit {folder / 'sluice.yaml'} to go on from it", err=True)
    context.invoke(serve, config=str(configuration), bind=bind)


def _not_free(bind: str) -> str | None:
    """Why nothing can listen on `bind`: gunicorn would try for five seconds, with the engine started beside it."""
    from gunicorn.util import parse_address

    try:
        address = parse_address(bind)
        known = not isinstance(address, tuple) or (bool(address[0]) and 0 <= address[1] <= 65535)
    except (RuntimeError, ValueError):
        known = False
    if not known:
        click.echo(f"sluice: {bind}: expected HOST:PORT, with an IPv6 host in brackets ([::1]:9001)", err=True)
        sys.exit(2)
    if not isinstance(address, tuple):
        return None  # a Unix socket, which gunicorn makes anew, or a descriptor that is bound already
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(address)
        except OSError as error:
            return error.strerror or str(error)
    return None


@main.command()
@config_option
def check(config: str | None) -> None:
    """Judge the configuration as at start; asks no network."""
    settings = _settings(config)
    for name, provider in settings.providers.items():
        missing = provider.missing_secrets
        state = f"unavailable: {', '.join(missing)} not set" if missing else "ok"
        if not provider.has_its_folder:
            state = f"unavailable: there is no folder {provider.model}"
        default = ", the default" if name == settings.default else ""
        click.echo(f"provider {name} ({provider.type}, {provider.shown_model}{default}): {state}")
    for name, database in settings.databases.items():
        tables = ", ".join(database.tables) if database.tables else "all tables"
        click.echo(f"database {name}: {tables}")
    from gateway.answers.headroom import raise_limit
    from gateway.answers.retention import KEPT_BYTES
    from gateway.settings import language

    for note in settings.notes(raise_limit(), KEPT_BYTES):
        click.echo(f"note: {note.sentence(language())}")
    if not settings.providers[settings.default].has_its_folder:
        click.echo("sluice: the default provider cannot answer: its model's folder is missing", err=True)
        sys.exit(1)
    click.echo("the configuration is good")


@main.command()
@click.argument("question")
@config_option
@click.option("--url", metavar="URL", help="A running Sluice; the configuration's own address if left out.")
@click.option("--provider", metavar="NAME", help="Who answers; the default if left out.")
@click.option("--database", metavar="NAME", help="Which database is asked; none for a plain chat.")
@click.option(
    "--format", "form", type=click.Choice(["text", "sse", "ndjson", "json", "csv"]), default="text", show_default=True
)
@click.option("--key", envvar="SLUICE_KEY", help="Your key, where the server wants one; $SLUICE_KEY.")
def ask(question: str, config: str | None, url: str | None, form: str, key: str | None, **fields: str | None) -> None:
    """Ask a running Sluice, and print the answer as it streams."""
    import requests

    from gateway.tools.terminal import PRINTERS

    if url is None:
        url = f"http://{_settings(config).server.bind}"
    body = {"question": question} | {name: value for name, value in fields.items() if value is not None}
    headers = {"Accept": PRINTERS[form].accept}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        with requests.post(f"{url}/getAnwser", json=body, headers=headers, stream=True, timeout=(5, None)) as reply:
            if reply.status_code >= 400:
                error = _error(reply)
                click.echo(f"sluice: {error}", err=True)
                sys.exit(2 if error.endswith("(bad_request)") else 1)
            code = PRINTERS[form].show(_reads(reply))
            if reply.headers.get("X-Rows-Truncated") == "true":
                click.echo("sluice: there are more rows than these, they were cut off", err=True)
            sys.exit(code)
    except requests.ConnectionError:
        click.echo(f"sluice: no server answers on {url}; start it with `sluice serve`", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(1)


def _reads(reply: Any) -> Iterator[bytes]:
    while data := reply.raw.read1(65536):
        yield data


def _error(reply: Any) -> str:
    try:
        error = reply.json()["error"]
        return f"{error['message']} ({error['code']})"
    except (ValueError, KeyError, TypeError):
        return f"the server answered {reply.status_code} without saying why"


@main.command()
@config_option
@click.option("--provider", "names", multiple=True, metavar="NAME", help="Only this one; may be given several times.")
def doctor(config: str | None, names: tuple[str, ...]) -> None:
    """Really ask each provider something small, and say what was found."""
    from gevent import monkey

    # A vendor's client reads from sockets that block; only a patched one can be interrupted by a deadline.
    monkey.patch_all()
    from gateway.tools import doctor as doctors

    sys.exit(doctors.run(_settings(config), click.echo, names=names))


@main.command()
@click.argument("question")
@config_option
@click.option("--database", metavar="NAME", help="The database asked about; the first configured if left out.")
@click.option("--language", type=click.Choice(["zh", "en"]), help="The prompt's language.")
def prompt(question: str, config: str | None, database: str | None, language: str | None) -> None:
    """Print the prompt that would be sent for QUESTION, and its token estimate."""
    from gateway.tools import prompt

    sys.exit(prompt.run(_settings(config), question, click.echo, database=database, language=language))


@main.command(name="eval", context_settings={"ignore_unknown_options": True})
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@config_option
@click.option("--provider", "names", multiple=True, metavar="NAME", help="May be given several times.")
@click.option("--database", metavar="NAME", help="The database asked; the first configured if left out.")
@click.option(
    "--out", type=click.Path(file_okay=False), default="eval", show_default=True, help="Report, plot, progress."
)
def evaluate(file: str, config: str | None, names: tuple[str, ...], database: str | None, out: str) -> None:
    """Ask every question of FILE (JSON lines) of each provider, and compare the rows with the expected ones."""
    from gateway.tools import evaluation

    sys.exit(evaluation.run(_settings(config), Path(file), names, Path(out), click.echo, database=database))


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False)
@click.pass_context
def upstream(context: click.Context) -> None:
    """A scripted upstream that speaks every wire, with faults on demand; `sluice upstream --help` lists them."""
    from providers import scripted

    sys.exit(scripted.main(context.args))


if __name__ == "__main__":
    main()
