"""What the entry point and the sign-in page must not lose."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import pytest

from config.access_log import WithoutQuery
from tests.oauth import browser


@pytest.mark.anyio
async def test_a_websocket_is_closed_before_it_is_accepted() -> None:
    from config.asgi import application

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application({"type": "websocket", "path": "/star", "headers": []}, None, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/reauthenticate/", "/accounts/password/change/"])
def test_without_a_mail_server_no_password_reset_is_offered(settings: Any, alice: Any, path: str) -> None:
    person = browser()
    if "login" not in path:
        person.post("/accounts/login/", {"login": "alice", "password": "alice-password"})
    assert "password/reset" not in person.get(path).content.decode()
    settings.MAIL_IS_CONFIGURED = True
    assert person.get(path).content.decode().count("password/reset") == 1


def test_the_entry_point_keeps_queries_out_of_the_access_log(monkeypatch: pytest.MonkeyPatch) -> None:
    import config.asgi

    logger = logging.getLogger("uvicorn.access")
    monkeypatch.setattr(logger, "filters", [])
    importlib.reload(config.asgi)
    assert any(isinstance(known, WithoutQuery) for known in logger.filters)
