"""What is imported when: a command waits for nothing that it does not use. What the SDK must bear for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.star.program import Star

URL = "https://example.com/mcp"
HEAVY = {
    "asyncio",
    "cryptography",
    "filelock",
    "httpx2",
    "jsonschema",
    "keyring",
    "mcp",
    "mcp_types",
    "msal",
    "openai",
    "qrcode",
    "rich",
}


def told(program: str, *arguments: str, folder: Path = ROOT) -> str:
    command = [sys.executable, "-c", program, *arguments]
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(folder), "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported_by(tmp_path: Path, *arguments: str) -> set[str]:
    program = """
import sys
from mcpapp.client.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
    print("\\n" + " ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    return set(told(program, *arguments, folder=tmp_path).splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["login", "--help"], ["chat", "--help"], ["status"], ["status", "--json"], ["config", "vscode", URL]],
)
def test_what_talks_to_nobody_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    found = imported_by(tmp_path, *arguments)
    assert "typer" in found, "the reader of imports works"
    assert found & HEAVY == set()


def test_the_list_of_commands_does_not_even_import_what_reads_their_options(tmp_path: Path) -> None:
    """typer checks the types of options with pydantic."""
    assert "pydantic" in imported_by(tmp_path, "status")
    assert "pydantic" not in imported_by(tmp_path, "--help")


LEAN = """
import sys
from mcpapp.client import lean_import
assert lean_import.import_client()
import mcp.client
print(sorted(name for name in sys.modules if name.partition(".")[0] in {"starlette", "uvicorn", "sse_starlette"}))
print(sorted(name for name in sys.modules if name.startswith("mcp.server")))
from mcp.server import Server
from mcp.server.mcpserver import MCPServer
print(Server.__module__, MCPServer.__module__)
"""


def test_the_client_of_the_sdk_is_imported_without_its_server_which_can_be_had_afterwards() -> None:
    """The seam: `mcp.client` needs names of `mcp.server` for nothing but a server of the same process."""
    others, left, server = told(LEAN).splitlines()
    assert others == "[]"
    assert left == "[]"
    assert server == "mcp.server.lowlevel.server mcp.server.mcpserver.server"


def test_an_sdk_that_does_not_bear_it_is_imported_as_usual() -> None:
    program = """
import sys
from mcpapp.client import lean_import
lean_import._StandIn.__getattr__ = lambda self, name: 1 / 0
assert not lean_import.import_client()
from mcp.client import Client
assert "starlette" in sys.modules
print("usual")
"""
    assert told(program).strip() == "usual"


def test_a_program_that_has_the_sdk_keeps_it() -> None:
    program = """
import mcp.server
from mcpapp.client import lean_import
before = mcp.server
assert not lean_import.import_client()
import sys
assert sys.modules["mcp.server"] is before
print("kept")
"""
    assert told(program).strip() == "kept"


def test_a_call_of_who_is_signed_in_imports_no_server_and_no_sign_in(star: Star, url: str) -> None:
    """Nor what draws, where nobody looks, nor what locks and encrypts, where the kept token is good."""
    star("login", url)
    program = """
import sys
from mcpapp.client.cli import main
try:
    main(["call", sys.argv[1], "protected-data"])
except SystemExit as end:
    assert not end.code, end.code
print("\\n" + " ".join(sorted(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, url], env=star.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer, _, modules = done.stdout.rstrip().rpartition("\n")
    assert json.loads(answer)["username"] == "demo"
    found = set(modules.split())
    assert "mcp.client.client" in found, "the reader of imports works"
    ours = {"asking", "browser", "device", "entra", "http_log", "keyrings", "loopback", "questions", "sign_in"}
    others = {"cryptography", "filelock", "keyring", "msal", "openai", "qrcode", "rich", "starlette", "uvicorn"}
    assert found & (others | {f"mcpapp.client.{name}" for name in ours} | {"mcp.server"}) == set()
