"""A real headless Chromium, driven over its DevTools protocol: just what the page's tests need of it."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import websocket

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--remote-debugging-port=0",
]
# For what comes in milliseconds, on a machine that has other work.
PATIENCE_S = 30
# Conditions are looked at inside the page, so that nothing is asked over the wire while nothing changes.
WAIT = """new Promise((resolve, reject) => {
  const end = Date.now() + %d;
  const look = () => {
    let met; try { met = (%s); } catch { met = false }
    if (met) resolve(met); else if (Date.now() > end) resolve(null); else setTimeout(look, 10);
  };
  look();
})"""


class Chromium:
    """One browser; every page is in a context of its own, so no two share storage or cache."""

    def __init__(self, port: int, path: str) -> None:
        self._socket = websocket.create_connection(
            f"ws://127.0.0.1:{port}{path}", suppress_origin=True, timeout=2 * PATIENCE_S, max_size=None
        )
        self._sent = 0
        self._pages: dict[str, Page] = {}

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The method's result; events that come before it go to their page."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        self._socket.send(json.dumps(message if session is None else message | {"sessionId": session}))
        while True:
            received: dict[str, Any] = json.loads(self._socket.recv())
            if received.get("id") == self._sent:
                if "error" in received:
                    raise RuntimeError(f"{method}: {received['error']['message']}")
                result: dict[str, Any] = received["result"]
                return result
            page = self._pages.get(received.get("sessionId", ""))
            if page and "method" in received:
                page.events.append(received)

    def page(self, **size: int) -> Page:
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, context)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.size(**{"width": 1280, "height": 860} | size)
        return page

    def forget(self, page: Page) -> None:
        self._pages.pop(page.session, None)
        self.call("Target.disposeBrowserContext", browserContextId=page.context)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        self._socket.close()


class Page:
    """One page of the browser. `events` are the protocol's, as they came."""

    def __init__(self, browser: Chromium, session: str, context: str) -> None:
        self._browser, self.session, self.context = browser, session, context
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self.session, **params)

    def close(self) -> None:
        self._browser.forget(self)

    def size(self, width: int, height: int = 800) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, **features: str) -> None:
        """Such as `prefers_color_scheme="dark"`."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def speaks(self, language: str) -> None:
        self.call("Network.setUserAgentOverride", userAgent=self.js("navigator.userAgent"), acceptLanguage=language)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """The value of `expression`; of a promise, what it resolves to."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def wait(self, condition: str, timeout_s: float = PATIENCE_S) -> Any:
        """The first true value of `condition`, a JavaScript expression."""
        found = self.js(WAIT % (timeout_s * 1000, condition))
        assert found is not None, f"after {timeout_s} s still not: {condition}\n{self.text('body')[:2000]}"
        return found

    def until(self, condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
        """The first true value of `condition`, looked at between the browser's events."""
        end = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < end, f"after {timeout_s} s still not so"
            self.js("new Promise(resolve => setTimeout(resolve, 10))")
        return found

    def text(self, selector: str) -> str:
        """What is to be read there; nothing where it is hidden or missing."""
        found: str = self.js(
            f"(e => e?.checkVisibility() ? e.innerText : '')(document.querySelector({json.dumps(selector)}))"
        )
        return found

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.js(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(found => found.innerText)"
        )
        return found

    def click(self, selector: str) -> None:
        """Clicks where the element is, as a mouse does: what lies above it gets the click instead."""
        self.wait(f"document.querySelector({json.dumps(selector)})?.checkVisibility()")
        x, y = self.js(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            " found.scrollIntoView({block: 'center', behavior: 'instant'}); const box = found.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def press(self, key: str, shift: bool = False, control: bool = False) -> None:
        code = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32, "ArrowDown": 40, "ArrowUp": 38}[key]
        text = {"Enter": "\r", " ": " "}.get(key)
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift + 2 * control}
        self.call("Input.dispatchKeyEvent", type="keyDown", **event, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def complaints(self) -> list[str]:
        """What the console holds against the page: errors, exceptions, violations of its policy."""
        found = []
        for event in self.events:
            params = event["params"]
            if event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"])[:500])
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(params["args"])[:500])
        return found

    def screenshot(self, file: Path, whole: bool = False) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def chromium(program: str, *flags: str) -> Iterator[Chromium]:
    """A browser with an empty profile of its own, ended with everything it started."""
    with tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            browser = Chromium(*_address(Path(profile), process))
            yield browser
            browser.close()
            process.wait(PATIENCE_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _address(profile: Path, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Where the browser listens; it says so in a file of its profile once it does."""
    file = profile / "DevToolsActivePort"
    end = time.monotonic() + 2 * PATIENCE_S
    while not (file.exists() and file.read_text().count("\n")):
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        assert time.monotonic() < end, "chromium did not start"
        time.sleep(0.05)
    port, path = file.read_text().splitlines()[:2]
    return int(port), path
