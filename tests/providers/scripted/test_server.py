"""The scripted upstream as a server: who is let in, what is told about it, and that it can be trusted as a judge."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from providers import Providers
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import QuotaExceeded
from providers.scripted import Upstream, command, main
from providers.scripted.server import BASES
from tests.reliability.rig import at_most
from tests.waiting import eventually

MESSAGES = [{"role": "user", "content": "hi"}]
TOKEN = "/oauth/2.0/token?grant_type=client_credentials&client_id=a&client_secret=b"


@pytest.fixture
def upstream():
    with Upstream() as running:
        yield running


def post(upstream: Upstream, wire: str, model: str = "m", key: str = "k", **more: Any) -> requests.Response:
    """One question as each service wants it."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body: dict[str, Any] = {"model": model, "messages": MESSAGES, "stream": True, **more}
    path = "/chat/completions"
    if wire == "dashscope":
        path, headers["X-DashScope-SSE"] = "/services/aigc/text-generation/generation", "enable"
        body = {"model": model, "input": {"messages": MESSAGES}, "parameters": more}
    if wire == "dashscope_app":
        path, headers["X-DashScope-SSE"] = f"/apps/{model}/completion", "enable"
        body = {"input": {"prompt": "hi"}, "parameters": more, "debug": {}}
    if wire == "ernie":
        token = requests.post(upstream.url + TOKEN, timeout=5).json()["access_token"]
        path = f"/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/{model}?access_token={token}"
        body.pop("model")
    return requests.post(upstream.base_url(wire) + path, json=body, headers=headers, timeout=5)


@pytest.mark.parametrize("wire", BASES)
def test_each_wire_streams(wire, upstream):
    reply = post(upstream, wire)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert "你好" in reply.content.decode()
    assert [asked.wire for asked in upstream.asked] == [wire]


def test_dashscope_sends_all_the_text_so_far_unless_told_otherwise(upstream):
    assert post(upstream, "dashscope").content.decode().count("你好") == 10
    assert post(upstream, "dashscope", incremental_output=True).content.decode().count("你好") == 1


@pytest.mark.parametrize("wire", ["dashscope", "dashscope_compatible", "qianfan", "openai"])
def test_only_the_right_key_is_let_in(wire):
    with Upstream(key="right") as upstream:
        assert "你好" in post(upstream, wire, key="right").content.decode()
        assert "你好" not in post(upstream, wire, key="wrong").content.decode()


@pytest.mark.parametrize(
    "broken",
    [
        {"messages": MESSAGES * 2},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"temperature": 0},
        {"penalty_score": 0.5},
        {"stop": ["a"] * 5},
        {"max_output_tokens": 1},
        {"max_tokens": 10},
    ],
    ids=str,
)
def test_ernie_refuses_what_the_service_refuses_and_says_so_with_a_200(broken, upstream):
    reply = post(upstream, "ernie", **broken)
    assert reply.status_code == 200
    assert reply.json()["error_code"] == 336003


def test_ernie_wants_a_token(upstream):
    path = "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/m"
    assert requests.post(upstream.url + path, json={"messages": MESSAGES}, timeout=5).json()["error_code"] == 110


def test_a_question_not_to_be_streamed_is_answered_whole(upstream):
    assert "message" in post(upstream, "openai", stream=False).json()["choices"][0]
    assert "result" in post(upstream, "ernie", stream=False).json()


def test_plans_set_beforehand_are_met_in_order_and_then_no_more(upstream):
    for plan in ("status=503", "fail=rate"):
        requests.post(f"{upstream.url}/-/plans", json={"plan": plan}, timeout=5)
    assert [post(upstream, "openai").status_code for _ in range(3)] == [503, 429, 200]


