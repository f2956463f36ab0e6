"""The real parts, on free ports: gunicorn with the shipped configuration, the shipped nginx.conf, Redis."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.parts import require
from tests.ports import free_port
from tests.reliability.reader import fetch
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
CONF = ROOT / "deploy" / "gunicorn.conf.py"
STARTED_S = 60.0

# name → the plan of the scripted upstream that its model's name carries, and the chunks it says
STREAMS = {
    "quick": ("count=40,pace=0", 40),
    "steady": ("count=40,pace=0.01", 40),
    "slow": ("count=40,pace=0.05", 40),
    "lasting": ("count=200,pace=0.05", 200),
    "long": ("count=400,pace=0.05", 400),
    "late": ("count=20,pace=0.01,wait=0.6", 20),
    "lull": ("count=20,pace=0.01,lull=0.6", 20),
    "pause": ("count=20,pace=0.01,lull=1.9", 20),
    "mute": ("count=20,hang=head", 20),
    "speechless": ("count=20,hang=first", 20),
    "silent": ("count=20,hang=between", 20),
    "planned": ("", 9),
}


def at_most(seconds: float) -> float:
    """A promised time as a test asks it: a test shares its machine with others, so there it is eight times as long.

    The full run (`python -m tests.reliability`) and the benchmarks set $SLUICE_SLACK to 1 and ask for the time itself.
    """
    return seconds * float(os.environ.get("SLUICE_SLACK", "8"))


def changed(what: str) -> dict[str, str]:
    """The environment in which processes are changed from inside; see inside/sitecustomize.py."""
    return {"SLUICE_CHANGE": what, "PYTHONPATH": str(Path(__file__).with_name("inside"))}


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Process:
    """A process of the rig, its output in a file; ended when the rig ends."""

    def __init__(self, name: str, command: list[str], folder: Path, environ: dict[str, str] | None = None) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
                env=os.environ | (environ or {}),
            )  # fmt: skip
        self.pid = self.process.pid

    def wait_started(self, holds: Callable[[], Any]) -> None:
        def started() -> Any:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.said()[-3000:]}")
            return holds()

        try:
            eventually(started, STARTED_S)
        except TimeoutError:
            self.kill()
            raise RuntimeError(f"{self.name} did not start:\n{self.said()[-3000:]}") from None

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """End it, softly first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class UpstreamProcess(Process):
    """The scripted upstream in a process of its own, its threads greenlets: for thousands of streams."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            sys.executable,
            "-m",
            "gevent.monkey",
            "--module",
            "gateway.cli",
            "upstream",
            "--port",
            str(self.port),
        ]
        super().__init__("upstream", command, folder)
        self.wait_started(lambda: answers(self.port))

    def asked(self) -> dict[str, int]:
        """How often each question was asked."""
        ledger = json.loads(fetch(self.address, "GET", "/-/asked").body)
        return Counter(asked["body"]["messages"][-1]["content"] for asked in ledger["asked"])


class Gateway(Process):
    """gunicorn with deploy/gunicorn.conf.py, in a folder of its own.

    server, provider, providers, databases   what the configuration has besides the providers of STREAMS, which
               `upstream_url` answers
    conf       another gunicorn configuration, which is only for the harness's own mutations
    """

    def __init__(
        self,
        folder: Path,
        upstream_url: str = "",
        *,
        server: dict[str, Any] | None = None,
        provider: dict[str, Any] | None = None,
        providers: dict[str, dict[str, Any]] | None = None,
        databases: dict[str, dict[str, Any]] | None = None,
        conf: Path = CONF,
        environ: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.metrics_port = free_port()
        self.address = ("127.0.0.1", self.port)
        common = {
            "type": "openai", "base_url": [upstream_url + "/v1"], "breaker": {"at_least": 1_000_000},
            # Twice as long as any stream here is silent.
            "timeouts": {"connect": 1, "first_token": 4, "idle": 4, "total": 60},
        }  # fmt: skip
        hosted = {
            name: common | (provider or {}) | {"model": f"m@{plan}" if plan else "m"}
            for name, (plan, _) in STREAMS.items()
        }
        self.settings: dict[str, Any] = {
            "server": {
                "bind": f"127.0.0.1:{self.port}", "metrics_bind": f"127.0.0.1:{self.metrics_port}", "workers": 1,
                "heartbeat_s": 0.5, "commit_after_s": 0.8,
            }
            | (server or {}),
            "default": next(iter(providers or hosted)),
            "providers": (hosted if upstream_url else {}) | (providers or {}),
            "databases": databases or {},
        }  # fmt: skip
        self.file = folder / "sluice.yaml"
        self.write()
        (folder / "logging.yaml").write_text((ROOT / "logging.yaml").read_text("utf-8"), "utf-8")
        (folder / "run").mkdir(exist_ok=True)
        command = [sys.executable, "-m", "gunicorn", "-c", str(conf), *arguments, "wsgi:app"]
        environment = {"SLUICE_CONFIG": str(self.file), "SLUICE_RUN_DIR": str(folder / "run")}
        super().__init__("gateway", command, folder, environment | (environ or {}))
        self.wait_started(lambda: answers(self.port) and fetch(self.address, "GET", "/healthz").status == 200)
        workers = self.settings["server"]["workers"]
        self.wait_started(lambda: len(self.workers()) == workers)

    def write(self) -> None:
        """Write the configuration, as `settings` has it now."""
        self.file.write_text(yaml.safe_dump(self.settings), "utf-8")

    def children(self) -> list[int]:
        file = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    def workers(self) -> list[int]:
        """The workers' process ids, oldest first; not those of the engine's supervisor and the metrics listener."""
        found = []
        for pid in self.children():
            with contextlib.suppress(OSError):
                if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def worker_of(self, port: int) -> int:
        """The worker that holds the other end of the connection whose near end is `port`; 0 if none does."""
        inodes = sockets_to(self.port, port)
        return next((pid for pid in self.workers() if inodes & descriptors(pid).keys()), 0)

    def answers_logged(self) -> list[dict[str, Any]]:
        """The log's lines about answers, oldest first."""
        lines = [line for line in self.said().splitlines() if line.startswith('{"time"')]
        return [fields for fields in map(json.loads, lines) if fields["event"] == "answer"]

    def metrics(self) -> dict[str, float]:
        """The samples of /metrics: `name{labels}` → value."""
        text = fetch(("127.0.0.1", self.metrics_port), "GET", "/metrics").body.decode()
        found = re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}

    def accounts(self) -> tuple[float, dict[str, float], float]:
        """Streams started, ended by cause, in flight."""
        samples = self.metrics()
        ended = {
            match[1]: value
            for name, value in samples.items()
            if (match := re.match(r'sluice_streams_ended_total\{cause="(\w+)"\}', name))
        }
        return samples.get("sluice_streams_started_total", 0), ended, samples.get("sluice_streams_in_flight", 0)

    def settled_accounts(self) -> tuple[float, dict[str, float], float] | None:
        """The same once nothing is in flight; None before."""
        found = self.accounts()
        return found if found[2] == 0 else None


