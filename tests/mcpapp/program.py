"""Another program over the same database: Django's ORM without a server. Reads code as lines of JSON, answers each.

Run as a module, with the environment of a server. What it changes, the workers have to notice by themselves.
"""

from __future__ import annotations

import json
import secrets
import sys
import traceback
from typing import Any

import django
from django.db import connections


def grant(resource: str, scope: str = "mcp:tools", seconds: int = 3600) -> dict[str, Any]:
    """Make a person, a client, a consent and an access token; return the token and the keys of all four."""
    from django.contrib.auth import get_user_model
    from oauth2_provider.models import get_access_token_model

    from authapp.models import Application, Connection
    from tests.mcpapp.helpers import make_token

    name = secrets.token_hex(6)
    user = get_user_model().objects.create_user(name)
    client = Application.objects.create(
        name=name,
        client_type=Application.CLIENT_PUBLIC,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        redirect_uris="http://127.0.0.1:1/callback",
    )
    consent = Connection.objects.create(user=user, application=client, scope=scope)
    token = make_token(user, scope=scope, resource=[resource], seconds=seconds, application=client)
    row = get_access_token_model().objects.get(user=user)
    return {"token": token, "row": row.pk, "user": user.pk, "client": client.pk, "consent": consent.pk}


def main() -> None:
    """Run one piece of code after another; `result` is what a piece leaves under that name."""
    django.setup()
    from django.contrib.auth import get_user_model
    from oauth2_provider.models import get_access_token_model

    from authapp.models import Application, Connection

    names: dict[str, Any] = {
        "Client": Application,
        "Connection": Connection,
        "Token": get_access_token_model(),
        "User": get_user_model(),
        "grant": grant,
    }
    for line in sys.stdin:
        names["result"] = None
        for connection in connections.all(initialized_only=True):  # it may have died since
            connection.close()
            if hasattr(connection, "close_pool"):
                connection.close_pool()
        try:
            exec(json.loads(line), names)  # noqa: S102  (what a test wrote)
            answer = {"result": names["result"]}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)  # noqa: T201  (to the test, over a pipe)


if __name__ == "__main__":
    main()
