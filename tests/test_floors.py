"""Imports go down the floors, never up, and a worker never loads what only the engine or a vendor's client needs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLAIN = {"providers.delta", "providers.chat", "providers.errors", "providers.sampling"}
HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "dashscope", "qianfan", "openai"}

MODULES_PER_FOLDER = 15

# Each package, and the packages of ours that it may import besides itself.
MAY_IMPORT = {
    "gateway": {"prompts", "providers"},
    "prompts": {"providers"},
    "providers": set(),
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def of(names: set[str], package: str) -> set[str]:
    return {name for name in names if name == package or name.startswith(package + ".")}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_floor_imports_one_above_it(package):
    above = MAY_IMPORT.keys() - MAY_IMPORT[package] - {package}
    found = {str(path.relative_to(ROOT)): of(imported(path), other) for path in modules(package) for other in above}
    assert {path: names for path, names in found.items() if names} == {}


def test_prompts_know_only_the_plain_types_of_providers():
    for path in modules("prompts"):
        used = of(imported(path), "providers")
        assert all(any(name.startswith(plain) for plain in PLAIN) for name in used), f"{path.name} imports {used}"


def test_the_plain_types_import_the_standard_library_msgspec_and_each_other_only():
    for module in PLAIN:
        names = imported(ROOT / (module.replace(".", "/") + ".py"))
        plain = {name for name in names if name == "providers" or name.startswith(("providers.sampling", *PLAIN))}
        others = {name.split(".")[0] for name in names - plain}
        assert others <= sys.stdlib_module_names | {"msgspec"}, module


def test_the_modules_that_build_on_gunicorn_are_those_of_the_design_page():
    found = {str(path.relative_to(ROOT)) for path in modules("gateway") if of(imported(path), "gunicorn")}
    page = (ROOT / "docs" / "design.md").read_text("utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| gunicorn |"))
    named = set(re.findall(r"`(gateway/[\w/]+\.py)`", row))
    # The response object comes with each request: nothing is imported for it.
    assert found | {"gateway/gunicorn_reply.py"} == named


def test_only_the_engine_imports_the_engine():
    for package in MAY_IMPORT:
        for path in modules(package):
            if "engine" not in path.parts:
                assert not of(imported(path), "providers.local.engine"), path


def test_the_generator_knows_nothing_of_the_process_around_it():
    engine = ROOT / "providers" / "local" / "engine"
    assert (engine / "serving" / "server.py").is_file()
    for path in set(engine.glob("*.py")) - {engine / "__main__.py"}:
        assert not of(imported(path), "providers.local.engine.serving"), path


def test_the_loop_and_what_it_plans_with_load_without_torch():
    probe = f"import sys, providers.local.engine.loop; print(sorted({HEAVY - {'tokenizers'}!r} & {{*sys.modules}}))"
    printed = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == "[]\n"


def test_a_vendors_client_that_is_chosen_is_there_before_the_first_question():
    told = {"type": "dashscope", "model": "m", "api_key": "k", "transport": "sdk"}
    probe = f"""
