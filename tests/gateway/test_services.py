"""The twelve services as shipped, through a gateway: the page's route, OpenAI's, `sluice check`, `sluice doctor`."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import openai
import pytest
import yaml

from gateway.settings import parse
from gateway.tools import checking, doctor
from providers.services import SERVICES
from tests.gateway.live import Live
from tests.upstream.services import ERRORS, all_services, row

TEXT = "杭州，早"
MESSAGES: Any = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]
# What doctor says where a service has no money left, and so on: the beginning of its advice.
ADVICE = {
    "upstream_quota": "quota",
    "upstream_rate_limited": "fallbacks",
    "model_not_found": "model",
    "context_length": "too long",
    "bad_request": "defaults",
}


@pytest.fixture(scope="module")
def running():
    with all_services() as services:
        yield services


@pytest.fixture(scope="module")
def providers(running) -> dict[str, Any]:
    well = {name: row(name, f"{running.address}/{name}") for name in SERVICES}
    return well | {f"{name}-broke": row(name, f"{running.address}/{name}/broke") for name in SERVICES}


@pytest.fixture(scope="module")
def live(providers):
    with Live({"default": "deepseek", "providers": providers}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(api_key="none", base_url=f"{live.url}/v1", max_retries=0, timeout=30) as found:
        yield found


def asked(live: Live, provider: str, accept: str) -> httpx.Response:
    question = {"question": "hi", "provider": provider}
    return httpx.post(f"{live.url}/getAnwser", json=question, headers={"Accept": accept}, timeout=30)


@pytest.mark.parametrize("name", SERVICES)
def test_the_pages_route_asks_in_the_services_dialect(name, live, running):
    reply = asked(live, name, "application/json").json()
    assert (reply["answer"], reply["finish_reason"], reply["usage"]["total_tokens"]) == (TEXT, "stop", 7)
    events = asked(live, name, "text/event-stream").text
    texts = re.findall(r'^data: (\{"text":.*\})$', events, re.MULTILINE)
    assert "".join(json.loads(text)["text"] for text in texts) == TEXT
    assert events.count("event: done") == 1 and "event: failed" not in events
    assert running.refusals[name] == [] and running.accepted[name]


@pytest.mark.parametrize("name", SERVICES)
def test_openais_route_does_too(name, client, running):
    whole = client.chat.completions.create(model=name, messages=MESSAGES, temperature=0.5, max_tokens=64)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (TEXT, "stop")
    assert whole.usage.total_tokens == 7
    chunks = list(client.chat.completions.create(model=name, messages=MESSAGES, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert running.refusals[name] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_services_error_keeps_its_meaning_on_both_routes(name, live, client):
    code = ERRORS[name][2]
    assert asked(live, f"{name}-broke", "application/json").json()["error"]["code"] == code
    assert asked(live, f"{name}-broke", "text/event-stream").json()["error"]["code"] == code
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model=f"{name}-broke", messages=MESSAGES, stream=stream)
        assert caught.value.code == code


@pytest.mark.parametrize("name", SERVICES)
def test_check_takes_the_row_as_it_is_shipped(name, tmp_path, monkeypatch):
    written = yaml.safe_load(SERVICES[name].snippet())
    if variable := re.fullmatch(r"\$\{(\w+)\}", written[name].get("api_key", "")):
        monkeypatch.setenv(variable[1], "sk-service-key")
    file = tmp_path / "sluice.yaml"
    file.write_text(yaml.safe_dump({"default": name, "providers": written}), "utf-8")
    lines: list[str] = []
    assert checking.run(str(file), lines.append) == 0, lines
    assert "sk-service-key" not in "".join(map(str, lines))


def diagnosed(provider: str, providers: dict[str, Any]) -> tuple[int, str]:
    settings = parse({"default": provider, "providers": providers}, environ={})
    lines: list[str] = []
    code = doctor.run(settings, lines.append, names=(provider,))
    return code, re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))


@pytest.mark.parametrize("name", SERVICES)
def test_doctor_finds_the_shipped_row_well(name, providers, running):
    code, told = diagnosed(name, providers)
    assert code == 0, told
    for what in ("reachable", "model exists", "answers", "first token", "ends"):
        assert f"✓ {what}" in told
    assert "5 + 2 = 7 tokens" in told
    assert ("✓ key accepted" in told) == ("api_key" in providers[name])
    assert running.refusals[name] == []


@pytest.mark.parametrize("name", SERVICES)
def test_doctor_names_the_services_error_and_what_to_do(name, providers):
    code, told = diagnosed(f"{name}-broke", providers)
    assert code == 1 and told.count("✗") == 1
    assert f"({ERRORS[name][2]})" in told
    assert ADVICE[ERRORS[name][2]] in told.partition("→")[2]
    assert "sk-service-key" not in told
