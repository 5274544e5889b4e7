"""The connection beside Django's on PostgreSQL: what it does when the database does not do what it should."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from django.db import OperationalError, connection

from authapp import direct

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server that could be gone"),
]
COUNT = "SELECT count(*) FROM oauth2_provider_accesstoken WHERE token = $1"


@pytest.fixture
async def reader(transactional_db: None) -> AsyncIterator[direct.PostgreSQLReader]:
    reader = direct.PostgreSQLReader("default")
    yield reader
    await reader.close()


async def test_a_connection_that_has_died_is_replaced_unnoticed(reader: direct.PostgreSQLReader) -> None:
    assert await reader.fetch(COUNT, "") == (0,)
    async with await direct.connect("default") as other:
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", (reader._session._connection.info.backend_pid,))
    assert await reader.fetch(COUNT, "") == (0,)


async def test_a_database_that_hangs_holds_nobody_for_longer_than_its_time_however_many_wait(
    reader: direct.PostgreSQLReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "READ_SECONDS", 0.5)
    async with await direct.connect("default") as other:
        await other.execute("BEGIN")
        await other.execute("LOCK TABLE oauth2_provider_accesstoken IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        answers = await asyncio.gather(*(reader.fetch(COUNT, "") for _ in range(40)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {OperationalError}
        assert time.monotonic() - began < 10, "one after another they would take twenty seconds"
        await other.execute("ROLLBACK")
    assert await reader.fetch(COUNT, "") == (0,)
