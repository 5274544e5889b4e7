"""When the workers cannot hear of changes, or not from the database they know: slower, and never less honest."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LiveDatabases
from tests.mcpapp.workers import PATIENCE_SECONDS, Caller, Callers, Workers, call_once, database_of

pytestmark = pytest.mark.live

FAULT_SECONDS = 2.0
A_WORD_SECONDS = 0.005
"""In which the end of a connection reaches a worker: it hears of that as of a notification."""
LONGEST_ANSWER_SECONDS = 15


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[Workers]:
    if live_databases.is_sqlite:
        pytest.skip("PostgreSQL alone is listened to")
    workers = Workers(tmp_path_factory.mktemp("faults"), live_databases.copy())
    try:
        workers.start()
        yield workers
    finally:
        workers.stop()


class Elsewhere:
    """The administrator's connection: to another database of the same server."""

    def __init__(self, workers: Workers) -> None:
        import psycopg

        self.name = database_of(workers.database_url)
        self._connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)

    def terminate(self, like: str = "%") -> int:
        """End the connections to the workers' database whose last statement is like something; return how many."""
        cursor = self._connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s AND query LIKE %s",
            (self.name, like),
        )
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])

    def listening(self) -> int:
        cursor = self._connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query LIKE 'LISTEN%%'", (self.name,)
        )
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])

    def allow_connections(self, allowed: bool) -> None:
        self._connection.execute(f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS {allowed}".encode())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def elsewhere(postgresql: Workers) -> Iterator[Elsewhere]:
    with closing(Elsewhere(postgresql)) as elsewhere:
        yield elsewhere


def until(holds: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


@contextmanager
def tokens_locked(workers: Workers) -> Iterator[None]:
    """Let nobody read a token: a call that is answered was answered from what its worker keeps."""
    import psycopg

    with psycopg.connect(workers.database_url) as connection:
        connection.execute("LOCK TABLE oauth2_provider_accesstoken IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def waits_for_tokens(workers: Workers) -> bool:
    """Return whether somebody waits for that lock."""
    return bool(
        workers.execute(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'oauth2_provider_accesstoken'::regclass"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    )


def keeps(workers: Workers, worker: int, token: str) -> bool:
    """Return whether a worker answers for a token without looking it up; the token is good."""
    with closing(Caller(worker, workers.servers[worker], token, "public-info")) as caller:
        assert caller.call().is_accepted
        answers = []
        with tokens_locked(workers):
            thread = threading.Thread(target=lambda: answers.append(caller.call()))
            thread.start()
            until(lambda: bool(answers) or waits_for_tokens(workers), "neither answered nor looked up")
            kept = bool(answers)
        thread.join(PATIENCE_SECONDS)
        assert answers[0].is_accepted
    return kept


def until_kept_everywhere(workers: Workers, token: str) -> None:
    for worker in range(len(workers.servers)):
        until(lambda worker=worker: keeps(workers, worker, token), f"worker {worker} keeps nothing")


def assert_works(workers: Workers, token: str) -> None:
    answers = call_once(workers, token)
    assert [answer.status for answer in answers] == [200] * len(answers), answers


def test_a_token_that_is_known_is_not_looked_up_again(postgresql: Workers) -> None:
    until_kept_everywhere(postgresql, postgresql.grant().token)


def test_while_nobody_can_listen_no_revoked_token_is_accepted_and_afterwards_tokens_are_kept_again(
    postgresql: Workers, elsewhere: Elsewhere
) -> None:
    grants, other = [postgresql.grant() for _ in range(3)], postgresql.grant()
    until_kept_everywhere(postgresql, other.token)
    ended = 0
    for grant in grants:
        with Callers(postgresql, grant.token) as callers:
            callers.wait_until_warm()
            until = time.monotonic() + FAULT_SECONDS / len(grants)
            ended += elsewhere.terminate("LISTEN%")
            postgresql.execute("DELETE FROM oauth2_provider_accesstoken WHERE id = ?", grant.row)
            committed = time.monotonic()
            while time.monotonic() < until:
                ended += elsewhere.terminate("LISTEN%")
                time.sleep(0.01)
            callers.wait_for_more(committed)
        after = [answer for answer in callers.answers if answer.begun > committed]
        late = sorted(answer.begun - committed for answer in after if answer.is_accepted)
        print(f"{len(late)} of {len(after)}, the last {max(late, default=0) * 1000:.2f} ms after")  # noqa: T201
        assert not late or late[-1] <= A_WORD_SECONDS, late
        assert {answer.status for answer in after if not answer.is_accepted} == {401}
    assert ended >= len(grants) * len(postgresql.servers), "each worker was cut off each time"
    until_kept_everywhere(postgresql, other.token)


def test_an_outage_of_the_database_is_told_and_over_when_it_is_over(postgresql: Workers, elsewhere: Elsewhere) -> None:
    grant = postgresql.grant()
    postgresql.hang_up()
    with Callers(postgresql, grant.token) as callers:
        callers.wait_until_warm()
        elsewhere.allow_connections(False)
        try:
            began = time.monotonic()
            while time.monotonic() < began + FAULT_SECONDS:
                elsewhere.terminate()
                time.sleep(0.05)
        finally:
            elsewhere.allow_connections(True)
        over = time.monotonic()
        callers.wait(lambda answers: answers[-1].begun > over and _is_good(answers[-1]))
        callers.wait_for_more(over)
    answers = callers.answers
    seen = Counter((answer.tool, answer.status, 'isError":true' in answer.body) for answer in answers)
    print(dict(seen), f"the longest {max(answer.seconds for answer in answers):.1f} s")  # noqa: T201
    assert {answer.status for answer in answers} == {200, 503}
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 503)
    assert not any("Traceback" in answer.body or "psycopg" in answer.body for answer in answers)
    assert max(answer.seconds for answer in answers) < LONGEST_ANSWER_SECONDS
    assert_works(postgresql, grant.token)
    assert_works(postgresql, postgresql.grant().token)
    until_kept_everywhere(postgresql, grant.token)


def _is_good(answer: Any) -> bool:
    return answer.is_accepted and '"isError":true' not in answer.body


def test_while_a_trigger_is_missing_nothing_is_kept(postgresql: Workers) -> None:
    other = postgresql.grant()
    until_kept_everywhere(postgresql, other.token)
    grant = postgresql.grant()
    switch = "ALTER TABLE oauth2_provider_accesstoken {} TRIGGER star_access_update"
    postgresql.execute(switch.format("DISABLE"))
    try:
        for worker in range(len(postgresql.servers)):
            until(lambda worker=worker: not keeps(postgresql, worker, other.token), f"worker {worker} keeps")
        with Callers(postgresql, grant.token) as callers:
            callers.wait_until_warm()
            postgresql.execute("UPDATE oauth2_provider_accesstoken SET expires = created WHERE id = ?", grant.row)
            committed = time.monotonic()
            callers.wait_for_more(committed)
        assert not [answer for answer in callers.answers if answer.is_accepted and answer.begun > committed]
        assert_works(postgresql, other.token)
        missing = "no trigger watches oauth2_provider_accesstoken"
        until(
            lambda: all(missing in log for log in postgresql.logs()), "a worker does not say which trigger is missing"
        )
    finally:
        postgresql.execute(switch.format("ENABLE ALWAYS"))
    until_kept_everywhere(postgresql, other.token)
    for log in postgresql.logs():
        assert "listened for again" in log


def test_a_backup_put_in_the_place_of_the_database_is_noticed(tmp_path: Path, live_databases: LiveDatabases) -> None:
    if not live_databases.is_sqlite:
        pytest.skip("only SQLite is a file that one can replace")
    workers = Workers(tmp_path, live_databases.copy(), count=2)
    path = workers.database_path
    try:
        workers.start()
        kept = workers.grant()
        workers.execute("VACUUM INTO ?", f"{path}.backup")
        grant = workers.grant()
        with Callers(workers, grant.token, ("public-info",)) as callers:
            callers.wait_until_warm()
            for rest in ("-wal", "-shm"):  # they belong to the old file
                Path(f"{path}{rest}").unlink()
            os.replace(f"{path}.backup", path)
            committed = time.monotonic()
            callers.wait_for_more(committed)
        after = [answer for answer in callers.answers if answer.begun > committed]
        assert {answer.status for answer in after} == {401}
        answers = call_once(workers, kept.token, ("public-info",))
        assert {answer.status for answer in answers} == {200}
    finally:
        workers.stop()
