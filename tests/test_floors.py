"""Imports go down the floors, never up, and a worker never loads what only the engine or a vendor's client needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLAIN = {"providers.delta", "providers.chat", "providers.errors"}
HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "dashscope", "qianfan", "openai"}

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


def test_the_plain_types_import_the_standard_library_only():
    for module in PLAIN:
        names = {name.split(".")[0] for name in imported(ROOT / (module.replace(".", "/") + ".py"))}
        assert names <= sys.stdlib_module_names, module


def test_nobody_but_the_engine_imports_the_engine():
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
