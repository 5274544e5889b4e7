"""Sessions in the database under the digest of their key (SESSION_ENGINE).

Django stores the keys themselves, so that whoever reads the table can be everybody who is signed in. The cookie carries
the key as ever; only its digest is stored and looked for.
"""

from __future__ import annotations

import hashlib
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.utils import timezone


def digest(session_key: str) -> str:
    """Return what a session is stored under: as much of the SHA-256 of its key as Django's column has room for.

    That is 160 bits. A key is 165 random ones.
    """
    return hashlib.sha256(session_key.encode()).hexdigest()[:40]


# The name is part of the salt that session data is signed with: with Django's own, its tools read what is stored.
class SessionStore(DatabaseSessionStore):
    """Django's database sessions; every method that names a row names it by the digest."""

    def load(self) -> dict[str, Any]:
        """Return what the session holds; nothing, and no key, for one that is not there (any more)."""
        rows = self.model.objects.filter(session_key=digest(self.session_key or ""), expire_date__gt=timezone.now())
        row = rows.first()
        if row is None:
            self._session_key = None
            return {}
        return dict(self.decode(row.session_data))

    def exists(self, session_key: str) -> bool:
        """Return whether a key is taken."""
        return super().exists(digest(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        """Return the row to save."""
        row = super().create_model_instance(data)
        row.session_key = digest(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        """Delete the session with a key, this one if none is given."""
        key = session_key or self.session_key
        if key is not None:
            self.model.objects.filter(session_key=digest(key)).delete()

    async def aload(self) -> dict[str, Any]:
        """Like `load`."""
        return await sync_to_async(self.load)()

    async def aexists(self, session_key: str) -> bool:
        """Like `exists`."""
        return await super().aexists(digest(session_key))

    async def acreate_model_instance(self, data: dict[str, Any]) -> Any:
        """Like `create_model_instance`."""
        row = await super().acreate_model_instance(data)
        row.session_key = digest(row.session_key)
        return row

    async def adelete(self, session_key: str | None = None) -> None:
        """Like `delete`."""
        await sync_to_async(self.delete)(session_key)
