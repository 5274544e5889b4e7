"""What the benchmarks of /star stand on: a database of their own with many tokens, and requests without a server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PUBLIC_URL = "https://127.0.0.1"
RESOURCE = f"{PUBLIC_URL}/star"
HOST = "127.0.0.1:8000"
PEOPLE = 1000
CLIENTS = 1000
CONSENTS = 10
"""How many clients each person has connected."""
ERAS = ("2026-07-28", "2025-11-25")


def progress(text: str) -> None:
    """Tell on standard error how far it is."""
    print(text, file=sys.stderr, flush=True)


def environment(database: str) -> dict[str, str]:
    """Return the variables of a site in production that uses a database."""
    return {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database,
        "ENV_FILE": "",
        "DEBUG": "false",
        "PUBLIC_URL": PUBLIC_URL,  # any https address will do: nothing here asks for it
        "ALLOWED_HOSTS": "127.0.0.1",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "CALL_LOG": "false",  # none of the others keeps one; what it costs is measured by itself
    }


def own_database(url: str, folder: Path) -> tuple[str, Callable[[], None]]:
    """Return the URL of an empty database, a SQLite file or another one beside that of a PostgreSQL URL; and an end."""
    if not url.startswith("postgres"):
        return f"sqlite:///{folder / 'bench.sqlite3'}", lambda: None
    import psycopg

    name = f"star_bench_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())

    def drop() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    return urlsplit(url)._replace(path=f"/{name}").geturl(), drop


@contextmanager
def own_site(url: str) -> Iterator[Path]:
    """Make this process the site on a database of its own, which is dropped afterwards; give a folder for files."""
    with tempfile.TemporaryDirectory(prefix="star-bench-") as name:
        database, drop = own_database(url, Path(name))
        try:
            set_up(database)
            yield Path(name)
        finally:
            from django.db import connections

            connections.close_all()
            drop()


def set_up(database: str) -> None:
    """Make this process the site, with its tables, people, clients and consents."""
    os.environ.update(environment(database))
    import django

    django.setup()
    # Lines are formatted as in production, and not written to a terminal, which costs what the terminal costs.
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(open(os.devnull, "w"))  # noqa: SIM115  (for as long as the process lives)
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from authapp.models import Application, Connection

    call_command("migrate", verbosity=0)
    User = get_user_model()
    User.objects.bulk_create(User(username=f"person-{number}", password="!") for number in range(PEOPLE))
    Application.objects.bulk_create(
        Application(
            name=f"Client {number}",
            redirect_uris="https://client.example/callback",
            client_type=Application.CLIENT_PUBLIC,
            authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        )
        for number in range(CLIENTS)
    )
    clients = list(Application.objects.order_by("pk").values_list("pk", flat=True))
    Connection.objects.bulk_create(
        Connection(user_id=pk, application_id=clients[(place + n) % CLIENTS], scope="mcp:tools", resource=RESOURCE)
        for place, pk in enumerate(User.objects.order_by("pk").values_list("pk", flat=True))
        for n in range(CONSENTS)
    )


def make_tokens(count: int) -> list[str]:
    """Store tokens of many people and clients; return them."""
    from django.utils import timezone
    from oauth2_provider.models import get_access_token_model

    from authapp.models import Connection
    from authapp.tokens import generate_access_token

    consents = list(Connection.objects.order_by("pk").values_list("user_id", "application_id"))
    tokens = [generate_access_token() for _ in range(count)]
    get_access_token_model().objects.bulk_create(
        get_access_token_model()(
            user_id=consents[number * 7 % len(consents)][0],
            application_id=consents[number * 7 % len(consents)][1],
            token_checksum=hashlib.sha256(token.encode()).hexdigest(),
            expires=timezone.now() + timedelta(hours=10),
            scope="mcp:tools",
            resource=[RESOURCE],
        )
        for number, token in enumerate(tokens)
    )
    return tokens


def fill(count: int) -> None:
    """Add rows until there are `count` tokens, in one statement, and let the database look at them."""
    from django.contrib.auth import get_user_model
    from django.db import connection
    from oauth2_provider.models import get_access_token_model

    from authapp.models import Application

    AccessToken = get_access_token_model()
    missing = count - AccessToken.objects.count()
    first_person = get_user_model().objects.order_by("pk").values_list("pk", flat=True)[0]
    first_client = Application.objects.order_by("pk").values_list("pk", flat=True)[0]
    if connection.vendor == "postgresql":
        numbers = "generate_series(1, %s) AS s(n)"
        checksum = "encode(sha256((random()::text || n)::bytea), 'hex')"
        hour = "now() + interval '10 hours', 'mcp:tools', %s, now(), now()"
    else:
        numbers = "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %s) SELECT n FROM s)"
        checksum = "lower(hex(randomblob(32)))"
        hour = "datetime('now', '+10 hours'), 'mcp:tools', %s, datetime('now'), datetime('now')"
    with connection.cursor() as cursor:
        if missing > 0:
            cursor.execute(
                f"INSERT INTO {AccessToken._meta.db_table}"  # noqa: S608  (names and numbers of our own)
                " (token, token_checksum, user_id, application_id, expires, scope, resource, created, updated)"
                f" SELECT 'plain-' || n, {checksum}, {first_person} + n * 7 %% {PEOPLE}"
                f", {first_client} + (n * 7 + n %% {CONSENTS}) %% {CLIENTS}, {hour} FROM {numbers}",
                [json.dumps([RESOURCE]), missing],
            )
        cursor.execute("ANALYZE")
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# --- Requests ----------------------------------------------------------------------------------------------


def http_scope(headers: dict[str, str], method: str = "POST") -> dict[str, Any]:
    """Return the ASGI scope of a request to /star, as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/star",
        "raw_path": b"/star",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


class Call:
    """A request for a tool, made once and sent often."""

    def __init__(
        self, era: str, token: str | None, headers: dict[str, str] | None = None, tool: str = "public-info"
    ) -> None:
        from tests.mcpapp.helpers import MODERN, message

        made = message("tools/call", {"name": tool, "arguments": {}}, era=MODERN if era == MODERN else "legacy")
        self.body = made["content"].encode()
        self.headers = {"Host": HOST, **made["headers"], "Content-Length": str(len(self.body)), **(headers or {})}
        if token is not None:
            self.headers["Authorization"] = f"Bearer {token}"
        self._scope = http_scope(self.headers)

    async def send(self, application: Any) -> None:
        """Send it; anything but the tool's result ends the benchmark."""
        status, body = await ask(application, dict(self._scope), self.body)
        if status != 200 or b'"structuredContent"' not in body:
            raise SystemExit(f"{status} {body!r}")

    def over_http(self) -> bytes:
        """Return it as bytes for a connection."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return f"POST /star HTTP/1.1\r\n{lines}\r\n".encode() + self.body


async def ask(application: Any, scope: dict[str, Any], body: bytes = b"") -> tuple[int, bytes]:
    """Send one request to an ASGI application; return status and body."""
    status = 0
    parts: list[bytes] = []
    pending = [{"type": "http.request", "body": body, "more_body": False}]
    done = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if pending:
            return pending.pop()
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                done.set()

    await asyncio.sleep(0)  # as from a connection: each request comes when the loop is there again
    await application(scope, receive, send)
    return status, b"".join(parts)
