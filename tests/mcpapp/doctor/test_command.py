"""`manage.py mcp_doctor` as somebody runs it: in a process of its own, against the site's public URL."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.conftest import ROOT, LiveDatabases
from tests.mcpapp.doctor.conftest import Clinic, opened
from tests.mcpapp.doctor.proxy import Asked, Forward, Reply, no_fault
from tests.mcpapp.doctor.test_secrets import overhearing, repeating

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

USUAL = "PEOPLE ['admin', 'demo', 'demo2']"


@pytest.fixture(autouse=True)
def _no_fault(clinic: Clinic) -> Iterator[None]:
    clinic.proxy.fault, clinic.proxy.seen = no_fault, []
    yield
    clinic.proxy.fault = no_fault


def started(clinic: Clinic, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "mcp_doctor", *arguments],
        cwd=ROOT,
        env={**clinic.server.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def run(clinic: Clinic, *arguments: str, code: int = 0, **environment: str) -> tuple[str, str]:
    process = started(clinic, *arguments, **environment)
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, out + err
    assert "Traceback" not in out + err
    return out, err


def facts(clinic: Clinic) -> list[str]:
    """Who and what is in the site's database."""
    people = sorted(str(row[0]) for row in rows(clinic, "SELECT username FROM auth_user"))
    counted = [
        f"{table} {rows(clinic, f'SELECT count(*) FROM {table}')[0][0]}"  # noqa: S608  (names of our own)
        for table in ("authapp_application", "authapp_connection", "django_session")
    ]
    return [f"PEOPLE {people}", *counted]


def rows(clinic: Clinic, statement: str) -> list[tuple[Any, ...]]:
    url = clinic.server.environment["DATABASE_URL"]
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            return database.execute(statement).fetchall()
    import psycopg

    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_a_healthy_site_is_told_in_words_and_leaves_nothing_behind(clinic: Clinic) -> None:
    before = facts(clinic)
    assert USUAL in before
    out, err = run(clinic, "--all")
    assert err == ""
    assert f"The doctor at {clinic.url}\n" in out
    assert "MCP Inspector: connects.\n" in out
    assert "checks passed." in out
    assert facts(clinic) == before
    used = {asked.header("user-agent") for asked in clinic.proxy.seen}
    assert used >= {"Claude-User", "Cursor/3.14.0", "claude-code/2.1.330 (cli)"}


def test_json_is_json_and_nothing_else(clinic: Clinic) -> None:
    out, _ = run(clinic, "--json", "--as", "vscode, Codex")
    report = json.loads(out)
    assert report["format"] == 1
    assert report["url"] == clinic.url
    assert report["healthy"] is True
    assert report["clients"] == [{"client": "VS Code", "stops_at": None}, {"client": "Codex", "stops_at": None}]
    assert report["counts"]["error"] == 0
    finding = report["findings"][0]
    assert set(finding) == {"step", "check", "level", "saw", "why", "matters_to", "fix"}
    assert sum(report["counts"].values()) == len(report["findings"])


def test_something_wrong_is_exit_code_1_with_the_reason_and_the_fix(clinic: Clinic) -> None:
    clinic.proxy.fault = lambda asked, forward: (
        Reply(404) if asked.path == "/.well-known/oauth-protected-resource/star" else forward(asked)
    )
    out, _ = run(clinic, "--as", "claude-code", code=1)
    assert "[discovery.path-form-missing]" in out
    assert "Matters to: Claude Code." in out
    assert "      Fix: Serve http://127.0.0.1:" in out
    assert "             location ^~ /.well-known/oauth-protected-resource {" in out
    assert "Claude Code: stops at the step discovery." in out


@pytest.mark.parametrize("form", [[], ["--json"], ["-v", "2"]], ids=["words", "json", "all words"])
def test_no_secret_is_in_what_is_printed(clinic: Clinic, form: list[str]) -> None:
    heard: set[str] = set()
    clinic.proxy.fault = overhearing(repeating("/token", "/o/revoke_token/"), heard)
    out, err = run(clinic, "--as", "claude,python-sdk", *form, code=1)
    assert len(heard) > 20
    assert {secret for secret in heard if secret in out + err} == set()


