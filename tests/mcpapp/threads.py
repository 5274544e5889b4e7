"""The thread in which a test's own `async` queries run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections


@pytest.fixture(autouse=True)
def connections_closed() -> Iterator[None]:
    """Close what the test opened there: PostgreSQL drops no database that somebody is connected to."""
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
