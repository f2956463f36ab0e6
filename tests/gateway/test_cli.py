"""The command line as a person uses it: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.tools.terminal import raw_lines, table, width
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


@pytest.mark.parametrize("command", ["", "serve", "ask", "check", "doctor", "prompt", "eval", "upstream"])
def test_every_command_explains_itself(command):
    told = sluice(*command.split(), "--help")
    assert told.returncode == 0
    assert "Usage: " in told.stdout


def test_check_says_what_is_there_and_what_is_missing():
    told = sluice("check", DASHSCOPE_API_KEY="", QIANFAN_AK=SECRET, QIANFAN_SK=SECRET)
    assert told.returncode == 0
    assert "provider local (local, metro-sql, the default): ok" in told.stdout
    assert "provider qwen (dashscope, qwen-max-longcontext): unavailable: api_key not set" in told.stdout
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
        "sluice: the answer has no rows: it has no statement (not_found)\n",
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
    drawn = table(["站名", "n"], [["沈塘桥", 1], ["A", None]])
    assert {width(line.partition("n")[0]) for line in drawn.splitlines()[:1]} == {8}
    assert drawn == "站名    n\n──────  ─\n沈塘桥  1\nA\n"


def test_the_command_has_begun_before_anything_takes_long_to_import():
    """So that an interrupt while it starts is answered by it, and not by a traceback."""
    probe = "import sys, gateway.cli; print({'gevent', 'pydantic', 'sqlalchemy', 'flask', 'requests'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True) == "set()\n"
