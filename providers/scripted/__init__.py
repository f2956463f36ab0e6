"""A scripted upstream: a real server that speaks every hosted wire, with faults on demand, and needs no key.

sluice upstream --port 9100
providers:
  qwen: {type: dashscope, model: "qwen-plus@cut=200", api_key: any, base_url: "http://127.0.0.1:9100/api/v1"}
"""

from __future__ import annotations

import threading

import click

from providers.scripted.plan import WORDS, UnknownWord, parse
from providers.scripted.server import BASES, Upstream

__all__ = ["Upstream", "main"]


def _faults(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        rows = []
        for name, word in WORDS.items():
            choices = word.takes if "|" in word.takes else ""
            written = f"{name}=…" if choices else f"{name}={word.takes}" if word.takes else name
            rows.append((written, word.does + (f": {choices.replace('|', ', ')}" if choices else "")))
        formatter = click.HelpFormatter(width=100)
        formatter.write_dl(rows)
        click.echo(formatter.getvalue(), nl=False)
        context.exit()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=9100, show_default=True, help="0: one that is free.")
@click.option("--key", default="", help="The one key that is accepted; any if left out.")
@click.option("--pace", default=0.03, show_default=True, help="Seconds between two events.")
@click.option("--plan", default="", help='What every request meets, such as "fail=rate,retry=2"; see --faults.')
@click.option("--text", default="", help="What it says.")
@click.option(
    "--faults", is_flag=True, is_eager=True, expose_value=False, callback=_faults, help="List the words of a plan."
)
def command(host: str, port: int, key: str, pace: float, plan: str, text: str) -> None:
    """A scripted upstream that speaks every wire, to try a provider's faults without a key.

    A plan stands behind an @ in the model's name (qwen-plus@cut=120), or is set beforehand: for every request with
    --plan, for the next ones with POST /-/plans. GET /-/asked tells who asked, and which connections are open.
    """
    try:
        parse(plan)
    except UnknownWord as error:
        raise click.UsageError(str(error)) from None
    try:
        upstream = Upstream(host, port, key=key, pace_s=pace, plan=plan, text=text)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    upstream.log = lambda line: click.echo(f"asked: {line}")
    click.echo(f"A scripted upstream on {upstream.url}. As a provider in sluice.yaml:\n")
    for wire in BASES:
        secret = ", secret_key: any" if wire == "ernie" else ""
        click.echo(f'  {{type: {wire}, model: any, api_key: any{secret}, base_url: "{upstream.base_url(wire)}"}}')
    click.echo('\nAdd a fault behind the model\'s name, such as "any@cut=200"; --faults lists them. Ctrl-C ends it.')
    with upstream:
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo()


def main(arguments: list[str] | None = None) -> int:
    """The command `sluice upstream`; returns its exit code."""
    try:
        command.main(arguments, prog_name="sluice upstream", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    return 0
