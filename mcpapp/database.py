"""Database connections outside Django's request cycle.

Django opens a connection in each thread and closes it when its own request ends. A call under /star is not such a
request: without care its connections are never given back, outlive a restart of the database, and all lookups queue
on the one thread that Django keeps for synchronous code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections


@asynccontextmanager
async def own_connections() -> AsyncIterator[None]:
    """Give the ORM calls made inside a thread of their own, and close (or give back to the pool) what they opened."""
    async with ThreadSensitiveContext():
        try:
            yield
        finally:
            await sync_to_async(connections.close_all)()
