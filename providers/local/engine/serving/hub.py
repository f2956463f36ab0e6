"""Fetching a model from a hub, file by file; what was fetched stays, and a cut file goes on where it ended.

owner/name             Hugging Face, or the mirror that HF_ENDPOINT names; HF_TOKEN opens gated models
modelscope:owner/name  ModelScope, or what MODELSCOPE_ENDPOINT names

Files lie in $SLUICE_MODELS, by default ~/.cache/sluice/models. A model in Hugging Face's own cache is used from there.
Weights are compared with the SHA-256 that the hub's list has of them; one that differs is fetched once more.
Sources: https://huggingface.co/docs/hub/api (tree, resolve); ModelScope's hub API (repo/files, resolve).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the hub's list has it: its size in bytes and its SHA-256, "" where the list has none."""

    size: int
    sha256: str = ""


class _SameHost(HTTPRedirectHandler):
    """Follows redirects; a key is for the hub alone and not for the hosts that it points to."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            request.remove_header("Authorization")
        return request


class Hub:
    """One hub: where its lists and files are. `host` is named in errors; `variable` can name a mirror."""

    def __init__(self, variable: str, endpoint: str, list_path: str, file_path: str, token: str = "") -> None:
        self.variable = variable
        self.endpoint = (os.environ.get(variable) or endpoint).rstrip("/")
        self.host = urlsplit(self.endpoint).netloc
        self._list_path, self._file_path = list_path, file_path
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._opener: OpenerDirector = build_opener(_SameHost)

    def open(self, url: str, start: int = 0) -> Any:
        headers = self._headers | ({"Range": f"bytes={start}-"} if start else {})
        return self._opener.open(Request(url, headers=headers), timeout=TIMEOUT_S)  # noqa: S310 - the hub's own address

    def files(self, name: str) -> dict[str, Listed]:
        """The wanted files of a model."""
        with self.open(self.endpoint + self._list_path.format(name=name)) as response:
            listed = json.load(response)
        entries = listed if isinstance(listed, list) else listed["Data"]["Files"]
        files = {entry.get("path") or entry["Path"]: _listed(entry) for entry in entries}
        # Only those at the top: folders hold other forms of the weights.
        return {path: file for path, file in files.items() if "/" not in path and _wanted(path)}

    def address(self, name: str, path: str) -> str:
        return self.endpoint + self._file_path.format(name=name, path=quote(path))


def _listed(entry: dict[str, Any]) -> Listed:
    """Hugging Face has the SHA-256 of large files only, as `lfs.oid`; ModelScope has it of all."""
    large = entry.get("lfs")
    digest = large.get("oid") if isinstance(large, dict) else entry.get("Sha256")
    return Listed(int(entry.get("size") or entry.get("Size") or 0), str(digest or "").lower())


def _wanted(path: str) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in WANTED)


def hub(model: str) -> tuple[Hub, str]:
    """The hub that `model` names, and the model's name there."""
    if model.startswith("modelscope:"):
        listed = "/api/v1/models/{name}/repo/files?Revision=master&Recursive=true"
        there = Hub("MODELSCOPE_ENDPOINT", "https://www.modelscope.cn", listed, "/models/{name}/resolve/master/{path}")
        return there, model.removeprefix("modelscope:")
    listed = "/api/models/{name}/tree/main?recursive=true"
    token = os.environ.get("HF_TOKEN", "")
    return Hub("HF_ENDPOINT", "https://huggingface.co", listed, "/{name}/resolve/main/{path}", token), model


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
        files = _patiently(lambda: source.files(name), source, model)
    except CannotLoad:
        if (folder / COMPLETE).exists():
            log.warning("%s cannot be asked; %s is used as it was fetched before", source.host, model)
            return folder
        raise
    progress = _Progress(model, sum(file.size for file in files.values()), loading)
    for path, listed in files.items():
        _file(source, name, path, listed, folder, progress, model)
    (folder / COMPLETE).touch()
    return folder


def _from_cache(model: str) -> Path | None:
    """The folder in Hugging Face's own cache, if the model is there."""
    try:
        from huggingface_hub import snapshot_download

        snapshot = Path(snapshot_download(model, allow_patterns=list(WANTED), local_files_only=True))
    except Exception:  # noqa: BLE001 - no library, no cache, or a name that it refuses
        return None
    return snapshot if (snapshot / "config.json").is_file() and any(snapshot.glob("*.safetensors")) else None


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


def _file(source: Hub, name: str, path: str, listed: Listed, folder: Path, progress: _Progress, model: str) -> None:
    """Fetch one file. What was compared is noted beside it, so that a later start does not read it again."""
    whole, part, noted = folder / path, folder / f"{path}.part", folder / f"{path}.sha256"
    if whole.exists() and whole.stat().st_size == listed.size:
        known = noted.read_text() if noted.exists() else _digest(whole, progress) if listed.sha256 else ""
        if known == listed.sha256 or not listed.sha256:
            noted.write_text(known)
            progress.add(listed.size)
            return
        log.warning("%s: %s has changed at %s; it is fetched anew", model, path, source.host)
    for last in (False, True):
        _download(source, name, path, listed.size, part, progress, model)
        if not listed.sha256 or _digest(part, progress) == listed.sha256:
            break
        part.unlink()
        if last:
            raise CannotLoad(_refusal(model, source, f"{path} is not what its list says (SHA-256)"))
        log.warning("%s: %s is not what the list of %s says; it is fetched once more", model, path, source.host)
    part.replace(whole)
    noted.write_text(listed.sha256)


def _digest(file: Path, progress: _Progress) -> str:
    sha256 = hashlib.sha256()
    with file.open("rb") as opened:
        while data := opened.read(READ_BYTES):
            sha256.update(data)
            progress.add(0)
    return sha256.hexdigest()


def _download(source: Hub, name: str, path: str, size: int, part: Path, progress: _Progress, model: str) -> None:
    """Fill `part`, from where it ended."""
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


def _patiently(ask: Callable[[], dict[str, Listed]], source: Hub, model: str) -> dict[str, Listed]:
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
    return (
        f"model: {model} could not be fetched from {source.host}: {reason}; a mirror can be named by {source.variable}"
    )
