"""`sluice keys`: the file stays as its author wrote it, but for the entry."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from gateway.settings import load
from gateway.tools import key_entries
from gateway.tools.key_entries import Refused

HEAD = """# The shop's gateway.
default: a   # the first
providers:
  a: {type: local, model: m}
"""
TAIL = """
# Limits come last.
limits: {streams_per_key: 3}
"""
SHA = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("old", "older")}
# What the file has about keys → how it is written.
FORMS = {
    "nothing": "",
    "an empty section": "auth: {}\n",
    "an empty value": "auth:\n",
    "an empty list": "auth: {keys: []}\n",
    "an empty list below": "auth:\n  keys: []  # none yet\n",
    "a secret alone": "auth: {secret: 0123456789abcdef}\n",
    "a flow": f"auth: {{keys: [{{name: old, sha256: {SHA['old']}}}], secret: 0123456789abcdef}}\n",
    "digests": f"auth:\n  keys: [{SHA['old']}, {SHA['older']}]\n",
    "a block": (
        f"auth:\n  # Of the web.\n  keys:\n  - name: old   # a comment\n    sha256: {SHA['old']}\n  - {SHA['older']}\n"
    ),
    "a deep block": (
        f"auth:\n    keys:\n      - name: old\n        sha256: {SHA['old']}\n        databases: []\n"
        "    secret: 0123456789abcdef\n"
    ),
}


@pytest.fixture(params=[*itertools.product(FORMS, [TAIL, "", "no newline"])], ids="-".join)
def file(request, tmp_path):
    form, tail = request.param
    text = HEAD + FORMS[form] + ("" if tail == "no newline" else tail)
    written = tmp_path / "sluice.yaml"
    written.write_text(text.rstrip("\n") if tail == "no newline" else text, "utf-8")
    return written


def test_a_key_is_added_and_taken_out_again_in_every_form_of_the_file(file):
    before, text = load(file, environ={}), file.read_text("utf-8")
    key = key_entries.new(file, {"name": "neu", "providers": ["a"], "expires": "2099-01-31"})
    after = load(file, environ={})
    [added] = [one for one in after.auth.keys if one.name == "neu"]
    assert added.sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert (added.providers, added.expires.year) == (["a"], 2099)
    assert after.auth.keys[:-1] == before.auth.keys and after.auth.secret == before.auth.secret
    assert after.limits == before.limits
    changed = file.read_text("utf-8")
    assert key not in changed and "# The shop's gateway." in changed
    assert ("# Limits come last." in changed) is ("# Limits come last." in text)
    if "# a comment" in text:
        assert text.rstrip() in changed or "# a comment" in changed
    key_entries.revoke(file, "neu")
    assert load(file, environ={}).auth.keys == before.auth.keys
    for one in before.auth.keys:
        key_entries.revoke(file, one.name or one.sha256[:8])
    assert load(file, environ={}).auth.keys == []


def test_what_cannot_be_done_leaves_the_file_alone(tmp_path):
    file = tmp_path / "sluice.yaml"
    file.write_text(HEAD + FORMS["a block"])
    for wrong in ({"name": "old"}, {"name": "x", "providers": ["nope"]}, {"name": "x", "expires": "soon"}):
        with pytest.raises(Refused):
            key_entries.new(file, wrong)
    for name in ("nobody", "", SHA["older"][:4]):
        with pytest.raises(Refused):
            key_entries.revoke(file, name)
    assert file.read_text() == HEAD + FORMS["a block"]
    assert [path.name for path in tmp_path.iterdir()] == ["sluice.yaml"]


def test_a_file_whose_variables_are_not_set_here_can_be_changed(tmp_path, monkeypatch):
    monkeypatch.delenv("ELSEWHERE", raising=False)
    file = tmp_path / "sluice.yaml"
    file.write_text(HEAD + "server: {redis_url: '${ELSEWHERE}'}\n")
    key_entries.new(file, {"name": "neu"})
    assert "${ELSEWHERE}" in file.read_text()
    assert [one["name"] for one in key_entries.entries(file)] == ["neu"]


def test_the_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path):
    real = tmp_path / "real.yaml"
    real.write_text(HEAD)
    real.chmod(0o640)
    (tmp_path / "sluice.yaml").symlink_to(real)
    key_entries.new(tmp_path / "sluice.yaml", {"name": "neu"})
    assert (tmp_path / "sluice.yaml").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
