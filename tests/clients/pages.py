"""A web server of another origin than the gateway's, with the pages that the tests show to a browser."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path

from tests.clients import node_modules
from tests.ports import free_port

EXAMPLE = node_modules.ROOT / "examples" / "browser" / "eventsource.html"


class Pages:
    """Serves `folder` at `url`: eventsource.html of the examples, and what `bundled` has made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / EXAMPLE.name).write_bytes(EXAMPLE.read_bytes())
        port = free_port()

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Quiet, directory=folder))
        self.url = f"http://127.0.0.1:{port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def bundled(self, script: str) -> str:
        """The address of a page with this script of tests/clients/node/, in an element `#app`."""
        name = script.removesuffix(".mjs")
        if not (self._folder / f"{name}.html").exists():
            node_modules.bundle(node_modules.installed(), script, self._folder / f"{name}.js")
            script_tag = f'<script type="module" src="{name}.js"></script>'
            shown = f'<!doctype html><meta charset="utf-8"><div id="app"></div>{script_tag}'
            (self._folder / f"{name}.html").write_text(shown, "utf-8")
        return f"{self.url}/{name}.html"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
