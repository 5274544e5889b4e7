"""A Redis of a test's own, that may be killed; where it is not installed, tests that need it are skipped."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import redis

from tests.conftest import free_port
from tests.mcpapp.workers import PATIENCE_SECONDS


class RedisServer:
    """A Redis of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        deadline = monotonic() + PATIENCE_SECONDS
        while True:
            try:
                assert self.client().ping()
                return
            except redis.RedisError:
                assert monotonic() < deadline
                sleep(0.02)

    def client(self) -> Any:
        return redis.Redis.from_url(self.url)

    def stored(self) -> list[bytes]:
        return sorted(self.client().keys("*"))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()