class Nginx(Process):
    """nginx with the shipped deploy/nginx.conf; only its own port and the gateways' are others."""

    def __init__(self, folder: Path, *to_ports: int) -> None:
        program = require("nginx")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        shipped = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
        changed = shipped.replace("listen 8080;", f"listen 127.0.0.1:{self.port};")
        gateways = " ".join(f"server 127.0.0.1:{port};" for port in to_ports)
        changed = changed.replace("server 127.0.0.1:9001;", gateways)
        assert changed.count("127.0.0.1:") == 1 + len(to_ports), (
            "deploy/nginx.conf has other addresses than this test knows"
        )
        self.file = folder / "nginx.conf"
        self.file.write_text(changed, "utf-8")
        beside = f"daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.errors info;"
        super().__init__("nginx", [program, "-p", str(folder), "-c", str(self.file), "-g", beside], folder)
        self.wait_started(lambda: answers(self.port))

    def errors(self) -> str:
        return (self.log.parent / "nginx.errors").read_text("utf-8", "replace")


class Redis(Process):
    """A Redis of its own, that may be killed, stopped and started again on the same port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.arguments = folder, arguments
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        program = require("redis-server")
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        Process.__init__(self, "redis", [*command, "--dir", str(self.folder), *self.arguments], self.folder)
        self.wait_started(lambda: answers(self.port))


def sockets_to(server_port: int, client_port: int) -> set[str]:
    """The inodes of sockets on the server's side of that connection."""
    local, remote = f":{server_port:04X}", f":{client_port:04X}"
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local) and fields[2].endswith(remote):
            found.add(fields[9])
    return found - {"0"}


