"""Each sampling parameter on each wire is sent, refused or reported: none vanishes. The names come from `Sampling`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.catalogue import WIRES
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import Rejected
from providers.sampling import NAMES
from providers.wires.fitting import MISSED
from tests.cases import SECRETS

HOSTED = [name for name in WIRES if name != "local"]
# A value that no other member of a request has, in range on every wire.
VALUES: dict[str, Any] = {
    "temperature": 0.625, "top_p": 0.8125, "top_k": 37, "min_p": 0.0625, "max_tokens": 1237, "seed": 4099,
    "stop": ("ENDE",), "repetition_penalty": 1.1875, "presence_penalty": 0.3125, "frequency_penalty": 0.4375,
}  # fmt: skip


def adapter(wire: str, **row: Any) -> Any:
    configuration = ProviderConfiguration(type=wire, model="m", base_url="http://x", **SECRETS, **row)
    return WIRES[wire].load().Adapter(configuration, "p")


def asking(**members: Any) -> ChatRequest:
    return ChatRequest.of([{"role": "user", "content": "hi"}], **members)


def test_each_parameter_has_a_value_to_look_for():
    assert set(VALUES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wire", HOSTED)
def test_a_sampling_parameter_is_sent_refused_or_reported(wire, name):
    request, asked = asking(**{name: VALUES[name]}), adapter(wire)
    sent = json.dumps(list(VALUES[name]) if name == "stop" else VALUES[name]) in json.dumps(asked.body(request))
    reported = [change for change in asked.parameter_changes(request) if change.startswith(name)]
    try:
        asked.check(request)
        refused = ""
    except Rejected as error:
        refused = error.message
        assert refused.startswith(f"{name}:")
    assert [sent, bool(reported), bool(refused)].count(True) == 1, (sent, reported, refused)


@pytest.mark.parametrize("name", sorted(MISSED))
@pytest.mark.parametrize("wire", HOSTED)
def test_what_shapes_the_answer_is_passed_on_or_refused(wire, name):
    request, asked = asking(extra={name: {"type": "object", "a": 1}}), adapter(wire)
    if asked.passes_unknown:
        asked.check(request)
        assert asked.body(request)[name] == {"type": "object", "a": 1}
        return
    with pytest.raises(Rejected, match=f"^{name}: "):
        asked.check(request)
    # Nothing was asked for.
    asked.check(asking(extra={name: None}))


@pytest.mark.parametrize("wire", HOSTED)
def test_another_member_that_a_wire_lacks_is_passed_on_or_reported(wire):
    request, asked = asking(extra={"unheard_of": 77123}), adapter(wire)
    asked.check(request)
    sent = "77123" in json.dumps(asked.body(request))
    reported = any(change.startswith("unheard_of dropped") for change in asked.parameter_changes(request))
    assert sent != reported
