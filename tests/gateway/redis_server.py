"""A Redis for a test alone, which can be killed and started again."""

from __future__ import annotations

import subprocess
import tempfile

import redis

from tests import parts
from tests.ports import free_port
from tests.waiting import eventually


class RedisServer:
    """A Redis of this test's own, which keeps nothing over a restart."""

    def __init__(self) -> None:
        self.program = parts.require("redis-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-redis-")
        self.client = redis.Redis(port=self.port)
        self.start()

    def start(self) -> None:
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([*command, "--dir", self.folder.name], stdout=subprocess.DEVNULL)
        eventually(lambda: self.client.ping())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.folder.cleanup()
