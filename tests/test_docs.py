"""What the docs show is true: tables are written from the code, examples are good."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import statistics
from pathlib import Path

import pytest
import yaml

from docs import write_tables
from gateway.sentences import codes as sentence_codes
from gateway.settings import Auth, DatabaseSettings, Key, Limits, Server, TextToSql, parse
from providers.configuration import ProviderConfiguration

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CHINESE = [ROOT / "README.zh-CN.md", *sorted((ROOT / "docs" / "zh").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in [*PAGES, *CHINESE]:
        for n, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)):
            found.append((f"{page.relative_to(ROOT)}#{n}", text))
    return found


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_configurations_page_is_what_the_code_says(language):
    assert write_tables.FILES[language].read_text("utf-8") == write_tables.page(language)


@pytest.mark.parametrize("section", [ProviderConfiguration, DatabaseSettings, Server, Auth, Key, Limits, TextToSql])
def test_every_key_of_the_configuration_is_explained(section):
    silent = [name for name, field in section.model_fields.items() if not field.description]
    assert [name for name in silent if name not in ("timeouts", "breaker")] == []


@pytest.mark.parametrize(("where", "text"), blocks("yaml"), ids=lambda value: value if "#" in value[:40] else "")
def test_an_example_configuration_is_accepted(where, text, tmp_path):
    raw = yaml.safe_load(text)
    for database in raw.get("databases", {}).values():
        for name in {database.get("examples"), database.get("memory")} - {None}:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if database.get("examples"):
            (tmp_path / database["examples"]).write_text("[]", "utf-8")
    raw.setdefault("providers", {}).setdefault("local", {"type": "local", "model": "m"})
    raw.setdefault("default", "local")
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)", text), "set-in-a-test")
    parse(raw, folder=tmp_path, environ=environ)


@pytest.mark.parametrize(("where", "text"), blocks("json"), ids=lambda value: value if "#" in value[:40] else "")
def test_an_example_in_json_is_json(where, text):
    json.loads(text)


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, *CHINESE]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", [*PAGES, *CHINESE], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_a_page_names_are_there(page):
    text = page.read_text("utf-8")
    named = set(re.findall(r"`((?:gateway|providers|prompts|tests|docs|deploy|benchmarks|demo)/[\w/.]+)`", text))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def docstrings(path: Path) -> str:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (
        ast.get_docstring(node) for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds)
    )
    return "\n".join(filter(None, found))


def commands() -> dict[str, set[str]]:
    """The module of each `python -m …` in pages and docstrings → the files that name it."""
    found: dict[str, set[str]] = {}
    folders = ("gateway", "providers", "prompts", "benchmarks", "demo", "docs", "tests")
    pages = [
        *PAGES,
        *CHINESE,
        *(page for folder in ("benchmarks", "demo", "models") for page in ROOT.glob(f"{folder}/**/*.md")),
    ]
    texts = [(page, page.read_text("utf-8")) for page in pages]
    texts += [(path, docstrings(path)) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    for path, text in [*texts, *((ROOT / name, (ROOT / name).read_text("utf-8")) for name in ("Makefile", ".ci/run"))]:
        for module in re.findall(r"\bpython3? -m ([a-z_]\w*(?:\.\w+)*)", text):
            found.setdefault(module, set()).add(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize(
    ("module", "files"), sorted(commands().items()), ids=lambda value: value if type(value) is str else ""
)
def test_a_module_that_a_command_names_can_be_run(module, files):
    try:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{module}.__main__")
    except ModuleNotFoundError:
        spec = None
    assert spec is not None and spec.origin, files
    if Path(spec.origin).is_relative_to(ROOT) and not spec.origin.endswith("__main__.py"):
        assert '__name__ == "__main__"' in Path(spec.origin).read_text("utf-8"), files


def test_text2sql_imports_what_the_design_page_says():
    imported = set()
    for path in (ROOT / "gateway" / "text2sql").rglob("*.py"):
        for module, names in re.findall(r"^from ([\w.]+) import (.+)$", path.read_text("utf-8"), re.MULTILINE):
            imported |= {f"{module}.{names}"} if module == "gateway.answers" else {module}
    ours = {name for name in imported if name.startswith("gateway.") and not name.startswith("gateway.text2sql")}
    answers = {name.removeprefix("gateway.answers.") for name in ours if name.startswith("gateway.answers")}
    assert answers <= {"chat", "question", "record", "steps"}
    assert {name.split(".")[1] for name in ours} <= {"answers", "settings"}
    assert not any(name.split(".")[0] == "flask" for name in imported)


def sentences(text: str) -> list[str]:
    """What stands between full stops and colons outside of code, tables and headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = [
        line for line in text.splitlines() if not line.lstrip().startswith(("|", "#", "<!--")) and line[:4] != "    "
    ]
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", "x", "\n".join(lines))
    parts = [re.split(r"(?<=[.!?:])\s+", block) for block in re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) ", text)]
    return [sentence for part in parts for sentence in part if len(sentence.split()) > 2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_pages_median_sentence_has_at_most_25_words(page):
    lengths = [len(sentence.split()) for sentence in sentences(page.read_text("utf-8"))]
    assert statistics.median(lengths) <= 25


def english(page: Path) -> Path:
    return ROOT / "README.md" if page.name == "README.zh-CN.md" else ROOT / "docs" / page.name


def shape(page: Path) -> dict[str, list]:
    """What two languages of one page have in common: levels of headings, code without comments, sizes of tables."""
    text = page.read_text("utf-8")
    code = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    bare = [(name, [re.split(r"\s+#\s|…", line)[0].rstrip() for line in block.splitlines()]) for name, block in code]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    tables = [
        [re.sub(r"\\\\\\||`[^`]*`", "x", line).count("|") for line in table.strip().splitlines()]
        for table in re.findall(r"(?:^\|.*\n)+", prose, re.MULTILINE)
    ]
    marked = sorted(set(re.findall(r"^\| (`[^`]+`)", prose, re.MULTILINE)))
    return {
        "headings": [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)],
        "code": bare,
        "tables": tables,
        "first cells": marked,
        "items": [len(re.findall(r"^(?:- |\d+\. )", prose, re.MULTILINE))],
    }


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: str(page.relative_to(ROOT)))
def test_both_languages_of_a_page_are_at_one_version(page):
    ours, theirs = shape(page), shape(english(page))
    for part, expected in theirs.items():
        assert ours[part] == expected, part


def test_each_failure_code_has_its_row_in_troubleshooting():
    codes = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/troubleshooting.md").read_text("utf-8"), re.MULTILINE))
    assert codes == set(sentence_codes())