def descriptors(pid: int) -> dict[str, str]:
    """The open sockets of a process by inode, and everything else by path."""
    found = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(entry.path)
                found[target.removeprefix("socket:[").rstrip("]")] = entry.name
    return found


def memory_bytes(pid: int) -> int:
    """What the process holds in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A new folder, taken away afterwards; kept where SLUICE_KEEP is set, to look into a failed run."""
    if os.environ.get("SLUICE_KEEP"):
        yield Path(tempfile.mkdtemp(prefix="sluice-rig-"))
        return
    with tempfile.TemporaryDirectory(prefix="sluice-rig-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def unreachable() -> Iterator[tuple[str, int]]:
    """An address where connecting neither succeeds nor fails: its listener's backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


def connecting_to(port: int) -> set[str]:
    """The inodes of connections to that port that are still being made (SYN sent).

    The kernel takes 50 ms for this table: `descriptors` tells sooner when one of them is closed.
    """
    remote = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {fields[9] for fields in map(str.split, lines) if fields[2].endswith(remote) and fields[3] == "02"}


class Chain:
    """client ─ A ─ nginx ─ B ─ gateway ─ C ─ upstream: a fault proxy at each place, and no fault in any of them."""

    def __init__(self, where: Path, stack: contextlib.ExitStack, **options: Any) -> None:
        from providers.scripted import Upstream
        from tests.reliability.proxy import Proxy

        self.upstream = stack.enter_context(Upstream())
        self.to_upstream = stack.enter_context(Proxy(to=(self.upstream.host, self.upstream.port)))
        self.gateway = Gateway(where / "gateway", f"http://127.0.0.1:{self.to_upstream.port}", **options)
        stack.callback(self.gateway.kill)
        self.to_gateway = stack.enter_context(Proxy(to=self.gateway.address))
        self.nginx = Nginx(where / "nginx", self.to_gateway.port)
        stack.callback(self.nginx.kill)
        self.to_nginx = stack.enter_context(Proxy(to=self.nginx.address))
        self.places = {
            "client–nginx": self.to_nginx, "nginx–gateway": self.to_gateway, "gateway–upstream": self.to_upstream,
        }  # fmt: skip

    def asked(self, stream: str) -> list[Any]:
        """The upstream's ledger about this stream."""
        return [asked for asked in self.upstream.asked if asked.body["messages"][-1]["content"] == stream]

    def connection(self, stream: str) -> Any:
        """The upstream's connection that this stream used last."""
        number = self.asked(stream)[-1].connection
        return next(c for c in self.upstream.ledger.connections if c.number == number)

    def closed_at(self, stream: str, timeout_s: float = 5.0) -> float | None:
        """When the upstream learned that its connection was closed; None if it was not within `timeout_s`."""
        self.upstream.wait_until(lambda: self.connection(stream).closed_at is not None, timeout_s)
        at: float | None = self.connection(stream).closed_at
        return at
