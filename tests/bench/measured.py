"""All that one run of the benchmark found, and what it ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench.console_client import ConsoleClient
from tests.bench.field import Contender
from tests.bench.in_process import CallFigures
from tests.bench.lifetime import Lifetime
from tests.bench.lookups import Lookup
from tests.bench.processes import ROOT
from tests.bench.rounds import Results
from tests.bench.token_endpoint import Exchanges

PACKAGES = ("mcp", "uvicorn", "uvloop", "httptools", "django", "django-oauth-toolkit", "fastmcp")


@dataclass
class Measured:
    """The parts that were not measured are None or empty."""

    command: str
    machine: str
    versions: dict[str, str]
    database: str = "SQLite"
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))
    field_of: list[Contender] = field(default_factory=list)
    http: Results | None = None
    calls: CallFigures | None = None
    lookups: dict[str, list[Lookup]] = field(default_factory=dict)
    exchanges: dict[str, dict[str, list[Exchanges]]] = field(default_factory=dict)
    lifetime: Lifetime | None = None
    console: ConsoleClient | None = None


def machine() -> str:
    """Return the processor's name and how many of it this process may use."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return f"{len(os.sched_getaffinity(0))} cores of {model}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter, and the commit of ours."""
    git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    found = {"Star": commit} if commit else {}
    return {**found, "Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
