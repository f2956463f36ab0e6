"""The command `sluice`. Exit codes: 0 good, 1 the work failed, 2 used wrongly; errors go to standard error.

What takes long to import is imported by the commands: an interrupt meanwhile is click's to answer, with one word.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway import __version__
from gateway.tools.command_options import config_option, fail, json_option, settings_of
from gateway.tools.keys_command import keys
from gateway.tools.spoken import begin, speak, spoken

FORMS = ["text", "sse", "ndjson", "json", "csv"]
# providers.catalogue has them; they are here so that help needs no import of it.
TYPES = ["openai", "dashscope", "dashscope_compatible", "dashscope_app", "qianfan", "ernie", "local"]


class Commands(click.Group):
    """The commands, in the language of the terminal."""

    def main(self, *args: Any, **more: Any) -> Any:
        if begin():
            speak(self)
        return super().main(*args, **more)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sluice")
def main() -> None:
    """A streaming gateway between a product and its language models."""


main.add_command(keys)


@main.command()
@config_option
@click.option("--bind", metavar="HOST:PORT", help="Listen here, whatever the configuration says.")
def serve(config: str | None, bind: str | None) -> None:
    """Serve: gunicorn with gevent workers, and the engine where a local provider is configured.

    Example: sluice serve --bind 127.0.0.1:9001
    """
    from gateway.settings import DEFAULT_FILE

    path = Path(config or os.environ.get("SLUICE_CONFIG") or DEFAULT_FILE).resolve()
    os.environ["SLUICE_CONFIG"] = str(path)
    settings = settings_of(str(path))
    if bind:
        settings.server.bind = bind
        os.environ["SLUICE_BIND"] = bind
        if problems := settings.problems():
            fail("; ".join(map(str, problems)), 2)
    from gateway.server import master

    if trouble := _not_free(settings.server.bind):
        fail(spoken("cannot listen on {}: {}", settings.server.bind, trouble), 1)
    master.master()


@main.command()
@click.argument("folder", default="sluice-demo", type=click.Path(file_okay=False, path_type=Path))
@click.option("--bind", metavar="HOST:PORT", help="Listen here instead of 127.0.0.1:9001.")
@click.pass_context
def demo(context: click.Context, folder: Path, bind: str | None) -> None:
    """Make the demo in FOLDER (its database, a configuration) and serve it.

    Example: sluice demo my-demo --bind 127.0.0.1:9100
    """
    from gateway.tools.demo import Missing, prepare

    try:
        configuration = prepare(folder.resolve())
    except Missing as error:
        click.echo(f"sluice: {error}", err=True)
        sys.exit(1)
    said = spoken("the demo is in {}; edit {} to go on from it", folder, folder / "sluice.yaml")
    click.echo(f"sluice: {said}", err=True)
    context.invoke(serve, config=str(configuration), bind=bind)


def _not_free(bind: str) -> str | None:
    """Why nothing can listen on `bind`: gunicorn would try for five seconds, with the engine started beside it."""
    from gateway.server.master import parsed_address

    address = parsed_address(bind)
    if address is None:
        fail(spoken("{}: expected HOST:PORT, with an IPv6 host in brackets ([::1]:9001)", bind), 2)
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
@json_option
def check(config: str | None, as_json: bool) -> None:
    """Judge the configuration as at start; asks no network.

    Example: sluice check --config sluice.yaml --json
    """
    from gateway.tools import checking

    sys.exit(checking.run(config, click.echo, as_json=as_json))


def _asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `ask` and `chat`."""
    for option in (
        click.option("--thinking", is_flag=True, help="Show the model's reasoning too, dim."),
        click.option("--key", envvar="SLUICE_KEY", metavar="KEY", help="Your key, where one is needed; $SLUICE_KEY."),
        click.option("--database", metavar="NAME", help="The database that is asked; none: a plain chat."),
        click.option("--provider", metavar="NAME", help="The provider that answers; the default if left out."),
        click.option("--url", metavar="URL", help="A running Sluice; this configuration's if left out."),
        config_option,
    ):
        command = option(command)
    return command


@main.command(name="providers")
@click.argument("name", required=False)
def services(name: str | None) -> None:
    """Services that a row of `providers:` fits as it is shipped; with a NAME, the lines to paste."""
    from providers.services import SERVICES, table

    if name is None:
        click.echo(table())
        click.echo("\n" + spoken("The lines for one of them: sluice providers NAME"))
        return
    service = SERVICES.get(name)
    if service is None:
        raise click.UsageError(spoken("NAME: must be one of {}, got {}", ", ".join(SERVICES), name))
    click.echo(f"# {service.title}; refuses: {service.refuses}\nproviders:\n{service.snippet()}", nl=False)


@main.command()
@click.argument("question")
@_asking
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True, help="How it is shown.")
@click.option("-c", "--continue", "goes_on", is_flag=True, help="Go on from the last question.")
def ask(
    question: str,
    config: str | None,
    url: str | None,
    key: str | None,
    form: str,
    goes_on: bool,
    thinking: bool,
    **fields: str | None,
) -> None:
    """Ask a running Sluice, and print the answer as it streams. QUESTION may be -: standard input.

    Example: sluice ask "How many stations has line 2?" --database metro
    """
    from gateway.tools import asking

    sys.exit(asking.ask(asking.Target(url, config, key, **fields), question, form, goes_on=goes_on, thinking=thinking))


@main.command()
@_asking
def chat(config: str | None, url: str | None, key: str | None, thinking: bool, **fields: str | None) -> None:
    """Talk with a running Sluice: each question comes with the turns before it.

    Example: sluice chat --provider qwen --database none
    """
    from gateway.tools import asking

    sys.exit(asking.chat(asking.Target(url, config, key, **fields), thinking=thinking))


