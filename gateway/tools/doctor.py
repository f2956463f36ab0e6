"""`sluice doctor`: asks each provider something small, and prints for a person what came and what to do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import click
import gevent

from gateway.settings import Settings
from gateway.settings.problems import hint, shown
from providers import Providers
from providers.catalogue import WIRES
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.delta import Usage
from providers.errors import ProviderError, TimedOut
from providers.sampling import Sampling
from providers.stream.thought_tags import HARMONY, TAG

Echo = Callable[[str], object]

QUESTION = "Count from one to thirty in words, separated by commas."
MAX_TOKENS = 96
# A reply that comes within so short a time came in one block, however many pieces it has.
ONE_BLOCK_S = 0.01
FEW_PIECES = 3

# The step at which a failure with this code stopped; for other codes a reply came that was not an answer.
STEPS = ("reachable", "key accepted", "model exists", "answers")
STOPPED_AT = {
    "upstream_connect": "reachable",
    "engine_died": "reachable",
    "engine_timeout": "reachable",
    "overloaded": "reachable",
    "upstream_auth": "key accepted",
    "model_not_found": "model exists",
}
# A service that fails with one of these has checked the key and the model.
JUDGED = ("bad_request", "context_length", "moderation")
ADVICE = {
    "upstream_connect": "Look at {key}.base_url and at the way there: the name, a firewall, a proxy ({key}.proxy).",
    "upstream_auth": "Look at {secrets}: complete, of this region, not expired, and allowed to do this?",
    "model_not_found": "Look at {key}.model ({model}): is it spelt as the service spells it, and may this key use it?",
    "upstream_quota": "The account is in arrears or its quota is used up: settle that where the key was bought.",
    "upstream_rate_limited": "It is asked too fast: wait, buy a higher rate, or name another provider in `fallbacks`.",
    "bad_request": "It refuses a parameter; what is sent beside the question stands in {key}.defaults and {key}.extra.",
    "context_length": "Even a short question is too long for it: a system prompt or {key}.extra may be adding to it.",
    "moderation": "The service's moderation refuses a harmless question; only the service can change that.",
    "upstream_error": "The service itself has failed: try again in a minute, and look at its status page.",
    "upstream_protocol": "What answers there is not this API: does {key}.base_url lead to it, or to a login page?",
    "upstream_too_large": "Raise {key}.max_event_bytes or .max_answer_bytes, if so long an answer is wanted.",
    "truncated": "The answer broke off: a proxy in between may cut long responses, or the service was restarted.",
    "overloaded": "The engine is busy with other questions: wait, or raise {key}.max_batch and .max_queue.",
    "engine_died": "The engine does not stay up: is {key}.model ({model}) there, and does it fit into memory?",
    "engine_timeout": "The engine did nothing for too long: lower {key}.max_batch, or give it a faster device.",
}
SLOW = {
    "connect": "Nothing answered in {limit:g} s: look at {key}.base_url, a firewall, or raise {key}.timeouts.connect.",
    "first_token": "No token came in {limit:g} s: a model that thinks first needs a higher {key}.timeouts.first_token.",
    "idle": "It fell silent for {limit:g} s: something in between may buffer; or raise {key}.timeouts.idle.",
    "total": "It was not done in {limit:g} s: raise {key}.timeouts.total.",
}


@dataclass
class Finding:
    """What came when one provider was asked. `pieces` holds the seconds from the question to each batch of text."""

    name: str
    pieces: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage | None = None
    adjusted: list[str] = field(default_factory=list)
    text: str = ""
    failure: ProviderError | None = None
    missing: str = ""

    @property
    def well(self) -> bool:
        return not self.missing and self.failure is None


def run(settings: Settings, echo: Echo, names: Sequence[str] = (), *, as_json: bool = False) -> int:
    """Ask the providers of `settings`, or those of `names`, and print what was found.

    Returns 0 if all that can be asked answer, 1 if one does not or the default cannot be asked, 2 for an unknown name.
    """
    for name in names:
        if name not in settings.providers:
            click.echo(f"sluice: {unknown('provider', name, settings.providers)}", err=True)
            return 2
    wanted = list(names or settings.providers)
    providers = Providers(settings.providers, settings.default)
    findings = []
    try:
        with engines(settings, wanted):
            asking = [gevent.spawn(ask, providers, name, settings.providers[name]) for name in wanted]
            for greenlet in asking:
                finding = greenlet.get()
                findings.append(finding)
                for line in (
                    ()
                    if as_json
                    else report(finding, settings.providers[finding.name], finding.name == settings.default)
                ):
                    echo(line)
    finally:
        providers.close()
    # With --provider the databases and Redis are not checked.
    if as_json:
        beside = [] if names else [*checked_databases(settings), *checked_redis(settings)]
        rows = [as_row(finding, settings.providers[finding.name]) for finding in findings]
        echo(json.dumps({"providers": rows, "beside": beside}, ensure_ascii=False, indent=2))
        ill = sum(not row["ok"] for row in beside)
    else:
        ill = 0 if names else databases(settings, echo) + redis(settings, echo)
        echo(summary(findings))
    return int(ill > 0 or any(not one.well and (not one.missing or one.name == settings.default) for one in findings))


def as_row(finding: Finding, configuration: ProviderConfiguration) -> dict[str, Any]:
    """One provider's finding for a program."""
    failure = finding.failure
    return {
        "name": finding.name,
        "type": configuration.type,
        "model": configuration.shown_model,
        "ok": finding.well,
        "missing": finding.missing or None,
        "first_token_ms": round(finding.pieces[0] * 1000, 1) if finding.pieces else None,
        "pieces": len(finding.pieces),
        "finish_reason": finding.finish_reason,
        "usage": finding.usage.as_dict() if finding.usage else None,
        "error": None if failure is None else {"code": failure.code, "message": failure.message},
        "advice": None if failure is None else what_to_do(finding.name, configuration, failure),
    }


