"""One catalogue of sentences in both languages: every code has a title, and what the code writes has a translation."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from gateway.sentences import FILE, detail, title

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = json.loads(FILE.read_text("utf-8"))
# Whose messages people meet: the guard, the databases, keys and limits, and what an upstream can do.
RAISED = {
    "gateway/text2sql": {"Refused", "SqlFailed", "SqlLimit"},
    "gateway/access": {"Failure"},
    "gateway/answers": {"Failure"},
    "gateway/exports.py": {"Failure", "SqlFailed", "SqlLimit"},
    "providers/stream": {"BrokenProtocol", "CutOff", "TooLarge", "TimedOut", "Unreachable"},
    "providers/local/client.py": {"TimedOut", "EngineDied"},
    "providers/local/connection.py": {"EngineDied"},
}


def templates(node: ast.expr) -> list[str]:
    """The text of a message with {} for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        return [text.replace("{}{}", "{}")]
    if isinstance(node, ast.IfExp):
        return templates(node.body) + templates(node.orelse)
    return []


def written() -> list[str]:
    found = []
    for folder, names in RAISED.items():
        place = ROOT / folder
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
                    found += [text for part in node.args[:2] for text in templates(part) if " " in text]
    return sorted(set(found))


def test_every_failure_code_has_a_sentence_in_both_languages():
    codes = re.search(r"### Failure codes.*?`(bad_request[^`]*)`", (ROOT / "docs/api.md").read_text("utf-8"), re.DOTALL)
    known = codes[1].split() if codes else []
    table = re.findall(r"^\| (`[a-z_`· ]+`) \|", (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE)
    known += [code for cell in table for code in re.findall(r"`([a-z_]+)`", cell) if code in CATALOGUE["codes"]]
    assert len(known) > 20
    for code in known:
        assert title(code, "zh") and title(code, "en") and title(code, "zh") != title(code, "en")


# A message whose words are all put in has none of its own to translate.
@pytest.mark.parametrize("template", [template for template in written() if re.search("[a-z]{3}", template)])
def test_a_message_has_a_translation(template):
    message = template.replace("{}", "value")
    assert detail(message, "zh") != message
    assert detail(message, "en") == message


def test_values_stand_where_the_translation_wants_them():
    assert detail("there is no table secret here, or it is not open; the tables are: a, b", "zh") == (
        "没有表 secret，或者它没有开放；可以查的表有：a, b"
    )
    assert detail('language: must be "zh" or "en", got "fr"', "zh") == 'language：应为 "zh" or "en"，收到的是 "fr"'
    assert detail("provider qwen is not asked: it failed several times in a row and is given a rest", "zh") == (
        "暂时不问模型服务 qwen：它连续出错，暂时不问它"
    )
    assert detail("something new", "zh") == "something new"


def test_particular_messages_come_before_general_ones():
    """The first pattern that matches is taken: the one with the most text of its own has to stand first."""
    texts = [len(en.replace("{}", "")) for en in CATALOGUE["details"]]
    assert texts == sorted(texts, reverse=True)


def test_every_place_of_a_translation_has_its_value():
    for en, zh in CATALOGUE["details"].items():
        places = [int(n or 1) for n in re.findall(r"\{(\d?)\}", zh)]
        assert all(place <= en.count("{}") for place in places), en