@main.command()
@click.option("--file", "file", default="sluice.yaml", show_default=True, metavar="FILE", help="Where it is written.")
@click.option("--type", "kind", type=click.Choice(TYPES), metavar="WIRE", help="How the model's service speaks.")
@click.option("--model", metavar="NAME", help="The model, as its service calls it; of local, its folder.")
@click.option("--base-url", metavar="URL", help="Where the service is, if not at its usual address.")
@click.option("--api-key", metavar="VARIABLE", help="The environment variable that holds the key.")
@click.option("--database", metavar="URL", help='A database to ask, such as "sqlite:///shop.db".')
@click.option("--bind", metavar="HOST:PORT", default="127.0.0.1:9001", show_default=True, help="Where to listen.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(file: str, force: bool, **chosen: str | None) -> None:
    """Write a first configuration: asks what is not given as an option.

    Example: sluice init --type openai --model qwen --base-url http://gpu1:8000/v1 --database ""
    """
    from gateway.settings import SettingsError, language, load
    from gateway.tools.first_file import EXAMPLES, Answers, text

    if Path(file).exists() and not force:
        fail(spoken("{}: is there already; --force replaces it", file), 2)
    asks = sys.stdin.isatty()

    def answer(name: str, question: str, default: str) -> str:
        value = chosen[name]
        return value if value is not None else click.prompt(question, default=default) if asks else default

    kind = chosen["kind"] or answer("kind", spoken("Type of the model's service ({})", ", ".join(TYPES)), "openai")
    if kind not in TYPES:
        fail(spoken("--type: must be one of {}", ", ".join(TYPES)), 2)
    model, variable = EXAMPLES[kind]
    answers = Answers(
        kind,
        answer("model", spoken("Model"), model),
        answer("base_url", spoken("Address of the service"), "http://127.0.0.1:8000/v1" if kind == "openai" else ""),
        answer("api_key", spoken("Environment variable with its key"), variable),
        answer("database", spoken("URL of a database to ask (empty: none)"), ""),
        chosen["bind"] or "",
    )
    before = Path(file).read_text("utf-8") if Path(file).exists() else None
    Path(file).write_text(text(answers), "utf-8")
    try:
        # A key that is not set yet is no mistake of the file.
        load(file, _Any())
    except SettingsError as error:
        if before is None:
            Path(file).unlink()
        else:
            Path(file).write_text(before, "utf-8")
        fail(error.text(language()), 2)
    said = spoken("{} is written; `sluice check` judges it, `sluice serve` starts it", file)
    click.echo(f"sluice: {said}", err=True)


class _Any(dict[str, str]):
    """An environment in which every variable is set."""

    def get(self, key: str, _default: Any = None, /) -> Any:
        return os.environ.get(key) or "set"

    def __getitem__(self, key: str) -> str:
        return str(self.get(key))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL.

    Example: sluice completion bash > ~/.local/share/bash-completion/completions/sluice
    """
    from click.shell_completion import get_completion_class

    shell_class = get_completion_class(shell)
    if shell_class is None:
        fail(spoken("shell: {} is not supported", shell), 2)
    click.echo(shell_class(main, {}, "sluice", "_SLUICE_COMPLETE").source())


@main.command()
@config_option
@click.option("--provider", "names", multiple=True, metavar="NAME", help="Only this one; may be given several times.")
@json_option
def doctor(config: str | None, names: tuple[str, ...], as_json: bool) -> None:
    """Really ask each provider something small, and say what came and what to do.

    Example: sluice doctor --provider qwen
    """
    from gevent import monkey

    # A vendor's client reads from sockets that block; only a patched one can be interrupted by a deadline.
    monkey.patch_all()
    from gateway.tools import doctor as doctors

    sys.exit(doctors.run(settings_of(config), click.echo, names=names, as_json=as_json))


@main.command()
@click.argument("question")
@config_option
@click.option("--database", metavar="NAME", help="The database asked about; the first configured if left out.")
@click.option("--language", type=click.Choice(["zh", "en"]), help="The prompt's language.")
def prompt(question: str, config: str | None, database: str | None, language: str | None) -> None:
    """Print the prompt that would be sent for QUESTION, and its token estimate.

    Example: sluice prompt "How many stations has line 2?" --language en
    """
    from gateway.tools import prompt

    sys.exit(prompt.run(settings_of(config), question, click.echo, database=database, language=language))


@main.command(name="eval", context_settings={"ignore_unknown_options": True})
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@config_option
@click.option("--provider", "names", multiple=True, metavar="NAME", help="May be given several times.")
@click.option("--database", metavar="NAME", help="The database asked; the first configured if left out.")
@click.option(
    "--out", type=click.Path(file_okay=False), default="eval", show_default=True, help="Report, plot, progress."
)
@json_option
def evaluate(
    file: str, config: str | None, names: tuple[str, ...], database: str | None, out: str, as_json: bool
) -> None:
    """Ask every question of FILE (JSON lines) of each provider, and compare the rows with the expected ones.

    Example: sluice eval questions.jsonl --provider qwen --provider local
    """
    from gateway.tools import evaluation

    sys.exit(
        evaluation.run(
            settings_of(config), Path(file), names, Path(out), click.echo, database=database, as_json=as_json
        )
    )


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False)
@click.pass_context
def upstream(context: click.Context) -> None:
    """A scripted upstream that speaks every wire, with faults on demand; `sluice upstream --help` lists them.

    Example: sluice upstream --port 9100 --plan cut=200
    """
    from providers import scripted

    if begin():
        speak(scripted.command)
    sys.exit(scripted.main(context.args))


if __name__ == "__main__":
    main()