def checked_databases(settings: Settings) -> Iterator[dict[str, Any]]:
    """Each database's finding for a program."""
    from gateway.tools import doctor_databases

    for name, lines, well in doctor_databases.examined(settings):
        details = [f"{what}: {detail}" if detail else what for mark, what, detail in lines if mark != "✓"]
        yield {"what": "database", "name": click.unstyle(name).split()[0], "ok": well, "details": details}


def checked_redis(settings: Settings) -> Iterator[dict[str, Any]]:
    """Redis' finding for a program, where the configuration names one."""
    if url := settings.server.redis_url:
        reason = _redis_reason(url)
        yield {"what": "redis", "name": "redis", "ok": reason is None, "details": [reason] if reason else []}


def _redis_reason(url: str) -> str | None:
    """Why Redis does not answer; nothing of its address, which may hold a password."""
    import redis as client

    try:
        with client.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as connection:
            connection.ping()
    except (client.RedisError, OSError) as error:
        return f"does not answer ({type(error).__name__})"
    return None


def redis(settings: Settings, echo: Echo) -> int:
    """Ask Redis too, where the configuration names one; returns how many do not answer."""
    for finding in checked_redis(settings):
        echo("")
        echo(click.style("redis", bold=True))
        echo(line("✓", "reachable") if finding["ok"] else line("✗", "reachable", finding["details"][0]))
        if not finding["ok"]:
            echo(advice("Look at server.redis_url: the address, the password, a firewall; is Redis running?"))
        return int(not finding["ok"])
    return 0


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence about a name on the command line that is not configured."""
    return f"{what}: unknown {what} {shown(name)}; {hint(name, known)[0]}"


def databases(settings: Settings, echo: Echo) -> int:
    """Ask each database too; returns how many cannot be asked."""
    from gateway.tools import doctor_databases

    ill = 0
    for heading, lines, well in doctor_databases.examined(settings):
        ill += not well
        echo("")
        echo(heading)
        for mark, what, detail in lines:
            echo(advice(what) if mark == "→" else line(mark, what, detail))
    return ill


@contextlib.contextmanager
def engines(settings: Settings, names: Sequence[str]) -> Iterator[None]:
    """The engines of the providers that are answered by a process of ours, for as long as they are asked."""
    own = {name: settings.providers[name] for name in names if WIRES[settings.providers[name].type].own_process}
    if not own:
        yield
        return
    from gateway.server.children import Children, run_dir

    inherited = os.environ.get("SLUICE_RUN_DIR")
    folder = run_dir()
    only = settings.model_copy(update={"providers": own, "server": settings.server.model_copy()})
    only.server.metrics_bind = None
    children = Children()
    try:
        children.follow(only)
        yield
    finally:
        children.stop()
        if not inherited:
            shutil.rmtree(folder, ignore_errors=True)


def ask(providers: Providers, name: str, configuration: ProviderConfiguration) -> Finding:
    """Ask one provider, as a question would be: with its defaults, its retries and its deadlines."""
    finding = Finding(name)
    if configuration.missing_secrets:
        finding.missing = " and ".join(f"providers.{name}.{secret}" for secret in configuration.missing_secrets)
        return finding
    try:
        if WIRES[configuration.type].own_process:
            # Loading the model is not the first token's time.
            for _ in providers.stream(ChatRequest([{"role": "user", "content": "1"}], Sampling(max_tokens=1)), name):
                pass
        # As /getAnwser asks: a service that refuses temperature 0 shows itself here.
        temperature = 0.0 if configuration.default_sampling.temperature is None else None
        sampling = Sampling(temperature=temperature, max_tokens=MAX_TOKENS)
        stream = providers.stream(ChatRequest([{"role": "user", "content": QUESTION}], sampling), name)
        began = time.monotonic()
        for batch in stream:
            finding.text += "".join(delta.text for delta in batch)
            if any(delta.text or delta.reasoning for delta in batch):
                finding.pieces.append(time.monotonic() - began)
            finding.finish_reason, finding.usage = batch[-1].finish_reason, batch[-1].usage
        finding.adjusted = stream.parameter_changes
    except ProviderError as error:
        finding.failure = error
    return finding


def report(finding: Finding, configuration: ProviderConfiguration, default: bool) -> Iterator[str]:
    """The lines about one provider."""
    place = f" · {urlsplit(configuration.base_url[0]).hostname}" if configuration.base_url else ""
    mark = " · default" if default else ""
    yield ""
    yield click.style(finding.name, bold=True) + click.style(
        f"  {configuration.type} · {configuration.shown_model}{place}{mark}", dim=True
    )
    if finding.missing:
        yield line("–", "not asked", f"{finding.missing} {'are' if ' and ' in finding.missing else 'is'} not set")
        if default:
            yield advice("It is the default provider: set it, or make another one the default.")
        return
    if finding.failure:
        yield from failed(finding, configuration)
    else:
        yield from answered(finding, configuration)


def failed(finding: Finding, configuration: ProviderConfiguration) -> Iterator[str]:
    """What was found until the failure, the failure, and what to do."""
    failure = finding.failure
    assert failure is not None
    stopped_at = STOPPED_AT.get(failure.code, "answers")
    if isinstance(failure, TimedOut) and failure.deadline == "connect":
        stopped_at = "reachable"
    if _wrong_address(failure):
        stopped_at = "reachable"
    # An error in general does not tell whether the key and the model were ever looked at.
    got_in = stopped_at != "answers" or finding.pieces or failure.code in JUDGED
    for step in steps(configuration)[: None if got_in else 1]:
        if step == stopped_at:
            break
        yield line("✓", step)
    if finding.pieces:
        yield line("✓", "first token", f"{finding.pieces[0] * 1000:.0f} ms")
    yield line("✗", stopped_at, f"{failure.message} ({failure.code})")
    yield advice(what_to_do(finding.name, configuration, failure))


def _wrong_address(failure: ProviderError) -> bool:
    """Whether a 404 speaks of an address rather than of a model: then the key was not looked at."""
    named = re.search(r"model|deployment|\bname\b", failure.message, re.IGNORECASE)
    return failure.code == "model_not_found" and (not named or "or address" in failure.message)


def steps(configuration: ProviderConfiguration) -> list[str]:
    """The steps of one provider: where no key is sent, none is accepted."""
    return [step for step in STEPS if step != "key accepted" or configuration.api_key]


def what_to_do(name: str, configuration: ProviderConfiguration, failure: ProviderError) -> str:
    """One plain sentence for a person."""
    key = f"providers.{name}"
    if isinstance(failure, TimedOut):
        return SLOW[failure.deadline].format(key=key, limit=getattr(configuration.timeouts, failure.deadline))
    if _wrong_address(failure):
        return f"Nothing is served there: {key}.base_url must end where the service's documents say, often in /v1."
    if "incremental_output" in failure.message and not configuration.incremental_output:
        return f"This model only sends text as it comes: set {key}.incremental_output to true."
    secrets = " and ".join(f"{key}.{secret}" for secret in WIRES[configuration.type].secrets) or f"{key}.api_key"
    return ADVICE[failure.code].format(key=key, secrets=secrets, model=configuration.shown_model)


def answered(finding: Finding, configuration: ProviderConfiguration) -> Iterator[str]:
    """What a complete answer tells about a provider."""
    for step in steps(configuration):
        yield line("✓", step)
    pieces, spread_s = len(finding.pieces), finding.pieces[-1] - finding.pieces[0] if finding.pieces else 0.0
    if not pieces:
        yield line("!", "streams", "the answer was empty")
    elif pieces < FEW_PIECES or spread_s < ONE_BLOCK_S:
        yield line("!", "streams", "in one block")
        yield advice("Something on the way may buffer (a proxy), or this model sends its answer whole.")
    else:
        yield line("✓", "streams", f"{pieces} pieces over {spread_s:.2f} s")
    if pieces:
        yield line("✓", "first token", f"{finding.pieces[0] * 1000:.0f} ms")
    usage = finding.usage
    if usage:
        counted = f"{usage.prompt_tokens} + {usage.completion_tokens} = {usage.total_tokens} tokens"
        yield line("✓", "usage reported", counted)
    else:
        yield line("!", "usage reported", "no")
    yield line("✓", "ends", finding.finish_reason or "")
    yield from _lines_to_add(finding)


def _lines_to_add(finding: Finding) -> Iterator[str]:
    """What the row of this provider should say, so that no question has to find it out."""
    key = f"providers.{finding.name}"
    for sentence in finding.adjusted:
        yield line("!", "adjusted", sentence)
        name, _, rest = sentence.partition(" ")
        if rest == "dropped: the service refused it":
            yield advice(f"Add to {key}: drop: [{name}]")
        elif found := re.fullmatch(r"role (\w+) sent as (\w+)", sentence):
            yield advice(f"Add to {key}: roles: {{{found[1]}: {found[2]}}}")
        elif rest.startswith("sent as "):
            yield advice(f"Add to {key}: rename: {{{name}: {rest.removeprefix('sent as ')}}}")
    if tag := TAG.search(finding.text) or HARMONY.search(finding.text):
        yield line("!", "thinking", f"the text holds {tag[0]}")
        yield advice(f"Its template opens the thought in the prompt. Add to {key}: think_tags: true")


COLOURS = {"✓": "green", "✗": "red", "!": "yellow", "–": "yellow"}


def line(mark: str, what: str, detail: str = "") -> str:
    return f"  {click.style(mark, fg=COLOURS[mark])} {what:<15} {detail}".rstrip()


def advice(sentence: str) -> str:
    return f"    → {sentence}"


def summary(found: Sequence[Finding]) -> str:
    """One line for all."""
    well, missing = sum(one.well for one in found), sum(bool(one.missing) for one in found)
    parts = [f"{well} of {len(found)} {'answers' if well == 1 else 'answer'}"]
    if missing:
        parts.append(f"{missing} without {'its secret' if missing == 1 else 'their secrets'}")
    return "\n" + ", ".join(parts) + "."
