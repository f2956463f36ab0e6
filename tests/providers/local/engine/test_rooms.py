"""Who imports torch: the rooms of compute, and in serving the two modules that need it to put an engine together."""

from __future__ import annotations

import ast
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[4] / "providers" / "local" / "engine"
WITH_TORCH = {"serving/assembly.py", "serving/memory.py"}
PRIVATE = "compute/torch_private.py"


def imports(path: Path) -> set[str]:
    """The first part of every module that `path` imports, at its top or in a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def modules() -> dict[str, Path]:
    return {str(path.relative_to(ENGINE)): path for path in ENGINE.rglob("*.py")}


def test_only_compute_and_two_modules_of_serving_import_torch():
    users = {name for name, path in modules().items() if imports(path) & {"torch", "triton", "safetensors"}}
    assert {name for name in users if not name.startswith("compute/")} == WITH_TORCH
    assert "compute/model.py" in users


def test_torchs_private_parts_are_used_in_one_module():
    """Private parts are operators of torch.ops and modules of torch with an underscore."""
    users = set()
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(("torch.ops.", "torch._")):
                users.add(name)
    assert users == {PRIVATE}


def test_no_room_has_more_than_fifteen_modules():
    folders = [ENGINE, *(path for path in ENGINE.iterdir() if path.is_dir() and path.name != "__pycache__")]
    assert {path.name: len(list(path.glob("*.py"))) for path in folders if len(list(path.glob("*.py"))) > 16} == {}
