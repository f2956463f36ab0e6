"""Fetching a model from a hub, file by file; what was fetched stays, and a cut file goes on where it ended.

owner/name             Hugging Face, or the mirror that HF_ENDPOINT names; HF_TOKEN opens gated models
modelscope:owner/name  ModelScope, or what MODELSCOPE_ENDPOINT names

Files lie in $SLUICE_MODELS, by default ~/.cache/sluice/models. A model in Hugging Face's own cache is used from there.
Sources: https://huggingface.co/docs/hub/api (tree, resolve); ModelScope's hub API (repo/files, resolve).
"""

from __future__ import annotations

import fnmatch
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from providers.local.engine.errors import CannotLoad

log = logging.getLogger("sluice.engine")

WANTED = ("*.json", "*.safetensors", "*.jinja")
READ_BYTES = 1 << 20
# Together shorter than the supervisor's patience with a process that says nothing, so that the reason is known.
TIMEOUT_S = 20.0
TRIES_WITHOUT_PROGRESS = 4
REPORT_S = 10.0
COMPLETE = ".complete"


class _SameHost(HTTPRedirectHandler):
    """Follows redirects; a key is for the hub alone and not for the hosts that it points to."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            request.remove_header("Authorization")
        return request


class Hub:
    """One hub: where its lists and files are. `host` is named in errors."""

    def __init__(self, endpoint: str, list_path: str, file_path: str, token: str = "") -> None:
        self.endpoint = endpoint.rstrip("/")
        self.host = urlsplit(self.endpoint).netloc
        self._list_path, self._file_path = list_path, file_path
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._opener: OpenerDirector = build_opener(_SameHost)

    def open(self, url: str, start: int = 0) -> Any:
        headers = self._headers | ({"Range": f"bytes={start}-"} if start else {})
        return self._opener.open(Request(url, headers=headers), timeout=TIMEOUT_S)  # noqa: S310 - the hub's own address

    def files(self, name: str) -> dict[str, int]:
        """The wanted files of a model, and their sizes in bytes."""
        with self.open(self.endpoint + self._list_path.format(name=name)) as response:
            listed = json.load(response)
        entries = listed if isinstance(listed, list) else listed["Data"]["Files"]
        sizes = {
            entry.get("path") or entry["Path"]: int(entry.get("size") or entry.get("Size") or 0) for entry in entries
        }
        # Only those at the top: folders hold other forms of the weights.
        return {path: size for path, size in sizes.items() if "/" not in path and _wanted(path)}

    def address(self, name: str, path: str) -> str:
        return self.endpoint + self._file_path.format(name=name, path=quote(path))


def _wanted(path: str) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in WANTED)


def hub(model: str) -> tuple[Hub, str]:
    """The hub that `model` names, and the model's name there."""
    if model.startswith("modelscope:"):
        endpoint = os.environ.get("MODELSCOPE_ENDPOINT", "https://www.modelscope.cn")
        listed = "/api/v1/models/{name}/repo/files?Revision=master&Recursive=true"
        return Hub(endpoint, listed, "/models/{name}/resolve/master/{path}"), model.removeprefix("modelscope:")
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    listed = "/api/models/{name}/tree/main?recursive=true"
    return Hub(endpoint, listed, "/{name}/resolve/main/{path}", os.environ.get("HF_TOKEN", "")), model


def fetch(model: str, loading: Callable[[], None]) -> Path:
    """The folder of a hub's model, fetched if need be. Raises CannotLoad, which names the host.

    loading   called whenever something came
    """
    if (cached := _from_cache(model)) is not None:
        return cached
    source, name = hub(model)
    root = Path(os.environ.get("SLUICE_MODELS") or Path.home() / ".cache" / "sluice" / "models")
    folder = root / source.host.replace(":", "_") / name.replace("/", "--")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        sizes = _patiently(lambda: source.files(name), source, model)
    except CannotLoad:
        if (folder / COMPLETE).exists():
            log.warning("%s cannot be asked; %s is used as it was fetched before", source.host, model)
            return folder
        raise
    progress = _Progress(model, sum(sizes.values()), loading)
    for path, size in sizes.items():
        _file(source, name, path, size, folder, progress, model)
    (folder / COMPLETE).touch()
    return folder


def _from_cache(model: str) -> Path | None:
    """The folder in Hugging Face's own cache, if the model is there."""
    try:
        from huggingface_hub import snapshot_download

        found = Path(snapshot_download(model, allow_patterns=list(WANTED), local_files_only=True))
    except Exception:  # noqa: BLE001 - no library, no cache, or a name that it refuses
        return None
    return found if (found / "config.json").is_file() and any(found.glob("*.safetensors")) else None


class _Progress:
    """Counts bytes, and says every few seconds how many there are."""

    def __init__(self, model: str, total: int, loading: Callable[[], None]) -> None:
        self._model, self._total, self._loading = model, total, loading
        self._done = 0
        self._said = time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        self._loading()
        if time.monotonic() - self._said > REPORT_S:
            self._said = time.monotonic()
            log.info("%s: %.0f of %.0f MB", self._model, self._done / 1e6, self._total / 1e6)


def _file(source: Hub, name: str, path: str, size: int, folder: Path, progress: _Progress, model: str) -> None:
    whole, part = folder / path, folder / f"{path}.part"
    if whole.exists() and whole.stat().st_size == size:
        progress.add(size)
        return
    have = part.stat().st_size if part.exists() else 0
    progress.add(have)
    without = 0
    while have < size or not part.exists():
        before = have
        try:
            with source.open(source.address(name, path), have) as response, part.open("ab") as file:
                if have and response.status != 206:
                    # The host sends it from its beginning.
                    file.truncate(0)
                    have = before = 0
                while data := response.read(READ_BYTES):
                    file.write(data)
                    have += len(data)
                    progress.add(len(data))
            reason = "it sent less than it has"
        except OSError as error:
            reason = _reason(error)
            if isinstance(error, HTTPError) and error.code < 500 and error.code not in (408, 429):
                raise CannotLoad(_refusal(model, source, reason)) from None
        if size == 0 and part.exists():
            break
        without = 0 if have > before else without + 1
        if have < size and without >= TRIES_WITHOUT_PROGRESS:
            raise CannotLoad(_refusal(model, source, reason))
        if have < size:
            time.sleep(min(2**without, 8) / 4)
    if have > size:
        part.unlink()
        raise CannotLoad(_refusal(model, source, f"{path} is longer there than its list says"))
    part.rename(whole)


def _patiently(ask: Callable[[], dict[str, int]], source: Hub, model: str) -> dict[str, int]:
    """The list of files; asked again where the host could not be reached."""
    for last in (False, True):
        try:
            return ask()
        except HTTPError as error:
            raise CannotLoad(_refusal(model, source, _reason(error))) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            if last:
                raise CannotLoad(_refusal(model, source, _reason(error))) from None
            time.sleep(1)
    raise AssertionError


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return {401: "it wants a token (HF_TOKEN)", 403: "access is refused", 404: "there is no such model"}.get(
            error.code, f"HTTP {error.code}"
        )
    inner = getattr(error, "reason", error)
    return getattr(inner, "strerror", None) or type(inner).__name__


def _refusal(model: str, source: Hub, reason: str) -> str:
    return f"model: {model} could not be fetched from {source.host}: {reason}; a mirror can be named by HF_ENDPOINT"
