"""Silent when it can be, a browser when it must: `star` at this server, with a scripted person."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.clients.desk import Desk
from tests.clients.person import Person
from tests.conftest import LiveServer
from tests.star.program import Star

MADE_BY_HAND = """
from authapp.models import Application
made = Application.objects.create(
    name="Made by hand",
    client_type=Application.CLIENT_PUBLIC,
    redirect_uris="http://127.0.0.1/callback",
    authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
)
print(made.client_id)
"""
LOGIN = [
    "POST /star",
    "GET /.well-known/oauth-protected-resource/star",
    "GET /.well-known/oauth-authorization-server",
    "POST /o/register/",
    "POST /o/token/",
]
AUTHORIZATION_SERVER = ("/o/", "/.well-known/")


def asked_of_the_authorization_server(star: Star, err: str) -> list[str]:
    return [step for step in star.steps(err) if step.partition(" ")[2].startswith(AUTHORIZATION_SERVER)]


def scopes_asked(visit: str) -> set[str]:
    return set(parse_qs(urlsplit(visit).query)["scope"][0].split())


def test_login_opens_the_browser_and_keeps_the_sign_in(star: Star, url: str, desk: Desk) -> None:
    done = star("login", url, "--verbose")
    assert done.stdout == ""
    assert f"Signed in to {url}." in done.stderr
    assert star.steps(done.stderr) == LOGIN
    (visit,) = desk.visits()
    asked = parse_qs(urlsplit(visit).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", asked["redirect_uri"][0])
    assert asked["resource"] == [url]
    client = star.content()["client"]
    assert client["client_name"].startswith("star on ")
    assert client["token_endpoint_auth_method"] == "none"
    assert "urn:ietf:params:oauth:grant-type:device_code" in client["grant_types"]


def test_the_second_call_asks_the_authorization_server_for_nothing(star: Star, url: str, desk: Desk) -> None:
    first = star.call(url, "protected-data")
    assert asked_of_the_authorization_server(star, first.stderr) == LOGIN[1:]
    assert "demo" in first.stdout
    second = star.call(url, "protected-data")
    assert asked_of_the_authorization_server(star, second.stderr) == []
    assert set(star.steps(second.stderr)) == {"POST /star"}
    assert second.stdout == first.stdout
    assert len(desk.visits()) == 1


def test_login_is_silent_for_who_is_signed_in_and_asks_with_again(star: Star, url: str, desk: Desk) -> None:
    star("login", url)
    again = star("login", url, "--verbose")
    assert "You are signed in to" in again.stderr
    assert star.steps(again.stderr) == []
    star("login", url, "--again")
    assert len(desk.visits()) == 2


def test_a_token_that_ended_is_refreshed_before_the_call(star: Star, url: str, desk: Desk) -> None:
    star.call(url, "protected-data")
    before = star.content()["tokens"]
    star.change(expires_at=time.time() - 1)
    done = star.call(url, "protected-data")
    assert asked_of_the_authorization_server(star, done.stderr) == ["POST /o/token/"]
    after = star.content()["tokens"]
    assert after["access_token"] != before["access_token"]
    assert after["refresh_token"] != before["refresh_token"]
    assert len(desk.visits()) == 1


def test_a_token_that_the_server_refuses_is_refreshed_once(star: Star, url: str, desk: Desk) -> None:
    star.call(url, "protected-data")
    star.change(tokens=star.content()["tokens"] | {"access_token": "gone"})
    done = star.call(url, "protected-data")
    assert asked_of_the_authorization_server(star, done.stderr) == ["POST /o/token/"]
    assert "demo" in done.stdout
    assert len(desk.visits()) == 1


def test_a_sign_in_that_the_person_ended_leads_to_the_browser_again(star: Star, url: str, desk: Desk) -> None:
    star.call(url, "protected-data")
    star.change(tokens={"access_token": "gone", "refresh_token": "gone"})
    done = star.call(url, "protected-data")
    assert "demo" in done.stdout
    assert len(desk.visits()) == 2
    assert "POST /o/register/" not in star.steps(done.stderr), "the client is known still"


def test_a_client_that_the_server_forgot_is_registered_anew(star: Star, url: str, desk: Desk) -> None:
    """RFC 6749 4.1.2.1: the page would say so to the person alone, and nobody would come back."""
    star("login", url)
    star.change(tokens={}, client=star.content()["client"] | {"client_id": "forgotten"})
    done = star("login", url, "--verbose")
    assert "Signed in to" in done.stderr
    assert star.content()["client"]["client_id"] != "forgotten"
    assert len(desk.visits()) == 1 + 1


def test_the_registered_port_is_used_again_and_another_one_is_registered_if_it_is_taken(
    star: Star, url: str, desk: Desk
) -> None:
    star("login", url)
    star("login", url, "--again")
    first, second = (parse_qs(urlsplit(visit).query) for visit in desk.visits())
    assert first["redirect_uri"] == second["redirect_uri"]
    assert first["client_id"] == second["client_id"]
    port = urlsplit(first["redirect_uri"][0]).port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        star("login", url, "--again")
    third = parse_qs(urlsplit(desk.visits()[2]).query)
    assert third["redirect_uri"] != first["redirect_uri"]
    assert third["client_id"] != first["client_id"]


def test_a_tool_that_needs_more_scope_leads_to_one_consent_for_all_and_the_call_goes_on(
    star: Star, url: str, desk: Desk
) -> None:
    star.call(url, "protected-data")
    (visit,) = desk.visits()
    assert "mcp:write" not in scopes_asked(visit), "the control: it was not asked for before"
    done = star.call(url, "disconnect-app", json.dumps({"connection_id": 2**31}))
    assert "There is no such thing." in done.stdout
    assert {"mcp:tools", "mcp:write"} <= scopes_asked(desk.visits()[1])
    assert len(desk.visits()) == 2
    after = star.call(url, "protected-data")
    assert asked_of_the_authorization_server(star, after.stderr) == []
    assert {"mcp:tools", "mcp:write"} <= set(star.content()["tokens"]["scope"].split())


def test_more_scopes_can_be_asked_for(star: Star, url: str, desk: Desk) -> None:
    done = star("login", url, "--scope", "openid email")
    (visit,) = desk.visits()
    assert {"mcp:tools", "openid", "email"} <= scopes_asked(visit)
    assert "who: " in done.stderr, "the server tells who it is"


def test_a_client_that_the_owner_made_is_used_and_none_is_registered(
    star: Star, url: str, prepared_server: LiveServer, desk: Desk
) -> None:
    """`--client-id`, for servers that register none; the port is free to choose (RFC 8252 7.3)."""
    client_id = prepared_server.manage("shell", "--no-imports", "--command", MADE_BY_HAND).strip()
    done = star("login", url, "--client-id", client_id, "--verbose")
    assert "POST /o/register/" not in star.steps(done.stderr)
    assert f"as client: {client_id}" in done.stderr
    (visit,) = desk.visits()
    assert parse_qs(urlsplit(visit).query)["client_id"] == [client_id]
    assert json.loads(star("call", url, "protected-data").stdout)["client"] == "Made by hand"
    # Another client's sign-in is not taken for this one's.
    star("call", url, "protected-data", "--client-id", "another", "--timeout", "1", code=3)


class Waiting:
    """A command that waits for its person, who opens the page by hand."""

    def __init__(self, star: Star, *arguments: str) -> None:
        self.star = star
        self.process = star.start(*arguments, "--no-browser")
        assert self.process.stderr
        self.told = ""
        while "Waiting for you" not in self.told:
            line = self.process.stderr.readline()
            assert line, self.told
            self.told += line
        found = re.search(r"^http\S+/o/authorize/\S+$", self.told, re.MULTILINE)
        assert found, self.told
        self.page = found[0]
        self.redirect_uri = parse_qs(urlsplit(self.page).query)["redirect_uri"][0]

    def ends(self, code: int) -> str:
        _, err = self.process.communicate(timeout=30)
        assert self.process.returncode == code, err
        assert "Traceback" not in err
        return err


def get(url: str, **headers: str) -> httpx2.Response:
    return httpx2.get(url, headers=headers, trust_env=False)


def test_no_browser_prints_the_page_and_waits(star: Star, url: str, person: Person, desk: Desk) -> None:
    waiting = Waiting(star, "login", url)
    page = get(person.approve(waiting.page))
    assert page.status_code == 200
    assert "go back to the terminal" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "Signed in to" in waiting.ends(0)
    assert desk.visits() == []


def test_a_consent_that_is_refused_ends_it_with_a_sentence(star: Star, url: str, person: Person) -> None:
    waiting = Waiting(star, "login", url)
    page = get(person.approve(waiting.page, deny=True))
    assert "You are not signed in" in page.text
    assert "star: The sign-in was refused." in waiting.ends(3)
    assert star.content()["tokens"] == {}


def test_what_others_send_to_the_address_ends_nothing(star: Star, url: str, person: Person) -> None:
    """RFC 6749 10.12: any page may send the browser there; RFC 8252 8.9 for what listens."""
    waiting = Waiting(star, "login", url)
    address = waiting.redirect_uri
    assert get(f"{address}?error=access_denied").status_code == 400
    assert get(f"{address}?code=x&state=y").status_code == 400
    assert get(f"{address}?code=x&code=y").status_code == 400
    assert get(f"{address}/more?code=x").status_code == 404
    assert get(address.replace("/callback", "/favicon.ico")).status_code == 404
    assert httpx2.post(address, trust_env=False).status_code == 405
    assert get(address, Host="evil.example").status_code == 421
    with socket.create_connection(("127.0.0.1", urlsplit(address).port)) as rude:
        rude.sendall(b"GET /callback?" + b"a" * 20_000)
    answer = person.approve(waiting.page)
    assert get(answer).status_code == 200
    assert "Signed in to" in waiting.ends(0)
    with pytest.raises(httpx2.ConnectError):
        get(answer)


def test_an_answer_of_another_issuer_is_refused(star: Star, url: str, person: Person) -> None:
    """RFC 9207 2.4"""
    waiting = Waiting(star, "login", url)
    answer = httpx2.URL(person.approve(waiting.page))
    get(str(answer.copy_set_param("iss", "https://evil.example")))
    assert "The sign-in failed" in waiting.ends(3)
    assert star.content()["tokens"] == {}


def test_nobody_signing_in_ends_it_after_the_time_limit(star: Star, url: str) -> None:
    started = time.monotonic()
    done = star("login", url, "--no-browser", "--timeout", "1", code=3)
    assert "Nobody signed in within 1 seconds." in done.stderr
    assert time.monotonic() - started < 20


def test_ctrl_c_gives_up_and_leaves_no_listener(star: Star, url: str) -> None:
    waiting = Waiting(star, "login", url)
    waiting.process.send_signal(2)
    assert "Stopped." in waiting.ends(130)
    with pytest.raises(httpx2.ConnectError):
        get(waiting.redirect_uri)


def test_secrets_are_masked_in_the_steps(star: Star, url: str) -> None:
    done = star.call(url, "protected-data")
    star.change(expires_at=1)
    done.stderr += star.call(url, "protected-data").stderr
    done.stderr += star("logout", url, "--verbose").stderr
    assert "Authorization: Bearer ***" in done.stderr
    assert "code=***" in done.stderr
    assert "code_verifier=***" in done.stderr
    assert "refresh_token=***" in done.stderr
    assert not re.search(r"star_[\w-]{20,}", done.stderr)
    # The page to open is for the person; in the steps its state is masked.
    steps = [line for line in done.stderr.splitlines() if line.startswith(("→", "←"))]
    assert not [line for line in steps if re.search(r"(state|code)=[\w-]", line)]


def test_status_tells_of_each_server_and_logout_ends_it(star: Star, url: str, live_server_url: str) -> None:
    assert "You are signed in nowhere" in star("status").stderr
    assert "You are not signed in" in star("status", url, code=3).stderr
    star("login", url)
    told = star("status").stdout
    assert url in told
    assert "mcp:tools" in told
    assert re.search(r"access +for \d+ minutes, it is then renewed by itself", told)
    assert "unencrypted" in told
    (facts,) = json.loads(star("status", url, "--json").stdout)
    assert facts["url"] == url
    assert facts["issuer"] == live_server_url
    assert "mcp:tools" in facts["scopes"]
    assert facts["expires_at"] > time.time()
    tokens = star.content()["tokens"]

    def answers(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        return httpx2.post(url, json=body, headers=headers, trust_env=False).status_code

    assert answers(tokens["access_token"]) == 200
    assert f"Signed out of {url}." in star("logout").stderr
    assert answers(tokens["access_token"]) == 401
    assert star.kept() == []
    assert "You are not signed in to" in star("logout", url).stderr


def test_logout_forgets_also_if_the_server_cannot_be_told(star: Star, url: str) -> None:
    star("login", url)
    star.change(server=star.content()["server"] | {"revocation_endpoint": "http://127.0.0.1:1/"})
    assert "The server could not be told" in star("logout", url).stderr
    assert star.kept() == []


def test_a_server_that_is_not_there_is_told_of_without_losing_the_sign_in(star: Star, url: str) -> None:
    assert "cannot be reached" in star("login", "http://127.0.0.1:1/star", code=4).stderr
    star("login", url)
    tokens = star.content()["tokens"]
    star.change(expires_at=1, server=star.content()["server"] | {"token_endpoint": "http://127.0.0.1:1/"})
    assert "authorization server cannot be reached" in star("login", url, code=4).stderr
    assert star.content()["tokens"] == tokens


@pytest.mark.parametrize(
    "given",
    ["star", "", "ftp://x.example/", "http://star.example/mcp", "https://a:b@star.example/", "https://", "https://[/x"],
)
def test_what_is_no_url_or_not_encrypted_is_refused(star: Star, given: str) -> None:
    done = star("login", given, code=2)
    assert done.stderr.startswith("star: ")


def test_what_is_kept_is_for_its_owner_alone(star: Star, url: str) -> None:
    done = star("login", url)
    (path,) = star.kept()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "unencrypted" in done.stderr, "it says so once"
    star.change(expires_at=1)
    assert "unencrypted" not in star("login", url).stderr


def test_manage_py_has_the_same_program(star: Star, url: str) -> None:
    from tests.conftest import ROOT

    star("login", url)
    command = [sys.executable, str(ROOT / "manage.py"), "mcp_client", "status", "--json"]
    environment = {**star.environment, "DEBUG": "true", "PYTHONPATH": os.pathsep.join([str(ROOT)])}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["url"] == url
