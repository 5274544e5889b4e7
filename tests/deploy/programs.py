"""Programs that the shipped files are for, or are checked by."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"


def program(name: str) -> str:
    """Return where a program is; skip the test where it is not installed."""
    beside = Path(sys.executable).parent / name
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # where Debian keeps servers
    found = str(beside) if beside.exists() else shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=100, check=False)
