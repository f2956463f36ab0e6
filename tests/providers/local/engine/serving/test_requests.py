from __future__ import annotations

import pytest

from providers.errors import Rejected
from providers.local.engine.serving.requests import sampling
from providers.local.wire import Ask
from providers.sampling import split

MAKERS = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05}


@pytest.mark.parametrize(
    ("asked", "generation", "expected"),
    [
        ({}, {}, {"temperature": 1.0, "top_k": 0, "top_p": 1.0}),
        ({}, MAKERS, {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05}),
        ({"temperature": 0.0, "top_k": -1}, MAKERS, {"temperature": 0.0, "top_k": 0, "top_p": 0.95}),
        ({}, {"do_sample": False, "temperature": 0.6}, {"temperature": 0.0}),
        ({}, {"do_sample": True, "top_k": 20.0}, {"top_k": 20}),
        ({}, {"eos_token_id": 1}, {"temperature": 0.0}),
        ({"temperature": 0.5}, {"do_sample": False}, {"temperature": 0.5}),
        ({"seed": 7, "logprobs": 2}, {}, {"seed": 7, "logprobs": 2}),
    ],
)
def test_the_request_goes_before_what_the_models_makers_say(asked, generation, expected):
    parameters, others = split(asked)
    how = sampling(Ask(0, 0, [], parameters, **others), generation)
    assert {name: getattr(how, name) for name in expected} == expected


@pytest.mark.parametrize("asked", [{"logprobs": 100_000}, {"logprobs": -1}, {"logprobs": 21}])
def test_log_probabilities_have_a_range(asked):
    with pytest.raises(Rejected, match="logprobs"):
        sampling(Ask(0, 0, [], **asked), {})


def test_without_a_seed_every_request_has_its_own():
    assert sampling(Ask(0, 0, []), {}).seed != sampling(Ask(0, 0, []), {}).seed
