"""Whoever takes access away, and by whatever means: no worker answers a call that begins after that.

Three real processes on the database the tests run on. Each is called all the time with a token that it keeps, and what
counts is when the calls were begun that were still accepted: on SQLite none after the commit, on PostgreSQL none later
than the way of a notification takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.clients.person import Page, Person
from tests.conftest import LiveDatabases
from tests.mcpapp.workers import TOOLS, Callers, Grant, Workers, call_once
from tests.over_http import LoggedIn, log_in

pytestmark = pytest.mark.live

NOTIFICATION_SECONDS = 0.2
"""PostgreSQL tells the workers after it told who committed. It takes a millisecond or two; a busy machine, more."""
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[Workers]:
    workers = Workers(tmp_path_factory.mktemp("revocation"), live_databases.copy())
    try:
        workers.start()
        yield workers
    finally:
        workers.stop()


class Change(NamedTuple):
    """Something that takes access away."""

    apply: Callable[[Workers, Grant], Any]
    tools: tuple[str, ...] = TOOLS
    """The tools that it takes away."""
    status: int = 401


def by_sql(statement: str, key: str, *parameters: Any) -> Callable[[Workers, Grant], Any]:
    return lambda workers, grant: workers.execute(statement, *parameters, getattr(grant, key))


def by_orm(code: str) -> Callable[[Workers, Grant], Any]:
    return lambda workers, grant: workers.program.run(code.format(grant=grant))


CHANGES = {
    "its row is deleted by SQL": Change(by_sql("DELETE FROM oauth2_provider_accesstoken WHERE id = ?", "row")),
    "it expires by SQL": Change(
        by_sql("UPDATE oauth2_provider_accesstoken SET expires = ? WHERE id = ?", "row", str(LONG_AGO))
    ),
    "its scope is narrowed by SQL": Change(
        by_sql("UPDATE oauth2_provider_accesstoken SET scope = 'offline_access' WHERE id = ?", "row"),
        ("protected-data",),
        403,
    ),
    "its resource becomes another by SQL": Change(
        by_sql(
            "UPDATE oauth2_provider_accesstoken SET resource = '[\"https://other.example/star\"]' WHERE id = ?", "row"
        )
    ),
    "its person is made inactive by SQL": Change(by_sql("UPDATE auth_user SET is_active = false WHERE id = ?", "user")),
    "its client is disabled by SQL": Change(
        by_sql("UPDATE authapp_application SET disabled_at = ? WHERE id = ?", "client", str(LONG_AGO))
    ),
    "QuerySet.delete deletes it": Change(by_orm("Token.objects.filter(pk={grant.row}).delete()")),
    "QuerySet.update makes it expire": Change(
        by_orm("Token.objects.filter(pk={grant.row}).update(expires='2020-01-01T00:00:00Z')")
    ),
    "QuerySet.update narrows its scope": Change(
        by_orm("Token.objects.filter(pk={grant.row}).update(scope='')"), ("protected-data",), 403
    ),
    "its person is made inactive and saved": Change(
        by_orm("user = User.objects.get(pk={grant.user}); user.is_active = False; user.save()")
    ),
    "its person is deleted": Change(by_orm("User.objects.get(pk={grant.user}).delete()")),
    "its client is disabled and saved": Change(
        by_orm(
            "from django.utils import timezone; client = Client.objects.get(pk={grant.client});"
            " client.disabled_at = timezone.now(); client.save(update_fields=['disabled_at'])"
        )
    ),
    "its client is deleted": Change(by_orm("Client.objects.get(pk={grant.client}).delete()")),
    "two hundred rows change at once": Change(
        by_orm(
            "Token.objects.bulk_create([Token(token=str(n), token_checksum=f'{grant.row}-{{n}}', scope='',"
            " expires='2040-01-01T00:00:00Z', user_id={grant.user}) for n in range(200)]);"
            " Token.objects.filter(user={grant.user}).delete()"
        )
    ),
}


def assert_no_call_is_accepted_after(
    workers: Workers, token: str, change: Callable[[], Any], tools: tuple[str, ...] = TOOLS, status: int = 401
) -> None:
    """Call all the time, make the change, and look at the calls that were begun after it."""
    with Callers(workers, token, tools) as callers:
        callers.wait_until_warm()
        change()
        committed = time.monotonic()
        callers.wait_for_more(committed + NOTIFICATION_SECONDS)
    after = [answer for answer in callers.answers if answer.begun > committed]
    late = sorted(answer.begun - committed for answer in after if answer.is_accepted)
    # With -s: what PostgreSQL took. The figure is worth more than the bound, which is for a busy machine.
    print(f"accepted {len(late)} of {len(after)}, the last {max(late, default=0) * 1000:.2f} ms after the commit")  # noqa: T201
    assert not late or (not workers.is_sqlite and late[-1] <= NOTIFICATION_SECONDS), late
    assert {answer.status for answer in after if not answer.is_accepted} == {status}


def assert_works(workers: Workers, token: str) -> None:
    answers = call_once(workers, token)
    assert [answer.status for answer in answers] == [200] * len(answers), answers


@pytest.mark.parametrize("name", CHANGES)
def test_no_worker_accepts_a_token_after(workers: Workers, name: str) -> None:
    change = CHANGES[name]
    grant, other = workers.grant(), workers.grant()
    assert_works(workers, other.token)
    assert_no_call_is_accepted_after(
        workers, grant.token, lambda: change.apply(workers, grant), change.tools, change.status
    )
    assert_works(workers, other.token)


def test_no_worker_accepts_a_token_after_a_truncate(workers: Workers) -> None:
    if workers.is_sqlite:
        pytest.skip("SQLite has no TRUNCATE")
    token = workers.grant().token
    assert_no_call_is_accepted_after(
        workers, token, lambda: workers.execute("TRUNCATE oauth2_provider_accesstoken CASCADE")
    )
    assert_works(workers, workers.grant().token)


def revoke(workers: Workers, client: LoggedIn, token: str) -> None:
    form = {"client_id": client.client_id, "token": token}
    assert httpx2.post(f"{workers.url}/o/revoke_token/", data=form, trust_env=False).status_code == 200


def test_no_worker_accepts_a_token_that_its_client_revoked(workers: Workers) -> None:
    with Person("demo", "demo") as person:
        client, other = log_in(workers.url, person, "Revoking"), log_in(workers.url, person, "Staying")
    assert_no_call_is_accepted_after(workers, client.access_token, lambda: revoke(workers, client, client.access_token))
    assert_works(workers, other.access_token)


def test_no_worker_accepts_a_token_whose_refresh_token_its_client_revoked(workers: Workers) -> None:
    with Person("demo", "demo") as person:
        client = log_in(workers.url, person, "Revoking too")
    other = workers.grant()
    change = lambda: revoke(workers, client, client.refresh_token)  # noqa: E731
    assert_no_call_is_accepted_after(workers, client.access_token, change)
    assert_works(workers, other.token)


def test_no_worker_accepts_a_token_of_a_client_that_its_person_disconnected(workers: Workers) -> None:
    with Person("demo2", "demo2") as person:
        client, other = log_in(workers.url, person, "Going"), log_in(workers.url, person, "Staying")
        page = Page(person.browser.get(f"{workers.url}/connected-apps/"))
        form = [form for form in page.forms if "/disconnect/" in form.action][1]  # the latest comes first
        change = lambda: person._submit(page, form, form.filled())  # noqa: E731
        assert_no_call_is_accepted_after(workers, client.access_token, change)
    assert_works(workers, other.access_token)
