"""Who may sees in the admin what somebody's client is answered; each look is in the audit trail."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from bs4 import BeautifulSoup
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from oauth2_provider.models import get_grant_model

from authapp.models import Application, AuditEvent, Connection, ConnectionAttempt
from tests.oauth import browser, connected, registered

pytestmark = pytest.mark.django_db

PAGE = "/admin/authapp/connection/see-as/"


def looked_at(user: Any, client_id: str, client_name: str, scopes: Collection[str]) -> Any:
    """Stand in for the resource server, which has tests of its own (tests/mcpapp/test_see_as.py)."""
    listed = SimpleNamespace(status=200, challenge="", body=f"{user}/{client_id}/{client_name}/{sorted(scopes)}")
    refusal = SimpleNamespace(status=403, challenge='Bearer error="insufficient_scope"', body="<b>no</b>")
    tool = SimpleNamespace(
        name="writes",
        title="",
        effect="write",
        is_listed=True,
        may_be_called=False,
        missing_scopes=["mcp:write"],
        missing_permissions=["auth.change_group"],
        groups=["Keepers"],
        is_refused_by_rule=True,
        answer=refusal,
    )
    return SimpleNamespace(resource="", protocol_version="2026-07-28", tools_list=listed, tools=[tool])


@pytest.fixture(autouse=True)
def resource_server(settings: Any) -> None:
    settings.AUTHAPP = settings.AUTHAPP | {"SEE_AS": f"{__name__}.looked_at"}


@pytest.fixture
def owner() -> Client:
    return browser(get_user_model().objects.create_superuser("owner", password="owner-password"))


def staff(*permissions: str) -> Client:
    user = get_user_model().objects.create_user("staff", password="staff-password", is_staff=True)
    for permission in permissions:
        app, _, codename = permission.partition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return browser(user)


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return " ".join(BeautifulSoup(response.content, "html.parser").get_text(" ").split())


def consent_page(response: Any) -> BeautifulSoup:
    frame = BeautifulSoup(response.content, "html.parser").find("iframe")
    assert frame is not None
    assert frame["sandbox"] == [], "no script, no form and no cookie of the site"
    return BeautifulSoup(str(frame["srcdoc"]), "html.parser")


def chosen(user: Any, application: Application, *scopes: str) -> dict[str, Any]:
    return {"user": user.pk, "application": application.pk, "scopes": list(scopes)}


def test_the_page_shows_what_the_resource_server_answers(owner: Client, alice: Any) -> None:
    client = registered(client_name="Looked at")
    application = Application.objects.get()
    response = owner.post(PAGE, chosen(alice, application, "mcp:write"))
    text = text_of(response)
    assert f"alice/{client['client_id']}/Looked at/['mcp:tools', 'mcp:write']" in text, "with what a scope includes"
    for words in (
        "Scopes that are not granted: mcp:write",
        "Permissions that this person lacks: auth.change_group",
        "In none of the groups: Keepers",
        "own rule says no",
        'HTTP 403 WWW-Authenticate: Bearer error="insufficient_scope" <b>no</b>',
    ):
        assert words in text


def test_the_consent_page_is_that_of_the_person(owner: Client, alice: Any) -> None:
    registered(client_name="Looked at")
    page = consent_page(owner.post(PAGE, chosen(alice, Application.objects.get(), "mcp:write"))).get_text(" ")
    assert "Looked at" in page
    assert "alice" in page
    assert "mcp:write" in page
    assert "owner" not in page


def test_it_is_shown_though_the_consent_is_remembered_and_nothing_comes_of_it(owner: Client, alice: Any) -> None:
    connected(alice)
    application = Application.objects.get()
    before = Connection.objects.values().get(), ConnectionAttempt.objects.count(), get_grant_model().objects.count()
    page = consent_page(owner.post(PAGE, chosen(alice, application, "mcp:tools")))
    assert page.find("button", string="Allow") is not None
    after = Connection.objects.values().get(), ConnectionAttempt.objects.count(), get_grant_model().objects.count()
    assert after == before


def test_each_look_is_in_the_audit_trail(owner: Client, alice: Any) -> None:
    registered(client_name="Looked at")
    owner.get(PAGE)
    assert not AuditEvent.objects.filter(action="seen_as").exists()
    owner.post(PAGE, chosen(alice, Application.objects.get(), "mcp:tools", "mcp:write"))
    event = AuditEvent.objects.get(action="seen_as")
    assert (event.username, event.client_name) == ("owner", "Looked at")
    assert event.detail == {"seen": "alice", "scope": "mcp:tools mcp:write"}


def test_a_connection_fills_the_form_in(owner: Client, alice: Any) -> None:
    connected(alice, scope="mcp:write")
    connection = Connection.objects.get()
    for query in (
        f"connection={connection.pk}",
        f"user={connection.user_id}&application={connection.application_id}",
    ):
        page = BeautifulSoup(owner.get(f"{PAGE}?{query}").content, "html.parser")
        picked = [str(option["value"]) for option in page.select("option[selected]")]
        assert picked == [str(connection.user_id), str(connection.application_id)]
        assert [box["value"] for box in page.select("input[type=checkbox][checked]")] == ["mcp:write"]
    assert (
        f"see-as/?connection={connection.pk}"
        in owner.get(f"/admin/authapp/connection/{connection.pk}/change/").content.decode()
    )
    assert PAGE in owner.get("/admin/authapp/connection/").content.decode()


@pytest.mark.parametrize("query", ["connection=x", "connection=999", "user=-1&application=x", f"user={'9' * 50}"])
def test_a_link_that_leads_nowhere_leaves_the_form_empty(owner: Client, query: str) -> None:
    page = BeautifulSoup(owner.get(f"{PAGE}?{query}").content, "html.parser")
    assert page.select("option[selected][value]:not([value=''])") == []
    assert [box["value"] for box in page.select("input[type=checkbox][checked]")] == ["mcp:tools"]


def test_what_cannot_be_chosen_is_said_and_nothing_is_looked_at(owner: Client, alice: Any) -> None:
    registered()
    application = Application.objects.get()
    wrong: list[dict[str, Any]] = [
        {},
        {"user": "x", "application": application.pk},
        {"user": alice.pk, "application": "9" * 30},
        chosen(alice, application, "made-up"),
    ]
    for form in wrong:
        response = owner.post(PAGE, form)
        assert "errorlist" in response.content.decode()
        assert "as it is sent" not in text_of(response)
    assert not AuditEvent.objects.filter(action="seen_as").exists()


def test_a_disabled_client_and_one_without_redirects_have_no_consent_page(owner: Client, alice: Any) -> None:
    registered()
    Application.objects.update(disabled_at="2026-01-01T00:00:00Z")
    text = text_of(owner.post(PAGE, chosen(alice, Application.objects.get(), "mcp:tools")))
    assert "This client is disabled" in text
    assert "No page: the request is refused" in text
    Application.objects.update(disabled_at=None, redirect_uris="")
    assert "has no redirect URI" in text_of(owner.post(PAGE, chosen(alice, Application.objects.get(), "mcp:tools")))


ALL = ("authapp.see_as", "authapp.view_application", "auth.view_user", "authapp.view_connection")


@pytest.mark.parametrize("missing", [None, *ALL])
def test_who_looks_has_every_permission_for_it(alice: Any, missing: str | None) -> None:
    connected(alice)
    application = Application.objects.get()
    client = staff(*(one for one in ALL if one != missing))
    listed = client.get("/admin/authapp/connection/").content.decode()
    answers = [client.get(PAGE).status_code, client.post(PAGE, chosen(alice, application, "mcp:tools")).status_code]
    assert answers == ([200, 200] if missing is None else [403, 403])
    assert (PAGE in listed) is (missing is None)  # without the last one there is no list either
    assert AuditEvent.objects.filter(action="seen_as").exists() is (missing is None)


def test_strangers_and_people_who_are_no_staff_are_sent_to_sign_in(alice: Any) -> None:
    for client in (browser(), browser(alice)):
        for response in (client.get(PAGE), client.post(PAGE, {})):
            assert (response.status_code, "/admin/login/" in response["Location"]) == (302, True)


def test_only_a_superuser_sees_as_a_superuser(owner: Client) -> None:
    boss = get_user_model().objects.create_superuser("boss", password="boss-password")
    connected(boss)
    form = chosen(boss, Application.objects.get(), "mcp:tools")
    assert "as it is sent" in text_of(owner.post(PAGE, form))
    clerk, of_boss = staff(*ALL), f"{PAGE}?connection={Connection.objects.get().pk}"
    picked = {
        name: BeautifulSoup(by.get(of_boss).content, "html.parser").select("option[selected][value]:not([value=''])")
        for name, by in (("owner", owner), ("clerk", clerk))
    }
    assert (len(picked["owner"]), picked["clerk"]) == (2, []), "nor what was connected"
    refused = text_of(clerk.post(PAGE, form))
    assert "Select a valid choice" in refused
    assert "as it is sent" not in refused


def test_without_a_resource_server_there_is_no_such_page(owner: Client, alice: Any, settings: Any) -> None:
    settings.AUTHAPP = {name: value for name, value in settings.AUTHAPP.items() if name != "SEE_AS"}
    assert owner.get(PAGE).status_code == 403
    assert PAGE not in owner.get("/admin/authapp/connection/").content.decode()
