"""Reading the configuration: the file, its variables, its sections, its paths; and the one this process runs with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from gateway.settings.cures import cured, is_elsewhere
from gateway.settings.document import Document
from gateway.settings.problems import Problem, SettingsError, may_be_secret, reason_both, shown_both
from gateway.settings.sections import Settings
from gateway.settings.translation import at, each, problems
from prompts import example_store

DEFAULT_FILE = "sluice.yaml"

# Variables that may be unset: a provider without its secret is listed as unavailable.
OPTIONAL = ("api_key", "secret_key")

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

# The configuration that this process runs with: the master sets it and forks its workers, which read no file.
_running: Settings | None = None


def running() -> Settings | None:
    """The configuration that this process runs with, if it was set."""
    return _running


def run_with(settings: Settings) -> None:
    """Make `settings` what this process, and those that it forks, run with."""
    global _running
    _running = settings


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in `path` (or $SLUICE_CONFIG, or sluice.yaml).

    Raises SettingsError, one sentence a problem, each with the key's path and its line.
    """
    file = Path(path or environ.get("SLUICE_CONFIG") or DEFAULT_FILE)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SettingsError(
            [Problem("", "unreadable", {"reason": reason_both(error.strerror or "an error")})], str(file)
        ) from None
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError([Problem("", "not_utf8", {"got": _encoding(data)}, line)], str(file)) from None
    document = Document(text)
    if document.problems:
        raise SettingsError(document.problems, str(file))
    if not isinstance(document.data, dict):
        problem = Problem("", "not_a_mapping", {"got": shown_both(document.data)})
        if character := document.full_width(1):
            problem = Problem("", "yaml_full_width", {"character": character}, 1)
        raise SettingsError([problem], str(file))
    try:
        settings = parse(document.data, folder=file.resolve().parent, environ=environ)
    except SettingsError as error:
        problems_with_cures = cured(each(error.problems, document.line), document, Settings)
        raise SettingsError(problems_with_cures, str(file)) from None
    return settings


