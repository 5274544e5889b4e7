"""A mail when a client is connected for the first time, and a page that shows what is new and what is used."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from authapp import notices
from authapp.connected_apps import PER_PAGE
from authapp.models import Application, Connection
from mcpapp.models import ConnectionUsage
from tests.devices import device_connected
from tests.oauth import PKCE, answer, authorization_url, authorize, browser, connected, registered

pytestmark = pytest.mark.django_db(transaction=True)

KIND = {
    "client_type": Application.CLIENT_PUBLIC,
    "authorization_grant_type": Application.GRANT_AUTHORIZATION_CODE,
}


@pytest.fixture
def notified(settings: Any, alice: Any) -> Any:
    settings.AUTHAPP = {**settings.AUTHAPP, "NOTIFY_NEW_CONNECTIONS": True}
    alice.email = "alice@example.org"
    alice.save()
    return alice


def sent() -> list[Any]:
    """Return what was sent, once the thread that sends has nothing left to do."""
    notices._sender.submit(lambda: None).result()
    return list(mail.outbox)


def test_a_new_connection_is_told_of_once_and_only_to_its_person(notified: Any, bob: Any) -> None:
    client = registered(client_name="Cursor")
    connected(notified, client)
    (message,) = sent()
    assert message.to == ["alice@example.org"]
    assert message.subject == "Cursor was connected to your account"
    assert "http://127.0.0.1:8000/connected-apps/" in message.body
    assert "127.0.0.1." in message.body
    connected(notified, client)
    assert len(sent()) == 1, "allowed again is not new"
    connected(bob, registered())
    assert len(sent()) == 1, "bob has no address"
    authorize(notified, registered()["client_id"], PKCE(), allow=False)
    assert len(sent()) == 1, "nothing was connected"


def test_a_device_is_told_of_as_well(notified: Any) -> None:
    device_connected(notified)
    assert len(sent()) == 1


def test_nothing_is_sent_unless_the_settings_say_so(notified: Any, settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "NOTIFY_NEW_CONNECTIONS": False}
    connected(notified)
    assert sent() == []


@pytest.mark.parametrize("name", ["A\r\nBcc: evil@example.org", "x" * 500, "\u202eevil", "<b>bold</b>"])
def test_no_name_of_a_client_makes_another_mail_of_it(notified: Any, name: str) -> None:
    client = registered()
    Application.objects.filter(client_id=client["client_id"]).update(name=name[:255])
    connected(notified, client)
    (message,) = sent()
    assert "\n" not in message.subject
    assert message.to == ["alice@example.org"]
    assert message.bcc == []
    assert len(message.subject) < 200
    assert message.message()["Bcc"] is None


def test_a_mail_server_that_is_away_ends_no_consent(notified: Any, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    url = authorization_url(registered()["client_id"], PKCE())
    assert answer(browser(notified).post(url, {"allow": "true"}))["code"]
    assert sent() == []
    assert Connection.objects.filter(user=notified).exists()


def test_it_is_in_the_language_of_the_browser(notified: Any) -> None:
    url = authorization_url(registered(client_name="Cursor")["client_id"], PKCE())
    browser(notified).post(url, {"allow": "true"}, headers={"accept-language": "zh-CN"})
    (message,) = sent()
    assert message.subject == "Cursor 已连接到您的账户"
    assert "断开它并修改密码" in message.body


# --- The page --------------------------------------------------------------------------------------------------------


def test_the_page_says_how_each_client_is_used(alice: Any, bob: Any) -> None:
    connected(alice, registered(client_name="Busy"))
    connected(alice, registered(client_name="Idle"))
    connected(bob, registered(client_name="Bobs"))
    busy = Connection.objects.get(application__name="Busy")
    last = timezone.now() - timedelta(hours=2)
    ConnectionUsage.objects.create(connection_key=str(busy.pk), calls=12, last_call_at=last)
    text = browser(alice).get("/connected-apps/").content.decode()
    assert "12 calls, the last 2\xa0hours ago" in text
    assert text.count("not yet") == 1
    assert "Bobs" not in text


def test_many_clients_are_shown_a_page_at_a_time_the_latest_first(alice: Any, bob: Any) -> None:
    client = registered()
    for number in range(PER_PAGE + 2):
        Connection.objects.create(
            user=alice, application=Application.objects.create(name=f"Client {number:02d}", **KIND), scope="mcp:tools"
        )
    connected(bob, client)
    first = browser(alice).get("/connected-apps/").content.decode()
    second = browser(alice).get("/connected-apps/?page=2").content.decode()
    assert first.count('<section class="card">') == PER_PAGE
    assert second.count('<section class="card">') == 2
    assert f"Client {PER_PAGE + 1:02d}" in first
    assert "Client 00" in second
    assert 'href="?page=2"' in first
    assert 'href="?page=1"' in second
    for odd in ("0", "-1", "999", "x", "2' OR 1=1"):
        assert browser(alice).get("/connected-apps/", {"page": odd}).status_code == 200


def test_what_is_new_since_the_last_look_is_marked(alice: Any) -> None:
    at_a_desk = browser(alice)
    connected(alice, registered(client_name="First"))
    assert 'class="badge"' not in at_a_desk.get("/connected-apps/").content.decode(), "the first look has no before"
    connected(alice, registered(client_name="Second"))
    assert at_a_desk.get("/connected-apps/").content.decode().count('class="badge"') == 1
    assert 'class="badge"' not in at_a_desk.get("/connected-apps/").content.decode()


def test_all_of_a_persons_clients_are_disconnected_at_once_and_nobody_elses(alice: Any, bob: Any) -> None:
    for _ in range(3):
        connected(alice)
    connected(bob)
    assert browser().post("/connected-apps/disconnect-all/").status_code == 302
    assert browser(alice).get("/connected-apps/disconnect-all/")["Location"] == "/connected-apps/"
    assert Connection.objects.count() == 4
    done = browser(alice).post("/connected-apps/disconnect-all/", follow=True).content.decode()
    assert "All clients are disconnected." in done
    assert [connection.user for connection in Connection.objects.all()] == [bob]


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/connected-apps/", "/admin/", "/nothing-here"])
def test_every_page_runs_the_sites_own_files_alone(admin_user: Any, path: str) -> None:
    response = browser(admin_user).get(path, follow=True)
    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy + ";"
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action" not in policy
