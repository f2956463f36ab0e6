"""Models come from a hub: slowly, with cut connections, and from a mirror; what was fetched stays."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from providers.local.engine.errors import CannotLoad
from providers.local.engine.serving import hub
from providers.local.engine.serving.folder import open_folder


class Stand:
    """A hub that serves one folder. `cut` bytes of a file at most are sent per request; `gone` answers 404."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cut: int | None = None
        self.status = 200
        self.spoiled = 0
        self.pause_s = 0.0
        self.ranges: list[str | None] = []
        self.paths: list[str] = []
        stand = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stand.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        if self.status != 200:
            request.send_error(self.status)
            return
        files = [path for path in self.folder.iterdir() if path.is_file()]
        if "/tree/" in request.path or "/repo/files" in request.path:
            hugging = "/tree/" in request.path
            entries = [self.entry(path, hugging) for path in files]
            body = json.dumps(entries if hugging else {"Data": {"Files": entries}}).encode()
            self.send(request, body, 200, len(body))
            return
        body = (self.folder / request.path.rpartition("/")[2]).read_bytes()
        if request.path.endswith(".safetensors") and self.spoiled:
            self.spoiled -= 1
            body = bytes(len(body))
        wanted = request.headers.get("Range")
        if request.path.endswith(".safetensors"):
            self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        rest = body[start:]
        self.send(request, rest[: self.cut] if self.cut else rest, 206 if wanted else 200, len(rest))

    def entry(self, path: Path, hugging: bool) -> dict[str, object]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if not hugging:
            return {"Path": path.name, "Size": path.stat().st_size, "Sha256": digest}
        large = {"lfs": {"oid": digest}} if path.suffix == ".safetensors" else {}
        return {"path": path.name, "size": path.stat().st_size} | large

    def send(self, request: BaseHTTPRequestHandler, body: bytes, status: int, length: int) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(length))
        request.end_headers()
        for at in range(0, len(body), 40_000):
            request.wfile.write(body[at : at + 40_000])
            time.sleep(self.pause_s)


@pytest.fixture
def stand(models, tmp_path, monkeypatch) -> Iterator[Stand]:
    stand = Stand(models["qwen2"][0])
    monkeypatch.setenv("HF_ENDPOINT", stand.address)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", stand.address)
    monkeypatch.setenv("SLUICE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(hub, "_from_cache", lambda model: None)
    monkeypatch.setattr(hub.time, "sleep", lambda _: None)
    yield stand
    stand.server.shutdown()


@pytest.mark.parametrize("name", ["acme/tiny", "modelscope:acme/tiny"])
def test_a_hubs_model_is_fetched_once_and_while_it_comes_the_supervisor_hears_of_it(stand, name):
    heard: list[int] = []
    folder = open_folder(name, lambda: heard.append(1))
    assert folder.weight_files[0].read_bytes() == (stand.folder / "model.safetensors").read_bytes()
    assert len(heard) >= 4
    asked = len(stand.paths)
    open_folder(name)
    assert not any("resolve" in path for path in stand.paths[asked:]), "nothing is fetched twice"
    assert all("acme/tiny" in path for path in stand.paths)


def test_a_cut_file_goes_on_where_it_ended(stand):
    size = (stand.folder / "model.safetensors").stat().st_size
    stand.cut = size // 4 + 1
    folder = open_folder("acme/tiny")
    assert folder.weight_files[0].stat().st_size == size
    assert stand.ranges == [None, *(f"bytes={stand.cut * n}-" for n in (1, 2, 3))]


def test_what_an_earlier_process_fetched_is_gone_on_with(stand, tmp_path):
    stand.cut = 1000
    tries = hub.TRIES_WITHOUT_PROGRESS

    class Ended(Exception):
        pass

    def ends() -> None:
        if len(stand.ranges) > 2:
            raise Ended

    with pytest.raises(Ended):
        open_folder("acme/tiny", ends)
    stand.cut = None
    open_folder("acme/tiny")
    assert stand.ranges[-1] is not None and tries
    assert not list((tmp_path / "models").rglob("*.part"))


def test_without_the_hub_a_model_that_was_fetched_is_used(stand, caplog):
    open_folder("acme/tiny")
    stand.status = 503
    assert open_folder("acme/tiny").name == "acme/tiny"
    assert "is used as it was fetched before" in caplog.text


@pytest.mark.parametrize(("status", "words"), [(404, "no such model"), (401, "HF_TOKEN"), (503, "HTTP 503")])
def test_an_error_names_the_host(stand, status, words):
    stand.status = status
    with pytest.raises(CannotLoad) as failure:
        open_folder("acme/tiny")
    assert words in str(failure.value) and stand.address.removeprefix("http://") in str(failure.value)


def test_a_hub_that_cannot_be_reached_is_named(stand, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CannotLoad, match=r"127\.0\.0\.1:9: Connection refused"):
        open_folder("acme/tiny")


def test_a_token_is_for_the_hub_alone():
    handler = hub._SameHost()
    request = hub.Request("https://hub.example/f", headers={"Authorization": "Bearer x"})
    for url, kept in (("https://hub.example/g", True), ("https://cdn.example/g", False)):
        following = handler.redirect_request(request, None, 302, "", {}, url)
        assert following is not None and following.has_header("Authorization") is kept


@pytest.mark.parametrize("name", ["acme/tiny", "modelscope:acme/tiny"])
def test_weights_that_are_not_what_the_list_says_are_fetched_once_more(stand, name, caplog):
    stand.spoiled = 1
    folder = open_folder(name)
    assert folder.weight_files[0].read_bytes() == (stand.folder / "model.safetensors").read_bytes()
    assert "is not what the list of" in caplog.text


def test_weights_that_stay_wrong_are_refused(stand, tmp_path):
    stand.spoiled = 9
    with pytest.raises(CannotLoad, match="is not what its list says"):
        open_folder("acme/tiny")
    assert not list((tmp_path / "models").rglob("model.safetensors*"))


def test_weights_that_changed_at_the_hub_are_fetched_anew(stand, tmp_path):
    open_folder("acme/tiny")
    (held,) = (tmp_path / "models").rglob("model.safetensors")
    asked = len(stand.ranges)
    open_folder("acme/tiny")
    assert len(stand.ranges) == asked, "it is there and was compared"
    # Of the same size: only the list's SHA-256 shows it.
    held.with_name("model.safetensors.sha256").write_text("0" * 64)
    open_folder("acme/tiny")
    assert len(stand.ranges) == asked + 1
