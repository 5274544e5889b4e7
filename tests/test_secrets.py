"""No secret in clear, neither in the bytes of the database nor in the log at its most talkative.

A real server lives through registrations, logins, refreshes, mistakes and ends; every secret that it handed out or was
sent is then searched for in all that it wrote.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx2
import pytest

from tests.clients.person import Person
from tests.conftest import LiveServer
from tests.oauth import PKCE

pytestmark = pytest.mark.live

CALLBACK = "http://127.0.0.1:7777/callback"


def traces(secret: str, stored: bytes) -> list[str]:
    """The spellings in which a secret is found."""
    plain = secret.encode()
    spellings = {
        "plain": plain,
        "percent-encoded": quote(secret, safe="").encode(),
        "JSON": json.dumps(secret)[1:-1].encode(),
        "hex": plain.hex().encode(),
        "UTF-16": secret.encode("utf-16-le"),
    }
    # In base64, wherever in a longer text it begins: the characters at the edges depend on the neighbours.
    for shift in range(3):
        spellings[f"base64 at {shift}"] = base64.b64encode(b"\x00" * shift + plain).rstrip(b"=")[4 if shift else 0 : -2]
    return [name for name, spelling in spellings.items() if spelling in stored]


@dataclass
class Life:
    """What a server is put through, and the secrets that come up on the way."""

    url: str
    password: str
    secrets: dict[str, str] = field(default_factory=dict)
    harmless: dict[str, str] = field(default_factory=dict)
    """What may be stored, and shows that reading finds what is there."""

    def __post_init__(self) -> None:
        self.http = httpx2.Client(base_url=self.url, trust_env=False, timeout=30)
        self.keep("password", self.password)

    def keep(self, name: str, value: str) -> str:
        assert len(value) >= 12, (name, value)
        self.secrets[f"{name} {len(self.secrets)}"] = value
        return value

    def keep_all(self, kind: str, answer: dict[str, Any]) -> None:
        for name in ("access_token", "refresh_token", "id_token", "client_secret", "registration_access_token"):
            if answer.get(name):
                self.keep(f"{name} of {kind}", answer[name])

    def post(self, path: str, form: dict[str, str], **options: Any) -> httpx2.Response:
        headers = {"Content-Type": "application/x-www-form-urlencoded", **options.pop("headers", {})}
        return self.http.post(path, content=urlencode(form), headers=headers, **options)

    # --- Steps ---------------------------------------------------------------------------------------------

    def register(self, method: str) -> dict[str, Any]:
        body = {"client_name": f"Client {method}", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": method}
        body["grant_types"] = ["authorization_code", "refresh_token"]  # type: ignore[assignment]
        response = self.http.post("/o/register/", json=body)
        assert response.status_code == 201, response.text
        client: dict[str, Any] = response.json()
        self.keep_all(method, client)
        self.harmless[f"identifier of {method}"] = client["client_id"]
        return client

    def credentials(self, client: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        """The form fields and headers with which a client authenticates."""
        method, secret = client["token_endpoint_auth_method"], client.get("client_secret", "")
        if method == "client_secret_basic":
            header = base64.b64encode(f"{client['client_id']}:{secret}".encode()).decode()
            return {}, {"Authorization": f"Basic {self.keep('Basic header', header)}"}
        return {"client_id": client["client_id"]} | ({"client_secret": secret} if secret else {}), {}

    def authorize(self, person: Person, client: dict[str, Any]) -> tuple[str, PKCE]:
        pkce = PKCE()
        self.keep("verifier", pkce.verifier)
        query = {
            "response_type": "code",
            "client_id": client["client_id"],
            "redirect_uri": CALLBACK,
            "code_challenge": pkce.challenge,
            "code_challenge_method": "S256",
            "scope": "openid profile email mcp:tools",
            "nonce": "nonce-may-be-stored-until-the-code-is-used",
            "state": self.keep("state", secrets.token_urlsafe(24)),
            "resource": f"{self.url}/star",
        }
        back = person.approve(f"{self.url}/o/authorize/?{urlencode(query)}")
        return self.keep("code", parse_qs(urlsplit(back).query)["code"][0]), pkce

    def token(self, client: dict[str, Any], form: dict[str, str], status: int = 200) -> dict[str, Any]:
        fields, headers = self.credentials(client)
        response = self.post("/o/token/", form | fields, headers=headers)
        assert response.status_code == status, response.text
        answer: dict[str, Any] = response.json()
        self.keep_all("a login", answer)
        return answer

    def log_in(self, person: Person, client: dict[str, Any]) -> dict[str, Any]:
        code, pkce = self.authorize(person, client)
        wrong = self.keep("wrong verifier", PKCE().verifier)
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        self.token(client, form | {"code_verifier": wrong}, 400)
        return self.token(client, form | {"code_verifier": pkce.verifier})

    def replay_a_code(self, person: Person, client: dict[str, Any]) -> None:
        code, pkce = self.authorize(person, client)
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        form["code_verifier"] = pkce.verifier
        self.token(client, form)
        self.token(client, form, 400)

    def refresh(self, client: dict[str, Any], tokens: dict[str, Any]) -> dict[str, Any]:
        return self.token(client, {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})

    def call(self, tokens: dict[str, Any], status: int = 200) -> None:
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "protected-data", "arguments": {}},
        }
        headers = {"Authorization": f"Bearer {tokens['access_token']}", "Accept": "application/json, text/event-stream"}
        headers["MCP-Protocol-Version"] = "2025-11-25"
        assert self.http.post("/star", json=body, headers=headers).status_code == status

    def ask_userinfo(self, tokens: dict[str, Any]) -> None:
        for token, status in ((tokens["access_token"], 200), (tokens["id_token"], 401), (tokens["refresh_token"], 401)):
            response = self.http.get("/o/userinfo/", headers={"Authorization": f"Bearer {token}"})
            assert response.status_code == status, response.text
        form = {"id_token_hint": tokens["id_token"], "state": self.keep("state", secrets.token_urlsafe(24))}
        assert self.post("/o/logout/", form).status_code == 303

    def make_mistakes(self, client: dict[str, Any], tokens: dict[str, Any]) -> None:
        """Put secrets where they do not belong, and send wrong ones."""
        access, refresh = tokens["access_token"], tokens["refresh_token"]
        for path in (
            f"/star?access_token={access}",
            f"/?token={refresh}",
            f"/o/introspect/?token={access}",
            f"/o/token/?refresh_token={refresh}",
            f"/o/authorize/?client_id=unknown&state={self.keep('state', secrets.token_urlsafe(24))}",
            f"/o/authorize/?client_id={client['client_id']}&code={self.secrets_like('code')}",
            f"/.well-known/oauth-authorization-server?access_token={access}",
            f"/accounts/login/?next=/&password={self.password}",
            f"/nothing-here?code={self.secrets_like('code')}",
            f"/o/userinfo/?access_token={access}",
            f"/o/logout/?id_token_hint={tokens['id_token']}&state={self.secrets_like('state')}",
            f"/o/jwks/?id_token_hint={tokens['id_token']}",
        ):
            assert self.http.get(path).status_code < 500, path
        self.post(f"/o/token/?client_secret={client.get('client_secret', access)}", {"grant_type": "refresh_token"})
        self.post(f"/o/revoke_token/?token={access}", {"token": "x"})
        for path, name in (
            ("token", "refresh_token"),
            ("token", "code"),
            ("revoke_token", "token"),
            ("introspect", "token"),
        ):
            form = {"grant_type": "refresh_token", name: self.keep(f"wrong {name}", secrets.token_urlsafe(32))}
            form |= {
                "client_id": client["client_id"],
                "client_secret": self.keep("wrong secret", secrets.token_hex(32)),
            }
            assert self.post(f"/o/{path}/", form).status_code < 500
        wrong = self.keep("wrong bearer", secrets.token_urlsafe(32))
        self.call({"access_token": wrong}, 401)
        self.http.get(f"/o/register/{client['client_id']}/", headers={"Authorization": f"Bearer {wrong}"})
        self.http.get("/o/authorize/", headers={"Authorization": f"Bearer {access}", "X-Token": refresh})
        self.http.post("/o/token/", content=b"\xff" + refresh.encode(), headers={"Content-Type": "text/plain"})
        self.http.post("/o/register/", json={"client_secret": refresh, "redirect_uris": [access]})

    def secrets_like(self, kind: str) -> str:
        return next(value for name, value in self.secrets.items() if name.startswith(kind))

    def manage(self, client: dict[str, Any]) -> dict[str, Any]:
        """Read and change a registration."""
        path = urlsplit(client["registration_client_uri"]).path
        for method, status in (("GET", 200), ("PUT", 200)):
            kept = ("client_name", "redirect_uris", "token_endpoint_auth_method", "grant_types")
            body = {name: client[name] for name in kept} if method == "PUT" else None
            headers = {"Authorization": f"Bearer {client['registration_access_token']}"}
            response = self.http.request(method, path, json=body, headers=headers)
            assert response.status_code == status, response.text
            client = client | response.json()
            self.keep_all("a managed client", client)
        return client

    def delete(self, client: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {client['registration_access_token']}"}
        path = urlsplit(client["registration_client_uri"]).path
        assert self.http.delete(path, headers=headers).status_code == 204

    def revoke(self, client: dict[str, Any], token: str) -> None:
        fields, headers = self.credentials(client)
        assert self.post("/o/revoke_token/", {"token": token} | fields, headers=headers).status_code == 200


def everything_stored(server: LiveServer) -> bytes:
    """All bytes of the database: the files of SQLite with its log of writes, or every column of every table."""
    url = server.environment["DATABASE_URL"]
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-journal"))]
        return b"".join(file.read_bytes() for file in files if file.exists())
    import psycopg
    from psycopg import sql

    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
            "AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        found = []
        for name in tables:
            query = sql.SQL("SELECT whole::text FROM {} AS whole").format(sql.Identifier(*name))
            # A row as text doubles its quotes and backslashes; no secret has one.
            found += [row[0].encode() for row in connection.execute(query)]
    return b"\n".join(found)


def sessions(server: LiveServer) -> bytes:
    """What the sessions hold, which the database has signed and packed."""
    code = (
        "from django.contrib.sessions.models import Session; "
        "print([session.get_decoded() for session in Session.objects.all()])"
    )
    return server.manage("shell", "--verbosity", "0", "-c", code).encode()


def private_keys(server: LiveServer) -> list[str]:
    """The lines of the private keys that sign, and the secret of pairwise subjects, as text that could be stored."""
    code = (
        "from authapp.models import PairwiseSecret, SigningKey; from authapp.openid.sealing import unseal; "
        "[print(unseal(key.sealed_private_key).decode()) for key in SigningKey.objects.all()]; "
        "[print(unseal(secret.sealed).hex()) for secret in PairwiseSecret.objects.all()]"
    )
    lines = server.manage("shell", "--verbosity", "0", "-c", code).splitlines()
    assert len(lines[-1]) == 64, "32 bytes in hex"
    raw = bytes.fromhex(lines[-1])
    spelled = [base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")]
    # What every key begins with is no secret, and the last line may be short.
    return [line for line in lines[:-1] if len(line) == 64 and not line.startswith("MII")] + [lines[-1], *spelled]


def test_no_secret_is_in_the_database_or_the_log(new_server: Callable[[], LiveServer]) -> None:
    server = new_server()
    server.environment |= {"LOG_LEVEL": "DEBUG", "SUBJECT_TYPE": "pairwise"}
    password = f"pass {secrets.token_urlsafe(16)} ü"
    create = f"from django.contrib.auth.models import User; User.objects.create_user('carol', password={password!r})"
    server.manage("shell", "-c", create)
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    life = Life(server.url, password)

    with Person("carol", life.keep("wrong password", f"wrong-{secrets.token_hex(12)}")) as stranger:
        client = life.register("none")
        with pytest.raises(AssertionError, match="asked to sign in again"):
            life.authorize(stranger, client)
        anonymous = {cookie.name: cookie.value for cookie in stranger.cookies}

    with Person("carol", password) as carol:
        for method in ("none", "client_secret_post", "client_secret_basic"):
            client = life.register(method)
            tokens = life.log_in(carol, client)
            life.call(tokens)
            life.ask_userinfo(tokens)
            tokens = life.refresh(client, tokens)
            life.refresh(client, tokens)
            life.make_mistakes(client, tokens)
            life.replay_a_code(carol, client)
            client = life.manage(client)
            tokens = life.log_in(carol, client)
            life.revoke(client, tokens["refresh_token"])
            tokens = life.log_in(carol, client)  # stays alive
            gone = life.register(method)
            life.log_in(carol, gone)
            life.delete(gone)
            life.authorize(carol, client)  # a code that is never redeemed
        cookies = {cookie.name: cookie.value for cookie in carol.cookies}
    life.keep("CSRF secret", cookies["csrftoken"] or "")
    life.keep("CSRF secret", anonymous["csrftoken"] or "")
    life.keep("session key", cookies["sessionid"] or "")
    server.manage("rotate_signing_keys")
    for number, text in enumerate(private_keys(server)):
        life.keep(f"part {number} of a private key", text)
    not_found = f"not-found-{secrets.token_hex(8)}"
    life.http.get(f"/{not_found}")

    stored = everything_stored(server) + sessions(server)  # while it runs: the log of writes is still there
    life.http.close()
    server.stop()
    stored += everything_stored(server)
    log = server.log.read_bytes()

    # The readers find what is there.
    for name, value in life.harmless.items():
        assert traces(value, stored), name
    assert b"_auth_user_id" in stored, "a session is alive"
    assert b"carol" in stored
    assert traces(not_found, log)
    assert b"/o/token/" in log
    assert b"was replayed" in log, "the log is at its most talkative"

    assert b"PRIVATE KEY" not in stored + log
    assert sum("private key" in name for name in life.secrets) > 40
    assert sum("id_token" in name for name in life.secrets) > 10
    assert len(life.secrets) > 200
    found = {(name, where) for name, value in life.secrets.items() for where in traces(value, stored)}
    assert found == set(), "in the database"
    found = {(name, where) for name, value in life.secrets.items() for where in traces(value, log)}
    assert found == set(), "in the log"


@pytest.mark.parametrize("secret", ["k3y-of_16.charac~ter+s/=", "pass word ü"])
def test_a_secret_is_found_however_it_is_spelt(secret: str) -> None:
    plain = secret.encode()
    assert traces(secret, b"x" + plain + b"y") != []
    assert traces(secret, f"/?token={quote(secret, safe='')}".encode()) != []
    assert traces(secret, json.dumps({"token": secret}).encode()) != []
    assert traces(secret, plain.hex().encode()) != []
    for before in (b"", b"a", b"ab", b"client:", b"client42:"):
        assert traces(secret, base64.b64encode(before + plain + b"!")) != [], before
    assert traces(secret, b"nothing of it " + plain[:-1]) == []
