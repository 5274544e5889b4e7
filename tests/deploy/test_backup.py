"""What docs/upgrade.md says of backups: clients stay connected over them, and revocations are heard at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.clients.person import Person
from tests.conftest import LiveDatabases, LiveServer
from tests.deploy.programs import program, run
from tests.mcpapp.helpers import message
from tests.mcpapp.workers import PATIENCE_SECONDS, Program
from tests.over_http import LoggedIn, log_in

pytestmark = pytest.mark.live


def back_up_and_restore(database_url: str, folder: Path, databases: LiveDatabases) -> str:
    """Back a database up while it is used, and restore it as another one; return that one's URL."""
    if database_url.startswith("sqlite"):
        source, target = Path(database_url.removeprefix("sqlite:///")), folder / "restored.sqlite3"
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)  # what `.backup` of the command line does
        return f"sqlite:///{target}"
    restored = databases.url(databases._make(None))
    file = str(folder / "star.dump")
    done = run(program("pg_dump"), "--format=custom", f"--file={file}", database_url)
    assert done.returncode == 0, done.stderr
    done = run(program("pg_restore"), "--no-owner", "--exit-on-error", f"--dbname={restored}", file)
    assert done.returncode == 0, done.stderr
    return restored


def call(server: LiveServer, token: str) -> int:
    request = message("tools/call", {"name": "protected-data", "arguments": {}})
    headers = {**request["headers"], "Authorization": f"Bearer {token}"}
    url = f"http://127.0.0.1:{server.port}/star"
    answer = httpx2.post(url, content=request["content"], headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)
    return answer.status_code


def refresh(server: LiveServer, client: LoggedIn) -> int:
    form = {"grant_type": "refresh_token", "refresh_token": client.refresh_token, "client_id": client.client_id}
    url = f"http://127.0.0.1:{server.port}/o/token/"
    return httpx2.post(url, data=form, trust_env=False, timeout=PATIENCE_SECONDS).status_code


@pytest.fixture
def restored(
    new_server: Callable[[], LiveServer], live_databases: LiveDatabases, tmp_path: Path
) -> Iterator[tuple[LiveServer, LoggedIn, LoggedIn]]:
    """A server over a restored database, and two clients that were connected before the backup."""
    server = new_server()
    server.environment["SECRET_KEY"] = "kept-in-another-place-than-the-backup-0123456789-0123456789"
    server.start("manage.py", "serve", "--port", str(server.port))
    with Person("demo", "demo") as person:
        clients = [log_in(server.url, person, name) for name in ("One", "Other")]
    assert [call(server, client.access_token) for client in clients] == [200, 200]
    url = back_up_and_restore(server.environment["DATABASE_URL"], tmp_path, live_databases)
    server.stop()
    after = LiveServer(tmp_path, url)
    after.environment |= {"PUBLIC_URL": server.url, "SECRET_KEY": server.environment["SECRET_KEY"]}
    yield after, clients[0], clients[1]
    after.stop()


def test_clients_stay_connected_over_a_restored_backup(restored: tuple[LiveServer, LoggedIn, LoggedIn]) -> None:
    server, one, other = restored
    assert "[ ]" not in server.manage("showmigrations"), "nothing is left to migrate"
    server.start("manage.py", "serve", "--port", str(server.port))
    assert [call(server, client.access_token) for client in (one, other)] == [200, 200]
    # Triggers, on PostgreSQL, came with the tables: what another program changes is heard.
    elsewhere = Program(server.environment)
    elsewhere.run(f"Client.objects.filter(client_id={one.client_id!r}).delete()")
    elsewhere.close()
    assert [call(server, client.access_token) for client in (one, other)] == [401, 200]
    assert [refresh(server, client) for client in (one, other)] == [401, 200]
    assert "cannot be listened for" not in server.log.read_text()
    assert "trigger" not in server.log.read_text()


def test_without_its_secret_key_a_backup_connects_nobody(restored: tuple[LiveServer, LoggedIn, LoggedIn]) -> None:
    """So the key is to be kept as well; who has the backup alone has no key to use it with."""
    server, one, _ = restored
    server.environment["SECRET_KEY"] = "another-key-0123456789-0123456789-0123456789-0123456789"
    server.start("manage.py", "serve", "--port", str(server.port))
    assert call(server, one.access_token) == 401
    server.stop()
    server.environment["SECRET_KEY_FALLBACKS"] = "kept-in-another-place-than-the-backup-0123456789-0123456789"
    server.start("manage.py", "serve", "--port", str(server.port))
    assert call(server, one.access_token) == 200
