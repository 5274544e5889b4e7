"""docs/console-client.md shows what `star` prints: its commands are run again, and printed the same but for the times.

`STAR_RECORD=1` writes down what is printed now.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpapp.client.failures import Failure
from tests.clients.desk import Desk
from tests.clients.person import Person
from tests.conftest import ROOT, LiveServer
from tests.star.entra_provider import EntraProvider
from tests.star.entra_server import EntraServer
from tests.star.openai_server import calls, openai_server, says
from tests.star.recording import Recorder, comparable
from tests.star.shell import Shell

pytestmark = [pytest.mark.live, pytest.mark.clients]

DOCUMENT = ROOT / "docs" / "console-client.md"


def test_the_document_shows_what_the_program_prints(tmp_path: Path, new_server: Callable[[], LiveServer]) -> None:
    server = new_server()
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    profile = tmp_path / "cookies"
    desk = Desk(tmp_path, profile)
    shell = Shell(tmp_path)
    with EntraProvider(tmp_path) as provider, EntraServer(provider) as entra, openai_server() as model:
        shell.environment |= {name: desk.environment[name] for name in ("PATH", "BROWSER", "NO_COLOR", "STAR_PERSON")}
        shell.environment |= {"STAR_BROWSER_PROFILE": str(profile), "SSL_CERT_FILE": str(provider.certificate)}
        names = {
            entra.url: "https://mcp.contoso.example/mcp",
            provider.url: "https://login.microsoftonline.com",
            f"127.0.0.1:{server.port}": "127.0.0.1:8000",
            str(tmp_path / "cache"): "/home/demo/.local/state/star",
            model.url: "http://127.0.0.1:11434/v1",
        }
        recorder = Recorder(shell, names, {"[y/N]": "y"})
        follow = tmp_path / "follow"
        follow.write_text(f"#!{sys.executable}\nimport sys, httpx2\nhttpx2.get(sys.argv[1], follow_redirects=True)\n")
        follow.chmod(0o755)
        recorder.browsers["--entra"] = str(follow)
        recorder.added["--entra"] = ["--authority", provider.url]

        def connect(said: str) -> None:
            code = re.search(r"^ +([A-Z]{4}-[A-Z]{4})$", said, re.MULTILINE)
            assert code, said
            with Person("demo", "demo", profile) as person:
                person.connect_device(f"{server.url}/device/", code[1])

        recorder.on_device = connect
        model.turns += [calls(("protected-data", "{}")), says("You are demo.")]
        document = DOCUMENT.read_text(encoding="utf-8")
        found = recorder.record(document)
    if os.environ.get("STAR_RECORD"):
        DOCUMENT.write_text(found, encoding="utf-8")
    assert comparable(found) == comparable(document)


def test_the_document_has_every_exit_code_and_every_command() -> None:
    from mcpapp.client import failures
    from mcpapp.client.chat.model import EXIT_MODEL
    from mcpapp.client.cli import COMMANDS

    document = DOCUMENT.read_text(encoding="utf-8")
    table = document.partition("## Exit codes")[2].partition("\n## ")[0]
    codes = {value for name, value in vars(failures).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes | {0, EXIT_MODEL}
    assert Failure.exit_code in codes
    assert [name for name in COMMANDS if f"star {name}" not in document] == []


def test_what_the_document_says_that_goes_wrong_is_what_the_program_says() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    table = document.partition("## When something goes wrong")[2]
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mcpapp" / "client").rglob("*.py"))
    for quoted in re.findall(r"^\| “([^”]+)”", table, re.MULTILINE):
        # What the program puts in is whatever stands between.
        parts = [re.escape(part) for part in re.split(r"300", quoted)]
        assert re.search(r"[^\"]*".join(parts), source), quoted
