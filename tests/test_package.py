"""The wheel works anywhere: installed elsewhere, started inside another application, it answers the demo's question."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.parts import require
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
# In a folder of its own: setuptools leaves its build folder where it works.
BUILD = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"


def source(folder: Path) -> Path:
    """A copy of what git tracks, so that nothing left over in the working tree is packed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if name.startswith(("tests/", "benchmarks/")) or not (ROOT / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def built(kind: str, tree: Path, into: Path) -> Path:
    printed = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(into)], cwd=tree, capture_output=True, text=True, check=True
    )
    return into / printed.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    folder = tmp_path_factory.mktemp("wheel")
    return built("wheel", source(folder / "tree"), folder)


@pytest.fixture(scope="module")
def sluice(wheel, tmp_path_factory) -> Path:
    """The command of a fresh environment that has the wheel; its dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    here = [path for path in sys.path if path.endswith("site-packages")]
    python = folder / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    # A path alone: what links to a checkout there is not followed.
    (site / "dependencies.pth").write_text("\n".join(here))
    return folder / "bin" / "sluice"


def names(wheel: Path) -> set[str]:
    return {name.partition(".data/data/")[2] or name for name in zipfile.ZipFile(wheel).namelist()}


def test_the_wheel_holds_all_that_is_needed_and_nothing_of_the_tests(wheel):
    held = names(wheel)
    assert {
        "gateway/web/static/index.html",
        "gateway/web/static/answer/turn.js",
        "gateway/web/static/vendor/LICENSE.marked",
        "gateway/sentences.json",
        "gateway/py.typed",
        "share/sluice/logging.yaml",
        "share/sluice/demo/metro/build.py",
        "share/sluice/demo/metro/stations.csv",
        "share/sluice/models/metro-sql/model.safetensors",
        "wsgi.py",
    } <= held
    for package in ("gateway", "providers", "prompts"):
        tracked = subprocess.run(
            ["git", "ls-files", package], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert set(tracked.split()) - held == set(), package
    assert not any(name.startswith(("tests/", "benchmarks/", "demo/")) for name in held)


def test_the_source_archive_makes_the_same_wheel(wheel, tmp_path):
    archive = built("sdist", source(tmp_path / "tree"), tmp_path)
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    assert names(built("wheel", unpacked, tmp_path)) == names(wheel)


def clean_environment(folder: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLUICE", "PYTHON", "VIRTUAL_ENV"))
    }
    return kept | {"HOME": str(folder), "SLUICE_RUN_DIR": str(folder / "run")}


def test_the_demo_answers_inside_an_application_that_has_packages_of_these_names(sluice, tmp_path):
    require("torch")
    for name in ("gateway", "providers", "prompts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the application was imported')\n")
    for name in ("wsgi", "demo", "models"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the application was imported')\n")
    bind = f"127.0.0.1:{free_port()}"
    server = subprocess.Popen(
        [sluice, "demo", "--bind", bind],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        while not (line := server.stdout.readline()).startswith("sluice: ready on"):
            assert line, "the server ended"
        body = json.dumps({"question": "沈塘桥地铁站的信息"}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        asked = urllib.request.Request(f"http://{bind}/getAnwser", body, headers)
        with urllib.request.urlopen(asked, timeout=60) as reply:  # noqa: S310 (an address of this test's own)
            answer = json.load(reply)
        assert answer["rows"]["rows"] and "沈塘桥" in answer["rows"]["rows"][0]
        with urllib.request.urlopen(f"http://{bind}/page/answer/turn.js", timeout=10) as reply:
            assert b"export class Turn" in reply.read()
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert sorted(path.name for path in (tmp_path / "sluice-demo").iterdir()) == ["metro.db", "sluice.yaml"]
    check = subprocess.run(
        [sluice, "check", "--config", "sluice-demo/sluice.yaml"], cwd=tmp_path, env=clean_environment(tmp_path)
    )
    assert check.returncode == 0


def test_without_torch_the_demo_says_what_to_install(sluice, tmp_path):
    # The same dependencies but torch, as links.
    links = tmp_path / "dependencies"
    links.mkdir()
    site = next((sluice.parent.parent / "lib").glob("python*/site-packages"))
    file = site / "dependencies.pth"
    kept = file.read_text()
    for folder in kept.splitlines():
        for entry in Path(folder).iterdir():
            if not entry.name.startswith("torch") and not (links / entry.name).exists():
                (links / entry.name).symlink_to(entry)
    file.write_text(str(links))
    try:
        printed = subprocess.run(
            [sluice, "demo"], cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, text=True
        )
    finally:
        file.write_text(kept)
    assert printed.returncode == 1 and printed.stderr.count("\n") == 1
    assert 'pip install "sluice[local]"' in printed.stderr