import sys
from providers import Providers
from providers.configuration import ProviderConfiguration
Providers({{"p": ProviderConfiguration(**{told!r})}}, "p")
print("dashscope" in sys.modules)
"""
    printed = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == "True\n"


def test_a_worker_loads_neither_torch_nor_a_vendors_client():
    probe = f"import sys, wsgi; print(sorted({HEAVY!r} & {{*sys.modules}}))"
    printed = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == "[]\n"


@pytest.mark.parametrize("databases", [{}, {"d": {"url": "sqlite:///d.db"}}])
def test_only_a_worker_with_databases_loads_what_asks_them(tmp_path, databases):
    provider = {"type": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    file = tmp_path / "sluice.yaml"
    file.write_text(json.dumps({"default": "m", "providers": {"m": provider}, "databases": databases}), "utf-8")
    wanted = {"sqlalchemy", "sqlglot", "gateway.text2sql.asking", "gateway.text2sql.running"}
    probe = f"import sys, wsgi; print(sorted({wanted!r} & {{*sys.modules}}))"
    environ = os.environ | {"SLUICE_CONFIG": str(file)}
    command = [sys.executable, "-c", probe]
    printed = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert printed.stdout == f"{sorted(wanted if databases else ())}\n"


def product() -> dict[str, Path]:
    """Dotted name -> file of every module of the product; a package stands for its __init__.py."""
    found = {}
    for package in MAY_IMPORT:
        for path in modules(package):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def module_graph() -> dict[str, set[str]]:
    """Each module and those of ours that it imports, also inside functions and under TYPE_CHECKING."""
    files = product()
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    graph[name].add(whole if whole in files else str(node.module))
        graph[name] = (graph[name] & files.keys()) - {name}
    return graph


def room_graph(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same between rooms: a folder without folders in it is one; elsewhere each module stands for itself."""
    files = product()
    folders = {path.parent for path in files.values()}
    with_folders = {folder.parent for folder in folders}

    def room(name: str) -> str:
        folder = files[name].parent
        return name if folder in with_folders else ".".join(folder.relative_to(ROOT).parts)

    rooms: dict[str, set[str]] = {}
    for name, names in graph.items():
        rooms.setdefault(room(name), set()).update({room(other) for other in names} - {room(name)})
    return rooms


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other, by repeatedly taking away what imports nothing that is left."""
    left = {node: set(others) for node, others in graph.items()}
    while True:
        free = {node for node, others in left.items() if not others & left.keys()}
        unused = left.keys() - set().union(*left.values()) if left else set()
        if not free | unused:
            return sorted([node, *sorted(others & left.keys())] for node, others in left.items())
        left = {node: others for node, others in left.items() if node not in free | unused}


def test_no_module_imports_itself_through_others():
    assert cycles(module_graph()) == []


def test_no_room_imports_itself_through_others():
    assert cycles(room_graph(module_graph())) == []


def test_the_search_for_cycles_finds_one():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"], ["c", "b"]]


def test_no_folder_has_more_modules_than_a_reader_can_hold():
    counts: dict[Path, int] = {}
    for path in product().values():
        if path.name != "__init__.py":
            counts[path.parent.relative_to(ROOT)] = counts.get(path.parent.relative_to(ROOT), 0) + 1
    assert {folder: count for folder, count in counts.items() if count > MODULES_PER_FOLDER} == {}


def test_no_two_modules_of_one_folder_have_one_name():
    """`log` beside `logs`, or `forms` beside `form`: a reader could not say which one to open."""
    for folder in {path.parent for path in product().values()}:
        stems = [path.stem.replace("_", "").removesuffix("s") for path in folder.glob("*.py")]
        assert sorted(set(stems)) == sorted(stems), folder


def test_each_floor_of_text2sql_knows_only_those_below():
    """guard judges text alone; databases run what was judged; the flow puts both together."""
    judging = ROOT / "gateway" / "text2sql" / "guard"
    for path in judging.glob("*.py"):
        ours = {name for name in imported(path) if name.split(".")[0] in MAY_IMPORT}
        rows = {"gateway.text2sql.databases", "gateway.text2sql.databases.DIALECTS"}  # one row per kind of server
        assert all(name.startswith(("gateway.text2sql.guard", "prompts", "gateway.text2sql.databases.dialect"))
                   for name in ours - rows), f"{path.name} imports {ours}"  # fmt: skip


def test_no_test_module_imports_another_or_a_conftest():
    """What several of them use is in a helper module, whose name says what it holds."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        used = {name for name in imported(path) if any(part.startswith("test_") for part in name.split(".")[:-1])}
        used |= {name for name in imported(path) if "conftest" in name.split(".")}
        assert not {name for name in used if name.startswith("tests.")}, f"{path.relative_to(ROOT)} imports {used}"


# Words that can stand for anything say nothing: house words are in CONTRIBUTING.md's glossary.
EMPTY_WORDS = re.compile(r"\b(told|whoever|nobody)\b")


def test_no_name_and_no_sentence_uses_a_word_that_says_nothing():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in MAY_IMPORT
        for path in sorted((ROOT / package).rglob("*"))
        if path.suffix in {".py", ".j2", ".yaml", ".html", ".js", ".css"} and "vendor" not in path.parts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if EMPTY_WORDS.search(line)
    ]
    assert found == []
