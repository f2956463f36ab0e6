"""What the docs show is true: tables are written from the code, examples are good."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from docs import write_tables
from gateway.settings import Auth, DatabaseSettings, Key, Limits, Server, TextToSql, parse
from providers.configuration import ProviderConfiguration

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for n, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)):
            found.append((f"{page.name}#{n}", text))
    return found


def test_the_configurations_page_is_what_the_code_says():
    assert write_tables.FILE.read_text("utf-8") == write_tables.page()


@pytest.mark.parametrize("section", [ProviderConfiguration, DatabaseSettings, Server, Auth, Key, Limits, TextToSql])
def test_every_key_of_the_configuration_is_explained(section):
    silent = [name for name, field in section.model_fields.items() if not field.description]
    assert [name for name in silent if name not in ("timeouts", "breaker")] == []


@pytest.mark.parametrize(("where", "text"), blocks("yaml"), ids=lambda value: value if "#" in value[:40] else "")
def test_an_example_configuration_is_accepted(where, text):
    raw = yaml.safe_load(text)
    raw.setdefault("providers", {}).setdefault("local", {"type": "local", "model": "m"})
    raw.setdefault("default", "local")
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)", text), "set-in-a-test")
    parse(raw, environ=environ)


@pytest.mark.parametrize(("where", "text"), blocks("json"), ids=lambda value: value if "#" in value[:40] else "")
def test_an_example_in_json_is_json(where, text):
    json.loads(text)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
