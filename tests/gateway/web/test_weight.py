"""What the page weighs, and how it is sent: a slow network carries little, and each file once."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from gateway.web.files import FOLDER

SCRIPTS = sorted(FOLDER.rglob("*.js"))
# What must be there before a question can be typed.
FIRST = ["index.html", "early.js", "page.css", "page.js", "access.js", "words.js"]


def weight(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))


def test_all_scripts_together_weigh_less_than_120_kb():
    assert sum(map(weight, SCRIPTS)) < 120_000


def test_what_the_question_needs_weighs_less_than_30_kb():
    assert sum(weight(FOLDER / name) for name in FIRST) < 30_000


def test_every_script_that_an_answer_needs_is_loaded_ahead():
    index = (FOLDER / "index.html").read_text("utf-8")
    ahead = set(re.findall(r'(?:modulepreload" href|src)="/page/([^"]+)"', index))
    needed, left = set(), ["page.js", "conversation.js"]
    while left:
        name = left.pop()
        if name in needed:
            continue
        needed.add(name)
        source = (FOLDER / name).read_text("utf-8")
        if name.startswith("vendor/"):
            continue
        found = re.findall(r'^(?:import|export) [^;]*? from "([^"]+)"|^import "([^"]+)"', source, re.MULTILINE)
        left += [str((FOLDER / name).parent.joinpath(a or b).resolve().relative_to(FOLDER)) for a, b in found]
    assert needed - ahead == set()


def test_no_file_comes_from_elsewhere_and_no_script_is_inline():
    for path in [*SCRIPTS, *FOLDER.rglob("*.css"), FOLDER / "index.html"]:
        if path.parent.name == "vendor":
            continue
        source = path.read_text("utf-8")
        assert not re.search(r"(src|href)=\"(https?:)?//|@import|url\(\"?https?:", source), path
    assert not re.search(r"<script(?![^>]*src=)| style=| on\w+=", (FOLDER / "index.html").read_text("utf-8"))


@pytest.fixture
def client(server):
    return server.app.test_client()


def test_a_file_is_sent_compressed_and_only_once(client):
    reply = client.get("/page/words.js", headers={"Accept-Encoding": "gzip"})
    assert reply.headers["Content-Encoding"] == "gzip" and reply.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(reply.data) == (FOLDER / "words.js").read_bytes()
    again = client.get("/page/words.js", headers={"Accept-Encoding": "gzip", "If-None-Match": reply.headers["ETag"]})
    assert again.status_code == 304 and again.data == b""
    plain = client.get("/page/words.js")
    assert "Content-Encoding" not in plain.headers and plain.data == (FOLDER / "words.js").read_bytes()


@pytest.mark.parametrize("name", ["../__init__.py", "..%2f__init__.py", "answer", "", "nothing.js", "/etc/passwd"])
def test_nothing_outside_the_folder_is_sent(client, name):
    assert client.get(f"/page/{name}", follow_redirects=True).status_code == 404
