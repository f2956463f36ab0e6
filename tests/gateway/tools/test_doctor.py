"""`sluice doctor` against a scripted upstream: what it finds, what it advises, and its exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from gateway.settings import parse
from gateway.tools import doctor
from providers.scripted import Upstream
from providers.scripted.plan import MEANINGS
from tests.ports import free_port
from tests.upstream.faults import CANARIES, HOSTED
from tests.upstream.services import END, HELLO, service

# Only what says nothing has to be waited for to the end.
PATIENT = {"connect": 2, "first_token": 10, "idle": 10, "total": 20}
SILENT = {"connect": 2, "first_token": 0.4, "idle": 0.4, "total": 3}


@pytest.fixture(scope="module")
def upstream():
    with Upstream(pace_s=0.004) as running:
        yield running


def provider(upstream: Upstream, wire: str = "openai", plan: str = "", **more: Any) -> dict[str, Any]:
    model = f"m@{plan}" if plan else "m"
    base_url = upstream.base_url(wire)
    timeouts = SILENT if plan.startswith(("hang", "silence")) else PATIENT
    told = {"type": wire, "model": model, "base_url": base_url, "retries": 0, "timeouts": timeouts, **CANARIES}
    return told | more


def diagnosed(*names: str, **providers: dict[str, Any]) -> tuple[int, str]:
    """The exit code, and what was printed, without colours."""
    settings = parse({"default": next(iter(providers)), "providers": providers}, environ={})
    lines: list[str] = []
    code = doctor.run(settings, lines.append, names=names)
    return code, re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))


@pytest.mark.parametrize("wire", HOSTED)
def test_a_provider_that_is_well_passes_every_check(wire, upstream):
    code, told = diagnosed(well=provider(upstream, wire))
    assert code == 0
    for what in ("reachable", "key accepted", "model exists", "answers", "streams", "first token", "ends"):
        assert f"✓ {what}" in told
    assert "12 + 9 = 21 tokens" in told
    assert re.search(r"\d+ pieces over \d+\.\d\d s", told)
    assert "1 of 1 answers." in told


@pytest.mark.parametrize(
    ("plan", "stopped_at", "advice"),
    [
        ("fail=auth", "key accepted", "providers.ill.api_key: complete"),
        ("fail=model", "model exists", "providers.ill.model (m@fail=model)"),
        ("fail=quota", "answers", "quota"),
        ("fail=rate", "answers", "fallbacks"),
        ("fail=bad", "answers", "providers.ill.defaults"),
        ("html=200", "answers", "login page"),
        ("cut", "answers", "broke off"),
        ("hang=head", "answers", "providers.ill.timeouts.first_token"),
        ("hang=between", "answers", "providers.ill.timeouts.idle"),
        ("drop=head", "reachable", "providers.ill.base_url"),
    ],
)
def test_a_failure_says_where_it_stopped_and_what_to_do(plan, stopped_at, advice, upstream):
    code, told = diagnosed(ill=provider(upstream, plan=plan))
    assert code == 1
    assert f"✗ {stopped_at}" in told
    assert advice in told.partition("→")[2]
    assert told.count("✗") == 1


def test_nobody_listening_is_not_reachable(upstream):
    code, told = diagnosed(gone=provider(upstream, base_url=f"http://127.0.0.1:{free_port()}/v1"))
    assert code == 1
    assert "✗ reachable" in told and "✓" not in told


def test_a_page_in_place_of_a_reply_says_nothing_about_key_or_model(upstream):
    _, told = diagnosed(ill=provider(upstream, plan="html=200"))
    assert "✓ reachable" in told
    assert "key accepted" not in told and "model exists" not in told


def test_a_reply_in_one_block_and_without_usage_is_remarked_and_no_failure(upstream):
    code, told = diagnosed(block=provider(upstream, plan="onewrite,nousage"))
    assert code == 0
    assert re.search(r"! streams +in one block", told)
    assert re.search(r"! usage reported +no", told)


def test_a_provider_without_its_secret_is_no_failure_unless_it_is_the_default(upstream):
    bare = {"type": "qianfan", "model": "m"}
    code, told = diagnosed(well=provider(upstream), bare=bare)
    assert code == 0
    assert "providers.bare.api_key is not set" in told
    assert "1 of 2 answers, 1 without its secret." in told


def test_only_the_named_provider_is_asked(upstream):
    upstream.forget()
    code, told = diagnosed("one", one=provider(upstream, model="named"), two=provider(upstream, model="other"))
    assert code == 0
    assert {asked.model for asked in upstream.asked} == {"named"}
    assert "two" not in told


def test_an_unknown_name_is_a_wrong_use_told_on_standard_error(upstream, capsys):
    code, told = diagnosed("three", one=provider(upstream))
    complaint = capsys.readouterr().err
    assert (code, told) == (2, "")
    assert '"three"' in complaint and "one" in complaint


def test_every_meaning_of_a_failure_has_its_advice_and_shows_no_secret(upstream):
    providers = {meaning: provider(upstream, plan=f"fail={meaning}") for meaning in MEANINGS}
    code, told = diagnosed(**providers)
    assert code == 1
    assert told.count("→") == len(MEANINGS)
    assert not [secret for secret in CANARIES.values() if secret in told]


def test_a_model_that_only_sends_text_as_it_comes_gets_its_own_advice(upstream):
    settings = parse({"default": "q", "providers": {"q": provider(upstream, "dashscope")}}, environ={})
    from providers.errors import Rejected

    message = "This model only supports incremental_output set to True."
    sentence = doctor.what_to_do("q", settings.providers["q"], Rejected(message))
    assert sentence == "This model only sends text as it comes: set providers.q.incremental_output to true."


def test_every_code_of_a_provider_has_an_advice():
    from providers import errors

    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert codes - {"upstream_timeout"} <= set(doctor.ADVICE)


def test_a_vendors_client_that_waits_is_interrupted_by_the_deadline(upstream, tmp_path):
    file = tmp_path / "sluice.yaml"
    mute = provider(upstream, "dashscope", "silence", transport="sdk")
    file.write_text(json.dumps({"default": "mute", "providers": {"mute": mute}}), encoding="utf-8")
    command = [sys.executable, "-m", "gateway.cli", "doctor", "--config", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    assert "providers.mute.timeouts.idle" in told.stdout, told.stderr


def test_databases_are_asked_too_and_their_roles_judged(upstream, tmp_path):
    from demo.metro import build

    build.build(tmp_path / "metro.db")
    told = {"default": "well", "providers": {"well": provider(upstream)}}
    lines: list[str] = []
    good = {"url": f"sqlite:///{tmp_path / 'metro.db'}", "tables": ["dtzpt", "nowhere"]}
    assert doctor.run(parse(told | {"databases": {"metro": good}}, environ={}), lines.append) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))
    assert re.search(r"metro  sqlite\n  ✓ reachable\n  ✓ role +can only read\n  ✓ tables +1: dtzpt", text)
    assert "! tables          there is no nowhere" in text
    gone = {"url": "postgresql://reader@127.0.0.1:1/shop"}
    lines.clear()
    assert doctor.run(parse(told | {"databases": {"gone": gone}}, environ={}), lines.append) == 1
    assert "the database cannot be reached" in "\n".join(lines) and "refused" in "\n".join(lines)


# -- what it finds by itself, with the line to add


@pytest.mark.parametrize("tag", ["</think>", "</THINK>", "[/THINK]", "◁/think▷", "<unused95>", "<|end_of_thought|>"])
def test_a_thought_in_the_text_is_told_with_the_line_to_add(tag, upstream):
    upstream.plan_next("", text=f"The user wants to count. {tag} One, two.")
    code, told = diagnosed(thinks=provider(upstream))
    assert code == 0
    assert f"! thinking        the text holds {tag}" in told
    assert "Add to providers.thinks: think_tags: true" in told


def test_a_thought_that_is_split_off_is_not_told(upstream):
    upstream.plan_next("", text="<think>The user wants to count.</think>One, two.")
    assert "thinking" not in diagnosed(thinks=provider(upstream))[1]


@pytest.mark.parametrize("path", ["", "/v3", "/v1/chat", "/api"])
def test_a_wrong_path_is_an_address_and_says_nothing_about_the_key(path, upstream):
    code, told = diagnosed(lost=provider(upstream, base_url=upstream.url + path))
    assert code == 1
    assert "✗ reachable" in told and "key accepted" not in told and "model exists" not in told
    assert "providers.lost.base_url must end where" in told


def test_an_address_with_the_whole_path_is_put_right(upstream):
    code, told = diagnosed(whole=provider(upstream, base_url=f"{upstream.url}/v1/chat/completions"))
    assert code == 0 and "✓ answers" in told


@pytest.mark.parametrize("wire", HOSTED)
def test_no_money_is_told_as_what_it_is_on_every_wire(wire, upstream):
    code, told = diagnosed(poor=provider(upstream, wire, plan="fail=quota"))
    assert code == 1 and "(upstream_quota)" in told
    assert "quota" in told.partition("→")[2]


@pytest.mark.parametrize("wire", HOSTED)
def test_nothing_is_ticked_before_the_key_was_accepted(wire, upstream):
    code, told = diagnosed(locked=provider(upstream, wire, plan="fail=auth"))
    assert code == 1 and "✗ key accepted" in told
    assert "✓ key accepted" not in told and "✓ model exists" not in told and "✓ answers" not in told


REFUSED = {
    "temperature": ("temperature is not supported with this model", "drop: [temperature]"),
    "max_tokens": (
        "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "rename: {max_tokens: max_completion_tokens}",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_parameter_is_told_with_the_line_to_add(name):
    sentence, line = REFUSED[name]
    with service([lambda body, *_: sentence if name in body else ""], 200, HELLO + END) as (address, accepted):
        code, told = diagnosed(picky={"type": "openai", "model": "m", "base_url": address, "retries": 0})
    assert code == 0 and len(accepted) == 1
    assert f"Add to providers.picky: {line}" in told
