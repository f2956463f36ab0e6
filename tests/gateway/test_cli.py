"""The command line as a person uses it: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gateway.printable import printable
from gateway.tools.terminal import (
    Reading,
    SqlColours,
    raw_events,
    raw_lines,
    raw_object,
    readable,
    table,
    width,
)
from tests.gateway.configurations import SAYS, configuration
from tests.gateway.live import Live
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
SECRET = "sk-canary-0123456789"


def sluice(*arguments, **environ):
    command = [sys.executable, "-m", "gateway.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.fixture(scope="module")
def live(upstream):
    upstream.says = SAYS
    with Live(configuration(upstream, {"cut": "cut", "busy": "fail=server"})) as running:
        yield running


COMMANDS = [
    *("", "serve", "demo", "ask", "chat", "init", "check", "doctor", "prompt", "eval", "upstream", "completion"),
    *("keys", "keys new", "keys list", "keys revoke"),
]


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command, flag):
    told = sluice(*command.split(), flag)
    assert told.returncode == 0
    assert "Usage: " in told.stdout
    assert "..." not in told.stdout.split("Options:")[0].partition("[ARGS]...")[2]
    if command not in ("", "upstream"):
        assert f"Example: sluice {command.split()[0]}" in " ".join(told.stdout.split())


def test_check_says_what_is_there_and_what_is_missing():
    told = sluice("check", DASHSCOPE_API_KEY="", QIANFAN_AK=SECRET, QIANFAN_SK=SECRET)
    assert told.returncode == 0
    assert "provider local (local, metro-sql, the default): ok" in told.stdout
    assert "provider qwen (dashscope, qwen-max-longcontext): unavailable: api_key (${" in told.stdout
    assert "provider ernie (ernie, completions_pro): ok" in told.stdout
    assert "database metro: dtzpt, lines, riders" in told.stdout
    assert SECRET not in told.stdout + told.stderr


def test_check_misses_the_folder_of_a_local_model(tmp_path):
    (tmp_path / "c.yaml").write_text("default: mine\nproviders: {mine: {type: local, model: ./nowhere}}")
    told = sluice("check", "--config", tmp_path / "c.yaml")
    assert told.returncode == 1
    assert "the default): unavailable: there is no folder ./nowhere" in told.stdout
    assert "default provider cannot answer" in told.stderr


def test_a_bad_configuration_is_used_wrongly_and_told_on_standard_error(tmp_path):
    (tmp_path / "c.yaml").write_text(f"default: q\nproviders: {{q: {{type: dashscope, api_key: {SECRET}, modle: m}}}}")
    told = sluice("check", "--config", tmp_path / "c.yaml")
    assert (told.returncode, told.stdout) == (2, "")
    assert "providers.q.modle: unknown key" in told.stderr
    assert SECRET not in told.stderr


def test_ask_prints_the_reply_as_a_person_reads_it(live):
    told = sluice("ask", "hello", "--url", live.url)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.strip()
    assert "event:" not in told.stdout


def test_ask_passes_the_other_forms_through(live):
    assert "event: done" in sluice("ask", "hello", "--url", live.url, "--format", "sse").stdout
    whole = sluice("ask", "hello", "--url", live.url, "--format", "json").stdout
    assert json.loads(whole)["finish_reason"] == "stop"
    assert whole.endswith("}\n")
    lines = sluice("ask", "hello", "--url", live.url, "--format", "ndjson").stdout.splitlines()
    assert json.loads(lines[-1])["done"] is True


@pytest.mark.parametrize("cut", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("last", "code"), [('{"content":"ab","done":true}\n', 0), ('{"content":"ab"}\n', 1), ('{"content":"ab","do', 1)]
)
def test_lines_are_passed_through_however_their_bytes_come(cut, last, code, capsysbinary):
    told = f'\n{{"content":"a"}}\n\n{last}'.encode()
    assert raw_lines(told[at : at + cut] for at in range(0, len(told), cut)) == code
    assert capsysbinary.readouterr().out == told


@pytest.mark.parametrize("form", ["text", "ndjson", "json", "sse"])
def test_an_answer_that_failed_is_exit_code_1_in_every_form(live, form):
    told = sluice("ask", "hello", "--url", live.url, "--provider", "cut", "--format", form)
    assert told.returncode == 1
    assert "truncated" in told.stdout + told.stderr


def test_rows_alone_come_as_csv_and_an_answer_without_any_is_a_failure(live):
    told = sluice("ask", "hello", "--url", live.url, "--format", "csv")
    assert (told.returncode, told.stdout, told.stderr) == (
        1,
        "",
        "sluice: rows: the answer has none, it has no statement (not_found)\n",
    )


def test_what_an_evaluation_or_a_prompt_cannot_use_is_told_in_a_sentence_on_standard_error(tmp_path):
    (tmp_path / "cases.jsonl").write_bytes(b"\xff")
    for command in (["eval", tmp_path / "cases.jsonl"], ["prompt", "x", "--database", "nope"]):
        told = sluice(*command)
        assert (told.returncode, told.stdout, told.stderr.count("\n")) == (2, "", 1)
        assert told.stderr.startswith("sluice: ")


def test_a_refused_question_is_told_in_a_sentence(live):
    told = sluice("ask", "hello", "--url", live.url, "--provider", "nobody")
    assert (told.returncode, told.stdout) == (2, "")
    assert "provider" in told.stderr
    assert told.stderr.count("\n") == 1
    told = sluice("ask", "hello", "--url", live.url, "--provider", "busy")
    assert told.returncode == 1
    assert "(upstream_error)" in told.stderr


def test_an_address_that_is_in_use_is_told_in_a_sentence_before_anything_is_started():
    with socket.create_server(("127.0.0.1", 0)) as other:
        told = sluice("serve", "--bind", f"127.0.0.1:{other.getsockname()[1]}")
    assert (told.returncode, told.stdout) == (1, "")
    assert "Address already in use" in told.stderr
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("bind", ["::1:9100", "127.0.0.1:99999", "127.0.0.1:port", "[::1:9100"])
def test_an_address_that_is_none_is_told_in_a_sentence(bind):
    told = sluice("serve", "--bind", bind)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == f"sluice: {bind}: expected HOST:PORT, with an IPv6 host in brackets ([::1]:9001)\n"


def test_nobody_there_is_told_in_a_sentence():
    told = sluice("ask", "hello", "--url", f"http://127.0.0.1:{free_port()}")
    assert told.returncode == 1
    assert "start it with `sluice serve`" in told.stderr
    assert "Traceback" not in told.stderr


def test_prompt_prints_what_would_be_sent_without_asking():
    told = sluice("prompt", "沈塘桥地铁站的信息")
    assert told.returncode == 0
    assert "dtzpt" in told.stdout
    assert "地铁站点" in told.stdout
    assert "沈塘桥地铁站的信息" in told.stdout
    assert "token" in told.stdout


def test_a_table_lines_up_in_chinese_too():
    drawn = table(["站名", "n"], [["沈塘桥", 1], ["A", None], ["", 12]])
    assert drawn == "站名       n\n──────  ────\n沈塘桥     1\nA       NULL\n          12\n"
    assert {width(line) for line in drawn.splitlines()} == {12}


def test_a_table_is_folded_into_the_terminal():
    drawn = table(["name", "text"], [["a", "站" * 30], ["b", "x" * 50]], 40)
    assert max(width(line) for line in drawn.splitlines()) <= 40
    assert "".join(line[6:].strip() for line in drawn.splitlines()[2:4]) == "站" * 30


HOSTILE = "hi \x1b]52;c;ZXZpbA==\x07 \x1b]0;owned\x07 \x9b31m \u202e\x7f"
SHOWN = "hi \\x1b]52;c;ZXZpbA==\\x07 \\x1b]0;owned\\x07 \\x9b31m \\u202e\\x7f"


def test_nothing_steers_the_terminal():
    assert printable(HOSTILE) == SHOWN
    assert printable("a\tb\n站") == "a\tb\n站"
    drawn = table([f"a{HOSTILE}"], [[f"b\n{HOSTILE}"]])
    assert "\x1b" not in drawn and "\\x1b]52" in drawn and "b\\nhi" in drawn
    events = [
        {"event": "start", "data": {"id": "i"}},
        {"event": "message", "data": {"text": HOSTILE}},
        {"event": "sql", "data": {"ok": False, "reason": HOSTILE, "final": True}},
        {"event": "failed", "data": {"message": HOSTILE, "code": "x"}},
    ]
    sent = "".join(f"event: {one['event']}\ndata: {json.dumps(one['data'])}\n\n" for one in events).encode()
    probe = f"import gateway.tools.terminal as t; print(t.readable([{sent!r}]))"
    told = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\x1b" not in told.stdout + told.stderr and "\x9b" not in told.stdout + told.stderr
    assert told.stdout.count("\\x1b]52") == 2 and told.stderr.count("\\x1b]52") == 1


def test_keywords_of_sql_blocks_are_coloured_however_the_text_comes():
    text = "So:\n```sql\nSELECT a FROM t\n```\nselect this"
    for cut in (1, 3, 1000):
        colours = SqlColours(True)
        shown = "".join(colours.feed(text[at : at + cut]) for at in range(0, len(text), cut)) + colours.rest()
        assert click.unstyle(shown) == text
        assert shown.count("\x1b[36m") == 2
    assert SqlColours(False).feed(text) == text


def test_a_refused_statement_is_exit_code_1():
    def events(ok):
        sql = {"sql": "DROP TABLE t", "ok": ok, "reason": "no", "final": True}
        return f"event: sql\ndata: {json.dumps(sql)}\n\nevent: done\ndata: {{}}\n\n".encode()

    assert (readable([events(True)]), readable([events(False)])) == (0, 1)
    assert (raw_events([events(True)]), raw_events([events(False)])) == (0, 1)
    assert raw_lines([b'{"done":true,"sql":{"ok":false}}\n']) == 1
    assert raw_object([b'{"sql":{"ok":false}}']) == 1


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("nonsense", 2),
        ("http://", 2),
        ("http://[::1", 2),
        ("ftp://x", 2),
        ("http://a b", 2),
        ("https://127.0.0.1:PORT", 1),
    ],
)
def test_a_bad_url_is_one_sentence(live, url, code):
    told = sluice("ask", "hello", "--url", url.replace("PORT", str(live.port)))
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (code, "", 1)
    assert "Traceback" not in told.stderr


def test_a_question_may_come_from_standard_input_and_go_on(live, upstream, tmp_path):
    environ = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "gateway.cli", "ask", "--url", live.url]

    def ask(*arguments, text=""):
        return subprocess.run(
            [*command, *arguments],
            input=text,
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )

    ask("-", text="the first\n")
    ask("-c", "the second")
    messages = [message["content"] for message in upstream.asked[-1].body["messages"]]
    assert messages[-3:] == ["the first", SAYS, "the second"]
    kept = tmp_path / "sluice" / "conversation.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    ask("alone")
    assert [message["content"] for message in upstream.asked[-1].body["messages"]][-1:] == ["alone"]


def test_chat_sends_the_turns_before(live, upstream, tmp_path):
    command = [sys.executable, "-m", "gateway.cli", "chat", "--url", live.url]
    environ = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    told = subprocess.run(
        command, input="one\n\ntwo\n", cwd=ROOT, env=environ, capture_output=True, text=True, timeout=90, check=True
    )
    assert told.stdout.count(SAYS) == 2
    assert [message["content"] for message in upstream.asked[-1].body["messages"]][-3:] == ["one", SAYS, "two"]


def test_thinking_is_shown_when_it_is_wanted(capsys):
    sent = b'event: reasoning\ndata: {"text":"hm"}\n\ndata: {"text":"yes"}\n\nevent: done\ndata: {}\n\n'
    assert (Reading(thinking=True).show([sent]), capsys.readouterr().out) == (0, "hm\n\nyes\n")
    assert (Reading().show([sent]), capsys.readouterr().out) == (0, "yes\n")


@pytest.mark.parametrize(
    "options",
    [
        ["--type", "openai", "--model", "qwen", "--base-url", "http://gpu1:8000/v1"],
        ["--type", "dashscope", "--model", 'a "quoted" 名'],
        ["--type", "ernie"],
        ["--type", "qianfan", "--api-key", "MY_KEY"],
        ["--type", "dashscope_compatible", "--bind", "[::1]:9001"],
        ["--type", "openai", "--database", "postgresql://u@h/shop"],
        ["--type", "local", "--model", "owner/name", "--database", "sqlite:///x.db"],
    ],
)
def test_inits_file_is_one_that_check_likes(tmp_path, options):
    file = tmp_path / "sluice.yaml"
    assert sluice("init", "--file", file, *options).returncode == 0
    keys = dict.fromkeys(re.findall(r"\$\{(\w+)\}", file.read_text("utf-8")), "set")
    told = sluice("check", "--config", file, "--json", **keys)
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout)["ok"] is True
    again = sluice("init", "--file", file, *options)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


def test_inits_wrong_answers_leave_no_file(tmp_path):
    told = sluice("init", "--file", tmp_path / "a.yaml", "--type", "openai", "--base-url", "gpu1:8000")
    assert (told.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "providers.main.base_url: must begin with http://" in told.stderr


def test_check_and_doctor_speak_json(tmp_path):
    (tmp_path / "c.yaml").write_text("default: q\nproviders: {q: {type: dashscope, modle: m}}")
    told = sluice("check", "--config", tmp_path / "c.yaml", "--json")
    assert told.returncode == 2
    problems = json.loads(told.stdout)["problems"]
    assert {name: problems[0][name] for name in ("key", "line")} == {"key": "providers.q.modle", "line": 2}
    provider = "{type: openai, model: m, base_url: 'http://127.0.0.1:1/v1'}"
    (tmp_path / "d.yaml").write_text(f"default: q\nproviders: {{q: {provider}}}")
    told = sluice("doctor", "--config", tmp_path / "d.yaml", "--json")
    assert told.returncode == 1
    [provider] = json.loads(told.stdout)["providers"]
    assert (provider["ok"], provider["error"]["code"]) == (False, "upstream_connect")


def test_check_speaks_the_terminals_language(tmp_path):
    (tmp_path / "c.yaml").write_text("server: {workers: 0}\nproviders: {}\n")
    told = sluice("check", "--config", tmp_path / "c.yaml", LC_ALL="zh_CN.UTF-8")
    assert "server.workers：应为至少 1，实际是 0（第 1 行）" in told.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_the_commands(shell):
    assert "_SLUICE_COMPLETE" in sluice("completion", shell).stdout


def test_the_command_has_begun_before_anything_takes_long_to_import():
    """So that an interrupt while it starts is answered by it, and not by a traceback."""
    probe = "import sys, gateway.cli; print({'gevent', 'pydantic', 'sqlalchemy', 'flask', 'requests'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True) == "set()\n"
