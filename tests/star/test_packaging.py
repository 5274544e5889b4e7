"""The console client is installed alone: a wheel of it has no site in it, and runs where there is no Django."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"django", "asgiref", "authapp", "config"}:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
sys.path[:0] = [sys.argv.pop(1)]
import mcpapp.client.cli
assert mcpapp.client.cli.__file__.startswith(sys.path[0]), mcpapp.client.cli.__file__
mcpapp.client.cli.main()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install .` puts into a folder, without an index."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "uv", "build", "--wheel", "--offline", "--quiet", "--out-dir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder / "installed")
    return folder / "installed"


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The client's own packages, and of this checkout nothing.
    environment = {"PYTHONPATH": sysconfig.get_path("purelib"), "HOME": str(installed), "COLUMNS": "200"}
    command = [sys.executable, "-S", "-c", BLOCKED, str(installed), *arguments]
    return subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_client_and_nothing_of_the_site(installed: Path) -> None:
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    python = {path for path in files if path.endswith((".py", ".html", ".po", ".js"))}
    assert python
    assert {path for path in python if not path.startswith("mcpapp/client/")} == set()
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mcpapp" / "client").rglob("*.py")}
    assert here <= python, "all of it"


def test_the_wheel_has_the_command(installed: Path) -> None:
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "star = mcpapp.client.cli:main" in entry_points.read_text().replace("'", "").replace('"', "")


def test_the_client_runs_where_there_is_no_django(installed: Path) -> None:
    told = run(installed, "--help")
    assert told.returncode == 0, told.stderr
    assert "login" in told.stdout
    status = run(installed, "status", "--json")
    assert (status.returncode, status.stdout.strip()) == (0, "[]"), status.stderr
    # As far as the network, through the SDK and the sign-in.
    login = run(installed, "login", "http://127.0.0.1:1/mcp")
    assert login.returncode == 4, login.stderr
    assert "cannot be reached" in login.stderr
