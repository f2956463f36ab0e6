"""A missing part is skipped with a reason on a user's machine, and fails in CI."""

from __future__ import annotations

import pytest

from tests import parts


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setitem(parts.PARTS, "anvil", (lambda: None, "buy an anvil"))


def test_a_part_that_is_there_is_told_where(monkeypatch):
    monkeypatch.setitem(parts.PARTS, "shell", (parts._program("sh"), ""))
    assert parts.require("shell").endswith("/sh")


def test_a_missing_part_skips_with_what_to_do_about_it(missing, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="anvil is not here: buy an anvil"):
        parts.require("anvil")


def test_a_missing_part_fails_in_ci(missing, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="anvil is not here"):
        parts.require("anvil")
