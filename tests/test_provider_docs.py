"""The tables about providers and faults are what code and test data say."""

from __future__ import annotations

import pytest

from docs import write_providers
from providers.catalogue import WIRES


@pytest.mark.parametrize("file", write_providers.PAGES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_page_is_what_the_code_says(file):
    page = file.read_text("utf-8")
    assert "<!-- written: " in page
    assert page == write_providers.written(page, "zh" if file.parent.name == "zh" else "en")


@pytest.mark.parametrize("file", [file for file in write_providers.PAGES if file.name == "providers.md"], ids=str)
def test_every_wire_is_described(file):
    page = file.read_text("utf-8")
    for wire in WIRES:
        assert f"**`{wire}`**" in page
