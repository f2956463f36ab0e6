"""One place for a sampling parameter: a new one is a line in providers/sampling.py, and nothing else for most wires."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from gateway.answers import question
from gateway.decoding import BadQuestion
from providers.configuration import ProviderConfiguration
from providers.sampling import NAMES, Sampling, in_range, interval, split

ROOT = Path(__file__).parents[2]
BEFORE = "    temperature: "
DECLARED = f"""    wobble: Annotated[float, Meta(ge=0, le=3, description="A parameter of a test.")] | None = None
{BEFORE}"""
# Through the route's reader, the question, the configuration's defaults, the request, a wire and the engine's message.
PROBE = """
from gateway.answers.question import from_json
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.local.wire import Ask
from providers.sampling import Sampling
from providers.wires.openai import payload
import msgspec

asked = from_json(b'{"question": "hi", "wobble": 1.5}')
assert payload(asked.request([]), "m")["wobble"] == 1.5
row = ProviderConfiguration(type="openai", model="m", base_url="http://x", defaults={"wobble": 2.5})
assert Sampling().over(row.default_sampling).wobble == 2.5
sent = msgspec.msgpack.encode(Ask(1, 1, [], asked.sampling))
assert msgspec.msgpack.decode(sent, type=Ask).sampling.wobble == 1.5
for refused in (lambda: from_json(b'{"question": "hi", "wobble": 4}'),
                lambda: ProviderConfiguration(type="openai", model="m", base_url="http://x", defaults={"wobble": 4})):
    try:
        refused()
    except Exception as error:
        assert "wobble" in str(error), error
    else:
        raise AssertionError("4 is out of its range")
print("all of it")
"""


def in_a_copy(tmp_path: Path, declared: str, probe: str) -> str:
    """What `probe` prints where `declared` stands in providers/sampling.py, and nothing else is changed."""
    for folder in ("gateway", "providers", "prompts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    file = tmp_path / "providers" / "sampling.py"
    text = file.read_text("utf-8")
    assert text.count(BEFORE) == 1
    file.write_text(text.replace(BEFORE, declared), "utf-8")
    ran = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


def test_a_new_parameter_is_one_declaration(tmp_path):
    assert in_a_copy(tmp_path, DECLARED, PROBE) == "all of it\n"


LINE = f"""    wobble: Annotated[float, _drawn(1, "A parameter of a test.", ge=0, le=3)] | None = None
{BEFORE}"""
ENGINE = """
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.local.client import Adapter
from providers.local.engine.sequence import Sequence
from providers.sampling import Sampling

request = ChatRequest([], Sampling(wobble=1.5))
local = ProviderConfiguration(type="local", model="m")
print(Adapter(local).parameter_changes(request), Sequence((0, 0), [1], 1, request.sampling).numbers.get("wobble"))
"""


@pytest.mark.parametrize(
    ("declared", "printed"),
    [
        (LINE, "[] 1.5\n"),
        (DECLARED, "['wobble dropped: the local engine does not have it'] None\n"),
    ],
    ids=["a number that the engine draws by", "a parameter that it does not know"],
)
def test_a_new_parameter_reaches_the_sampler_or_is_named_as_dropped(tmp_path, declared, printed):
    assert in_a_copy(tmp_path, declared, ENGINE) == printed


def test_what_the_request_leaves_open_comes_from_the_defaults():
    sampling = Sampling(temperature=0.0, stop=("a",)).over(Sampling(temperature=1.0, top_k=5, stop=("b",)))
    assert (sampling.temperature, sampling.top_k, sampling.stop) == (0.0, 5, ("a",))
    assert sampling.members() == {"temperature": 0.0, "top_k": 5, "stop": ["a"]}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("temperature", 2, 2.1), ("top_p", 1, 0), ("min_p", 0, -0.1), ("repetition_penalty", 0.1, 0), ("top_k", -1, -2)],
)
def test_the_ranges_are_the_same_everywhere(name, good, bad):
    assert in_range(name, good) and not in_range(name, bad) and not in_range(name, float("nan"))
    question.from_json(msgspec.json.encode({"question": "hi", name: good}))
    with pytest.raises(BadQuestion, match=name):
        question.from_json(msgspec.json.encode({"question": "hi", name: bad}))
    with pytest.raises(ValidationError):
        ProviderConfiguration(type="openai", model="m", base_url="http://x", defaults={name: bad})


def test_an_interval_reads_as_a_person_writes_it():
    assert (interval("top_p"), interval("temperature")) == ("(0, 1]", "[0, 2]")


def test_members_are_parted_by_name():
    sampling, others = split({"temperature": 1.0, "tools": []})
    assert (sampling.temperature, others) == (1.0, {"tools": []}) and "tools" not in NAMES