def parse(raw: dict[str, Any], folder: Path = Path("."), environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the file's content; raises SettingsError as `load` does, without lines."""
    unset: list[Problem] = []
    secrets: list[Problem] = []
    filled = _fill(raw, environ, (), unset, secrets)
    # A section whose keys are all commented out is an absent one.
    # What other sections refer to by an alias stands in sections of its own, x-….
    filled = {key: value for key, value in filled.items() if value is not None and not key.startswith("x-")}
    try:
        settings = Settings.model_validate(filled)
    except ValidationError as error:
        # A value that is missing because its variable is not set is one problem, not two.
        keys = {one.key for one in unset}
        remaining = [one for one in problems(error, raw, Settings) if one.key not in keys]
        raise SettingsError(unset + remaining) from None
    settings.folder = folder
    for one in secrets:
        name, _, key = one.key.removeprefix("providers.").partition(".")
        settings.providers[name].note_unset(key, one.values["name"])
    keys = {one.key for one in unset}
    if wrong := unset + [_discreet(one, raw) for one in settings.problems() if one.key not in keys]:
        raise SettingsError(wrong)
    _resolve_paths(settings, folder)
    if wrong := [*_unusable_examples(settings), *_unusable_connections(settings)]:
        raise SettingsError(wrong)
    return settings


def _fill(
    value: Any, environ: Mapping[str, str], path: tuple[str, ...], unset: list[Problem], secrets: list[Problem]
) -> Any:
    """`value` with its ${VAR}s replaced; an unset one makes a provider unavailable (`secrets`), or is a problem."""
    if isinstance(value, dict):
        return {str(key): _fill(item, environ, (*path, str(key)), unset, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environ, (*path, str(n)), unset, secrets) for n, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    if is_elsewhere(value):
        unset.append(Problem(".".join(path), "variable_form"))
        return value

    def replaced(match: re.Match[str]) -> str:
        name, default = match.groups()
        if environ.get(name):
            return environ[name]
        if default is None:
            of_a_provider = path[:1] == ("providers",) and (
                path[-1] in OPTIONAL or path[2:3] in (("headers",), ("query",))
            )
            (secrets if of_a_provider else unset).append(Problem(".".join(path), "unset_variable", {"name": name}))
        return default or ""

    return _VARIABLE.sub(replaced, value)


def _discreet(problem: Problem, written: Any) -> Problem:
    """The problem without a value that came from the environment, or that may be a secret."""
    if "name" not in problem.values:
        return problem
    try:
        source = at(written, tuple(problem.key.split(".")))
    except KeyError:
        return problem
    if isinstance(source, str) and (found := _VARIABLE.search(source)):
        name = f"${{{found[1]}}}"
    elif may_be_secret(problem.values["name"]):
        name = "…"
    else:
        return problem
    return Problem(problem.key, problem.kind, problem.values | {"name": name}, problem.line)


def _encoding(data: bytes) -> tuple[str, str]:
    """What a file that is not UTF-8 may be, in English and in Chinese."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16", " UTF-16"
    try:
        data.decode("gb18030")
    except UnicodeDecodeError:
        return "other bytes", "别的编码"
    return "GBK", " GBK"


def _unusable_examples(settings: Settings) -> list[Problem]:
    """A file of examples that cannot be read, a memory that cannot be opened: else each question would fail."""
    unusable = []
    for name, database in settings.databases.items():
        if database.examples:
            try:
                example_store.load(database.examples)
            except example_store.BadExamples as error:
                reason = error.reason.split("\n")[0]
                unusable.append(Problem(f"databases.{name}.examples", "unreadable", {"reason": reason_both(reason)}))
        if database.memory and (words := example_store.unusable(database.memory)):
            unusable.append(Problem(f"databases.{name}.memory", "unreadable", {"reason": reason_both(words)}))
    return unusable


def _unusable_connections(settings: Settings) -> list[Problem]:
    """Certificates that cannot be read, and a proxy of the environment that is not spoken: each question would fail."""
    unusable = []
    for provider_name, provider in settings.providers.items():
        row, tls = f"providers.{provider_name}", provider.tls
        if (tls.ca or tls.cert or tls.key) and (wrong := unusable_tls(tls.ca, tls.cert, tls.key)):
            key, reason = wrong
            unusable.append(Problem(f"{row}.tls.{key}", "unreadable", {"reason": reason}))
        if provider.proxy == "env":
            names = {f"{url.partition(':')[0].lower()}_proxy" for url in provider.base_url}
            named = [value for name, value in os.environ.items() if name.lower() in names]
            if socks := next((proxy for proxy in named if proxy.lower().startswith("socks")), ""):
                got = f"{socks.partition(':')[0]}://{urlsplit(socks).hostname}"
                unusable.append(Problem(f"{row}.proxy", "socks", {"got": got}))
    return unusable


def unusable_tls(ca: str, cert: str, key: str) -> tuple[str, str] | None:
    """(the key of `tls` whose file is wrong, why), or None. Without `ssl`, for gevent patches it first."""
    for name, path, mark in (("ca", ca, "CERTIFICATE"), ("cert", cert, "CERTIFICATE"), ("key", key, "PRIVATE KEY")):
        if not path:
            continue
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            return name, "there is no such file" if isinstance(
                error, FileNotFoundError
            ) else "the file cannot be opened"
        if b"-----BEGIN " not in text or mark.encode() not in text:
            return name, f"the file has no {mark.lower()} in PEM"
    return ("cert", "it is missing, and the key alone says nothing") if key and not cert else None


def _resolve_paths(settings: Settings, folder: Path) -> None:
    """Make relative paths absolute: SQLite files, and local models that are a folder there."""
    for database in settings.databases.values():
        from sqlalchemy import make_url

        url = make_url(database.url)
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            database.url = url.set(database=str(folder / url.database)).render_as_string(hide_password=False)
        if database.examples:
            database.examples = str(folder / database.examples)
        if database.memory:
            database.memory = str(folder / database.memory)
    for provider in settings.providers.values():
        for name in ("ca", "cert", "key"):
            if path := getattr(provider.tls, name):
                setattr(provider.tls, name, str(folder / path))
        if provider.type == "local" and (folder / provider.model).exists():
            provider.model = str(folder / provider.model)