def test_the_walk_of_a_person_who_is_named_leaves_them_and_no_connection(clinic: Clinic) -> None:
    before = facts(clinic)
    run(clinic, "--user", "demo2", "--as", "cursor")
    assert facts(clinic) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--as", "netscape"], "Nobody here is called netscape. There are vscode, cursor,"),
        (["--as", ","], "--as names no client."),
        (["--user", "nobody"], "There is no user 'nobody'."),
        (["--user", "demo", "http://127.0.0.1:1/mcp"], "--user is for this site"),
        (["example.com/mcp"], "The URL is what people paste"),
        (["https://me:pw@example.com/mcp"], "no user, no password"),
        (["http://[::1/mcp"], "The URL is what people paste"),
        (["--all", "--as", "vscode"], "not allowed with argument"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@pytest.mark.django_db
def test_what_cannot_be_run_is_exit_code_2_and_a_sentence(arguments: list[str], said: str) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError) as raised:
        call_command("mcp_doctor", *arguments, stdout=out)
    assert said in str(raised.value)
    assert raised.value.returncode == 2 or "not allowed" in said
    assert out.getvalue() == ""


def test_a_server_that_cannot_be_reached_is_exit_code_2(clinic: Clinic) -> None:
    out, _ = run(clinic, "http://127.0.0.1:1/mcp", code=2)
    assert "the connection was refused: nothing listens there" in out
    assert "[endpoint.unreachable]" in out


def test_help_has_examples_and_every_client(clinic: Clinic) -> None:
    out, _ = run(clinic, "--help")
    assert "manage.py mcp_doctor --as codex,gemini" in out
    assert "exit code: 0 nothing is wrong, 1 something is, 2 it could not be examined" in out
    assert all(name in out for name in ("vscode", "claude-code", "chatgpt", "mcp-remote"))


def test_a_terminal_without_these_characters_still_gets_a_report(clinic: Clinic) -> None:
    out, _ = run(clinic, "--as", "vscode", PYTHONIOENCODING="ascii")
    assert "VS Code: connects." in out


def test_a_proxy_of_the_environment_is_not_asked_for_what_is_on_this_machine(clinic: Clinic) -> None:
    out, _ = run(clinic, "--as", "vscode", HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1")
    assert "VS Code: connects." in out


class Halfway:
    """Holds the walk where a person is about to allow."""

    def __init__(self, clinic: Clinic) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        clinic.proxy.fault = self

    def __call__(self, asked: Asked, forward: Forward) -> Reply:
        if asked.path == "/o/authorize/" and asked.method == "POST":
            self.reached.set()
            self.go_on.wait(60)
        return forward(asked)


def test_ctrl_c_removes_what_was_made(clinic: Clinic) -> None:
    before = facts(clinic)
    halfway = Halfway(clinic)
    process = started(clinic, "--as", "vscode")
    assert halfway.reached.wait(60)
    [made] = [line for line in facts(clinic) if line.startswith("PEOPLE")]
    assert "mcp-doctor-" in made, "there is somebody to remove"
    os.kill(process.pid, signal.SIGINT)
    halfway.go_on.set()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, out + err
    assert "Interrupted" in err
    assert "Traceback" not in out + err
    assert facts(clinic) == before


def test_what_a_killed_run_leaves_is_removed_by_the_next(clinic: Clinic) -> None:
    halfway = Halfway(clinic)
    process = started(clinic, "--as", "vscode")
    assert halfway.reached.wait(60)
    process.kill()
    process.communicate(timeout=60)
    halfway.go_on.set()
    clinic.proxy.fault = no_fault
    assert "mcp-doctor-" in facts(clinic)[0]
    run(clinic, "--as", "vscode")
    assert facts(clinic)[0] == USUAL


def test_another_checkout_than_the_one_that_answers_is_told_apart(clinic: Clinic) -> None:
    """The same database and another SECRET_KEY, as after a copy of the settings that left it out."""
    out, _ = run(clinic, "--as", "vscode", code=1, SECRET_KEY="another-secret-key-that-is-long-enough-for-django-0123")
    assert "[site.session-not-taken]" in out
    assert "This checkout is not the site that answers there" in out


def test_a_site_where_people_sign_in_with_entra_alone_is_walked_all_the_same(
    tmp_path: Path, live_databases: LiveDatabases
) -> None:
    """Nobody signs in with a password there, and the doctor needs none."""
    entra = {
        "ENTRA_TENANT_ID": "11111111-2222-3333-4444-555555555555",
        "ENTRA_CLIENT_ID": "66666666-2222-3333-4444-555555555555",
        "ENTRA_CLIENT_SECRET": "not-a-secret",
        "ENTRA_ONLY": "true",
    }
    with opened(tmp_path, live_databases, **entra) as clinic:
        before = facts(clinic)
        out, _ = run(clinic, "--as", "vscode")
        assert "VS Code: connects." in out
        assert facts(clinic) == before
