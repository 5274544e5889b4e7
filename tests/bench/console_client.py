"""What `star` costs: its imports, and what it adds to a call of the bare SDK with a static token.

    python -m tests.bench --only console

Programs run in turn, round by round, each in a process of its own, against one worker of ours. Imports and whole runs
are told in CPU of the process; what a call takes is wall clock, from opening the connection to closing it, after the
imports.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.processes import ROOT, ServerProcess, uvicorn

CALLS = 20

HEAD = """
import asyncio, json, sys, time
url, token, folder, calls = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
started = time.process_time()
"""
TAIL = """
imported = time.process_time() - started

async def main():
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        async with connected() as client:
            result = await client.call_tool("public-info")
            assert not result.is_error, result
        times.append(time.perf_counter() - begun)
    return times

print(json.dumps({"imported": imported, "times": asyncio.run(main())}))
"""
OURS = """
from pathlib import Path
from mcpapp.client import cli, lean_import
lean_import.wanted = True
from mcpapp.client import credentials, sdk
from mcpapp.client.connection import connect
from mcpapp.client.options import Options

def connected():
    return connect(url, Options(cache_dir=Path(folder)))
"""
BARE = """
from contextlib import asynccontextmanager
import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

@asynccontextmanager
async def connected():
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            yield client
"""


@dataclass
class ConsoleClient:
    """Medians over the rounds."""

    help_ms: float
    """CPU of `star --help`, all of the process."""
    imports_ms: float
    """CPU of what a call imports."""
    sdk_imports_ms: float
    """The same for a program on the bare SDK."""
    call_ms: float
    """A connection and a call of a signed-in person, after the imports."""
    added_ms: float
    """What of it the bare SDK with a static token does not take."""
    process_ms: float
    """CPU of `star call`, all of the process: Python, imports, the call, the end."""
    sdk_process_ms: float
    """The same for a program on the bare SDK that makes one call."""


def measure(token: str, folder: Path, rounds: int) -> ConsoleClient:
    """Run the programs in turn."""
    from mcpapp.client.sign_ins import SignIn, SignIns

    found: dict[str, list[float]] = {
        name: [] for name in ("help", "ours", "bare", "ours call", "bare call", "process", "bare process")
    }
    with ServerProcess("console", uvicorn("config.asgi:application"), folder) as server:
        url = f"http://127.0.0.1:{server.port}/star"
        cache = folder / "console"
        cache.mkdir()
        (cache / "no-keyring").touch()  # the file alone: keyrings differ from machine to machine
        sign_ins = SignIns(_options(cache))
        sign_ins.write(SignIn(url, tokens={"access_token": token, "token_type": "Bearer"}))
        for _ in range(rounds):
            found["help"].append(_cpu_of(sys.executable, "-m", "mcpapp.client", "--help"))
            command = ("-m", "mcpapp.client", "call", url, "public-info", "--cache-dir", str(cache))
            found["process"].append(_cpu_of(sys.executable, *command))
            one = (HEAD + BARE + TAIL, url, token, str(cache), "1")
            found["bare process"].append(_cpu_of(sys.executable, "-c", *one))
            for name, program in (("ours", OURS), ("bare", BARE)):
                told = _told(HEAD + program + TAIL, url, token, str(cache), str(CALLS))
                found[name].append(told["imported"])
                found[f"{name} call"].append(statistics.median(told["times"]))
    median = {name: statistics.median(values) * 1000 for name, values in found.items()}
    added = statistics.median(a - b for a, b in zip(found["ours call"], found["bare call"], strict=True)) * 1000
    return ConsoleClient(
        median["help"],
        median["ours"],
        median["bare"],
        median["ours call"],
        added,
        median["process"],
        median["bare process"],
    )


def _options(cache: Path) -> Any:
    from mcpapp.client.options import Options

    return Options(cache_dir=cache)


def _cpu_of(*command: str) -> float:
    """Return the CPU of a process, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _told(program: str, *arguments: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"A program of the console client failed:\n{done.stderr}")
    return json.loads(done.stdout)
