from __future__ import annotations

import pytest

from providers.errors import Rejected
from providers.local.engine.sequence import Sequence
from providers.local.engine.serving.requests import sampling
from providers.local.wire import PARAMETERS, Ask
from providers.sampling import NAMES, OFF, Sampling, whole
from tests.providers.local.engine.running import a_loop, asking, run

MESSAGES = [{"role": "user", "content": "x"}]
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
        ({"seed": 7}, {}, {"seed": 7}),
        ({"presence_penalty": 0.5}, {"frequency_penalty": 1.5}, {"presence_penalty": 0.5, "frequency_penalty": 1.5}),
    ],
)
def test_the_request_goes_before_what_the_models_makers_say(asked, generation, expected):
    how = sampling(Ask(0, 0, [], Sampling(**asked)), generation)
    drawn_by = Sequence((0, 0), [1], 1, how).numbers | {"seed": how.seed}
    assert {name: drawn_by[name] for name in expected} == expected


@pytest.mark.parametrize("name", OFF)
def test_a_number_out_of_its_range_is_refused(name):
    with pytest.raises(Rejected, match=f"^{name}: must be in .*, got -3"):
        sampling(Ask(0, 0, [], Sampling(**{name: -3})), {})


@pytest.mark.parametrize("logprobs", [100_000, -1, 21])
def test_log_probabilities_have_a_range(models, logprobs):
    (answer,) = run(a_loop(models["qwen2"][0]), [asking("x", logprobs=logprobs)])
    assert answer.failed.message == f"logprobs: must be in [0, 20], got {logprobs}"


ANOTHER = {"max_tokens": 3, "seed": 9, "stop": ("zz",)}
"""A value of each parameter that is no line of the sampler."""


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_reaches_the_sequence(models, name):
    """A new one fails here until it is `_drawn` or has its place in requests.py; till then it is in no PARAMETERS."""
    assert name in PARAMETERS
    loop = a_loop(models["qwen2"][0])
    value = ANOTHER[name] if name in ANOTHER else OFF[name] + 0.5 if not whole(name) else 7
    if name in ("top_p", "min_p"):
        value = 0.5
    made = {}
    for number, parameters in enumerate(({}, {name: value})):
        loop.preprocessing.begin((0, number), Ask(0, number, MESSAGES, Sampling(**parameters)))
        loop.preprocessing.settle()
        made[number] = loop.preprocessing.take((0, number))
    sequence = made[1]
    if name in OFF:
        assert sequence.numbers == made[0].numbers | {name: value} and made[0].numbers[name] != value
    elif name == "max_tokens":
        assert sequence.max_new_tokens == 3 != made[0].max_new_tokens
    elif name == "seed":
        assert sequence.sampling.seed == 9 != made[0].sampling.seed
    else:
        assert sequence.output.stops.push("a zz b") == ("a ", True)


def test_without_a_seed_every_request_has_its_own():
    assert sampling(Ask(0, 0, []), {}).seed != sampling(Ask(0, 0, []), {}).seed