def test_a_plan_that_cannot_be_read_is_refused(upstream):
    assert requests.post(f"{upstream.url}/-/plans", json={"plan": "nonsense"}, timeout=5).status_code == 400
    for nonsense in ("plan", "[]", '{"times": "x"}', '{"plan": 1}'):
        assert requests.post(f"{upstream.url}/-/plans", data=nonsense, timeout=5).status_code == 400
    assert post(upstream, "openai", "m@nonsense").status_code == 400


def test_a_plan_may_say_what_is_said(upstream):
    upstream.plan_next("", text="SELECT 1")
    assert "SEL" in post(upstream, "openai").text


def test_the_ledger_tells_who_asked_and_forgets_when_told(upstream):
    post(upstream, "openai", "one")
    told = requests.get(f"{upstream.url}/-/asked", timeout=5).json()
    assert [asked["model"] for asked in told["asked"]] == ["one"]
    assert told["asked"][0]["body"]["messages"] == MESSAGES
    requests.delete(f"{upstream.url}/-/asked", timeout=5)
    assert upstream.asked == []


@pytest.mark.parametrize("plan", ["hang=head", "hang=between", "pace=5", "endless", "silence"])
def test_it_notices_at_once_that_its_client_left(plan, upstream):
    body = b'{"model": "m@%b", "stream": true, "messages": [{"role": "user", "content": "hi"}]}' % plan.encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection((upstream.host, upstream.port)) as sock:
        sock.sendall(head + body)
        assert upstream.wait_until(lambda: bool(upstream.ledger.asked))
        assert upstream.open_connections()
    left_at = time.monotonic()
    assert upstream.wait_until(lambda: not upstream.open_connections(), 2)
    connection = upstream.ledger.connections[0]
    assert connection.closed_by == "client"
    assert connection.closed_at is not None and connection.closed_at - left_at < at_most(0.2)


def test_closing_it_ends_its_threads_and_frees_its_port():
    threads = threading.active_count()
    upstream = Upstream()
    with socket.create_connection((upstream.host, upstream.port)):
        upstream.close()
    eventually(lambda: threading.active_count() <= threads, 5)
    Upstream(port=upstream.port).close()


def test_the_command_lists_the_words_of_a_plan():
    told = CliRunner().invoke(command, ["--faults"])
    assert told.exit_code == 0
    assert "accept, head, first, between, end" in told.output


def test_the_command_refuses_a_plan_that_it_cannot_read(capsys):
    assert main(["--plan", "nonsense"]) == 2
    assert main(["--port", "99999"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_the_command_serves_until_it_is_interrupted():
    code = "import sys; from providers.scripted import main; sys.exit(main(['--port', '0']))"
    with subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().split("on ")[1].split(". ")[0]
        assert requests.get(f"{url}/-/asked", timeout=5).json()["asked"] == []
        process.terminate()


def test_an_application_answers_by_its_id_and_refuses_what_a_model_takes(upstream):
    reply = post(upstream, "dashscope_app", "app-1", incremental_output=True)
    assert '"session_id":"s-1"' in reply.text and '"models":[{' in reply.text
    assert upstream.asked[0].model == "app-1"
    assert "InvalidParameter" in post(upstream, "dashscope_app", "app-1", temperature=0.5).text


def test_an_application_is_a_provider_like_any_other(upstream):
    row = {"type": "dashscope_app", "api_key": "k", "base_url": upstream.base_url("dashscope_app"), "retries": 0}
    providers = Providers(
        {"app": ProviderConfiguration(**row, model="a"), "ill": ProviderConfiguration(**row, model="a@fail=quota")},
        "app",
    )
    try:
        deltas = [delta for batch in providers.stream(ChatRequest.of(MESSAGES)) for delta in batch]
        assert "你好" in "".join(delta.text for delta in deltas)
        assert (deltas[-1].finish_reason, deltas[-1].usage.total_tokens) == ("stop", 21)
        with pytest.raises(QuotaExceeded):
            list(providers.stream(ChatRequest.of(MESSAGES), "ill"))
    finally:
        providers.close()
