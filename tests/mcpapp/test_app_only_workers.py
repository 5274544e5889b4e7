"""What an owner takes from a service: no worker answers a call of it that begins after that (decision 0010)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import LiveDatabases
from tests.mcpapp.test_revocation import assert_no_call_is_accepted_after, assert_works
from tests.mcpapp.workers import Grant, Workers

pytestmark = pytest.mark.live

CHANGES = {
    "the client has no service user by SQL": "UPDATE authapp_application SET service_user_id = NULL WHERE id = ?",
    "the client has no scope by SQL": "UPDATE authapp_application SET scope = '' WHERE id = ?",
    "the client has another grant by SQL": (
        "UPDATE authapp_application SET authorization_grant_type = 'authorization-code' WHERE id = ?"
    ),
    "its service user is made inactive by SQL": "UPDATE auth_user SET is_active = false WHERE id = ?",
}

MAKE = """
client = Client.objects.get(pk={grant.client})
client.client_type, client.authorization_grant_type = 'confidential', 'client-credentials'
client.scope, client.service_user_id = 'mcp:tools', {grant.user}
client.save()
Connection.objects.filter(pk={grant.consent}).delete()
Token.objects.filter(pk={grant.row}).update(user=None)
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[Workers]:
    workers = Workers(tmp_path_factory.mktemp("app_only"), live_databases.copy())
    for server in workers.servers:
        server.environment["APP_ONLY_TOKENS"] = "true"
    try:
        workers.start()
        yield workers
    finally:
        workers.stop()


def app_only(workers: Workers) -> Grant:
    """Make a service with a token that no person takes part in."""
    grant = workers.grant()
    workers.program.run(MAKE.format(grant=grant))
    return grant


@pytest.mark.parametrize("name", CHANGES)
def test_no_worker_accepts_a_services_token_after(workers: Workers, name: str) -> None:
    grant, other = app_only(workers), app_only(workers)
    assert_works(workers, other.token)
    key = grant.user if "auth_user" in CHANGES[name] else grant.client
    assert_no_call_is_accepted_after(workers, grant.token, lambda: workers.execute(CHANGES[name], key))
    assert_works(workers, other.token)


def test_no_worker_accepts_a_services_token_after_its_service_user_is_deleted(workers: Workers) -> None:
    grant, other = app_only(workers), app_only(workers)
    delete = f"User.objects.get(pk={grant.user}).delete()"
    assert_no_call_is_accepted_after(workers, grant.token, lambda: workers.program.run(delete))
    assert_works(workers, other.token)
