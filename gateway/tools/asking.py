"""`sluice ask` and `sluice chat`: a running gateway is asked, and the answer is shown as it streams."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import requests

from gateway.printable import printable
from gateway.tools.command_options import fail, settings_of
from gateway.tools.terminal import PRINTERS, Reading

# Turns of a conversation that are sent with the next question, and the longest answer kept of one.
MAX_TURNS = 20
MAX_ANSWER_CHARACTERS = 8000


class Target:
    """A running gateway, and how it is asked. `fields` are sent with every question."""

    def __init__(self, url: str | None, config: str | None, key: str | None, **fields: str | None) -> None:
        self.url = (url or _own_url(config)).rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            fail(f"--url: must begin with http:// or https://, got {printable(self.url)[:100]}", 2)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.fields = {name: value for name, value in fields.items() if value is not None}

    def ask(self, question: str, form: str = "text", history: list[dict[str, str]] | None = None) -> requests.Response:
        """The reply, its head read; where there is none, one sentence and an exit."""
        body: dict[str, Any] = {"question": question} | self.fields
        if history:
            body["history"] = history
        headers = self.headers | {"Accept": PRINTERS[form].accept}
        try:
            return requests.post(f"{self.url}/getAnwser", json=body, headers=headers, stream=True, timeout=(5, None))
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError):
            fail("--url: must be an address such as http://127.0.0.1:9001", 2)
        except requests.exceptions.SSLError:
            fail(f"{self.url}: its certificate is not accepted, or it does not speak TLS", 1)
        except requests.exceptions.Timeout:
            fail(f"{self.url}: no answer within 5 s; is the address right?", 1)
        except requests.RequestException:
            fail(f"no server answers on {self.url}; start it with `sluice serve`", 1)

    def stop(self, answer_id: str) -> None:
        """Stop an answer that is no longer wanted; a server that has gone needs no telling."""
        try:
            requests.delete(f"{self.url}/answers/{answer_id}", headers=self.headers, timeout=5)
        except requests.RequestException:
            return


def _own_url(config: str | None) -> str:
    """The address of the configuration's own server, as this machine reaches it."""
    bind = settings_of(config).server.bind
    if bind.startswith("unix:"):
        fail("--url: is needed, because the server listens on a unix socket", 2)
    host, _, port = bind.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{port}"  # noqa: S104 - not bound, asked


def ask(target: Target, question: str, form: str, *, goes_on: bool, thinking: bool) -> int:
    """Ask one question; returns the exit code. `goes_on`: with the turns of the last one."""
    if question == "-":
        question = sys.stdin.read().strip()
        if not question:
            fail("question: standard input is empty", 2)
    turns = Turns.read() if goes_on else Turns([])
    try:
        with target.ask(question, form, turns.turns) as reply:
            if reply.status_code >= 400:
                message, code = error_of(reply)
                fail(message, 2 if code == "bad_request" else 1)
            if form != "text":
                exit_code = PRINTERS[form].show(_reads(reply))
                if reply.headers.get("X-Rows-Truncated") == "true":
                    click.echo("sluice: there are more rows than these, they were cut off", err=True)
                return exit_code
            reading = Reading(thinking)
            exit_code = reading.show(_reads(reply))
    except requests.RequestException:
        fail("the connection ended before the answer did", 1)
    except KeyboardInterrupt:
        return 1
    turns.add(question, reading.text)
    turns.write()
    return exit_code


def chat(target: Target, *, thinking: bool) -> int:
    """Ask line by line, each question with the turns before it; Ctrl-C stops an answer, Ctrl-D ends."""
    turns = Turns([])
    if sys.stdin.isatty():
        click.echo("Ask; Ctrl-C stops an answer, Ctrl-D ends.", err=True)
    while True:
        try:
            question = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo(err=True)
            return 0
        if not question:
            continue
        reading = Reading(thinking)
        with target.ask(question, history=turns.turns) as reply:
            if reply.status_code >= 400:
                click.echo(f"sluice: {error_of(reply)[0]}", err=True)
                continue
            try:
                reading.show(_reads(reply))
            except KeyboardInterrupt:
                target.stop(reading.id)
                click.echo("\n(stopped)", err=True)
            except requests.RequestException:
                click.echo("\nsluice: the connection ended before the answer did", err=True)
        turns.add(question, reading.text)
        turns.write()


def _reads(reply: requests.Response) -> Iterator[bytes]:
    while data := reply.raw.read1(65536):
        yield data


def error_of(reply: requests.Response) -> tuple[str, str]:
    """The sentence of a failed reply with its code, and the code."""
    try:
        error = reply.json()["error"]
        return f"{printable(str(error['message']))} ({printable(str(error['code']))})", str(error["code"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {reply.status_code} without saying why", ""


class Turns:
    """Questions and answers of a conversation; the last one is kept for `sluice ask -c`, readable by its user alone."""

    def __init__(self, turns: list[dict[str, str]]) -> None:
        self.turns = turns

    @staticmethod
    def file() -> Path:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return Path(base) / "sluice" / "conversation.json"

    @classmethod
    def read(cls) -> Turns:
        """The last conversation; an empty one where there is none."""
        try:
            turns = json.loads(cls.file().read_text("utf-8"))
            return cls([{"question": str(turn["question"]), "answer": str(turn["answer"])} for turn in turns])
        except (OSError, ValueError, TypeError, KeyError):
            return cls([])

    def add(self, question: str, answer: str) -> None:
        # U+0000 would be refused in the next question's history.
        answer = answer.replace("\0", "")[:MAX_ANSWER_CHARACTERS]
        if answer.strip():
            self.turns = [*self.turns, {"question": question, "answer": answer}][-MAX_TURNS:]

    def write(self) -> None:
        """Keep it; a folder that cannot be written is no reason to fail."""
        file = self.file()
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as kept:
                json.dump(self.turns, kept, ensure_ascii=False)
        except OSError:
            return
