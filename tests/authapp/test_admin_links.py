"""The pages of clients and people lead to what they have, whoever may see it; and lists can be cut down to one."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from bs4 import BeautifulSoup
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from authapp.models import Application, AuditEvent, Connection
from mcpapp.models import ToolCall
from tests.authapp.admin_rows import clerk
from tests.oauth import browser, connected, refresh

pytestmark = pytest.mark.django_db

CONNECTIONS, EVENTS = "/admin/authapp/connection/", "/admin/authapp/auditevent/"
ACCESS, REFRESH = "/admin/oauth2_provider/accesstoken/", "/admin/oauth2_provider/refreshtoken/"
CALLS = "/admin/mcpapp/toolcall/"
MODELS = {
    CONNECTIONS: "connection",
    ACCESS: "accesstoken",
    REFRESH: "refreshtoken",
    EVENTS: "auditevent",
    CALLS: "toolcall",
}


@pytest.fixture
def owner(db: None) -> Client:
    return browser(get_user_model().objects.create_superuser("owner", password="owner-password"))


@pytest.fixture
def lived(alice: Any, bob: Any) -> Application:
    """Two people with two clients each, of which they share one; returns that one."""
    shared, tokens = connected(alice)
    refresh(shared["client_id"], tokens["refresh_token"])
    connected(bob, shared)
    for person in (alice, bob):
        own, _ = connected(person)
        for client in (shared, own):
            called(person, client["client_id"])
    return Application.objects.get(client_id=shared["client_id"])


def called(person: Any, client_id: str) -> None:
    ToolCall.objects.create(
        at=timezone.now(),
        username=person.username,
        user_key=str(person.pk),
        client_id=client_id,
        tool="protected-data",
        outcome="ok",
        duration_us=1,
        request_bytes=1,
        response_bytes=1,
    )


def links_on(person: Client, page: str) -> dict[str, str]:
    """Return the links of the part "See also", by the list they lead to."""
    content = BeautifulSoup(person.get(page).content, "html.parser")
    heading = content.find("h2", string="See also")
    if heading is None:
        return {}
    found = [str(link["href"]) for link in heading.find_parent("fieldset").select("a")]  # type: ignore[union-attr]
    return {urlsplit(address).path: address for address in found}


SEE_AS = "/admin/authapp/connection/see-as/"
"""It leads to no list."""


def page_of(target: Any) -> str:
    return f"/admin/{target._meta.app_label}/{target._meta.model_name}/{target.pk}/change/"


def test_a_client_leads_to_what_it_has_and_to_nothing_else(owner: Client, lived: Application) -> None:
    links = links_on(owner, page_of(lived))
    assert links.pop(SEE_AS) == f"{SEE_AS}?application={lived.pk}"
    assert set(links) == set(MODELS)
    for path, address in links.items():
        rows = owner.get(address).context["cl"].result_list
        assert {row.client_id if path == CALLS else row.application.client_id for row in rows} == {lived.client_id}
        assert len(rows) < len(owner.get(path).context["cl"].result_list), path
        assert len(rows) > 1, path


def test_a_person_leads_to_what_they_have_and_to_nothing_else(owner: Client, lived: Application, alice: Any) -> None:
    links = links_on(owner, page_of(alice))
    assert links.pop(SEE_AS) == f"{SEE_AS}?user={alice.pk}"
    assert set(links) == set(MODELS)
    for path, address in links.items():
        rows = owner.get(address).context["cl"].result_list
        assert {row.user_key if path == CALLS else str(row.user_id) for row in rows} == {str(alice.pk)}
        assert len(rows) < len(owner.get(path).context["cl"].result_list), path
        assert len(rows) > 1, path


def test_calls_of_who_had_the_name_before_are_not_a_persons(owner: Client, lived: Application, alice: Any) -> None:
    ToolCall.objects.filter(username="alice").update(user_key="999")
    called(alice, "later")
    rows = owner.get(links_on(owner, page_of(alice))[CALLS]).context["cl"].result_list
    assert [row.client_id for row in rows] == ["later"]


@pytest.mark.parametrize("path", MODELS)
def test_each_link_is_for_who_may_view_its_list(lived: Application, alice: Any, path: str) -> None:
    person = clerk("view_application", "view_user", f"view_{MODELS[path]}")
    for target in (lived, alice):
        links = links_on(person, page_of(target))
        assert set(links) == {path}
        assert person.get(links[path]).status_code == 200
    person = clerk("view_application", "view_user")
    for target in (lived, alice):
        assert person.get(page_of(target)).status_code == 200
        assert links_on(person, page_of(target)) == {}


def test_where_nothing_keeps_calls_there_is_no_link_to_them(owner: Client, lived: Application, settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "CALLS_URL": ""}
    assert set(links_on(owner, page_of(lived))) == {*MODELS, SEE_AS} - {CALLS}


def test_what_is_being_made_has_no_links(owner: Client) -> None:
    for path in ("/admin/authapp/application/add/", "/admin/auth/user/add/"):
        assert owner.get(path).status_code == 200
        assert links_on(owner, path) == {}


def test_a_list_says_whom_it_is_cut_down_to(owner: Client, lived: Application, alice: Any) -> None:
    for path in (CONNECTIONS, EVENTS, ACCESS, REFRESH):
        whole = owner.get(path).context["cl"]
        assert {"client", "user"}.isdisjoint(str(spec.title) for spec in whole.filter_specs)
        cut = owner.get(path, {"person": alice.pk}).context["cl"]
        [spec] = [spec for spec in cut.filter_specs if spec.title == "user"]
        assert [(choice["display"], choice["selected"]) for choice in spec.choices(cut)] == [
            ("All", False),
            ("alice", True),
        ]
    assert "client" in {str(spec.title) for spec in owner.get(CALLS, {"client": "x"}).context["cl"].filter_specs}


@pytest.mark.parametrize("parameter", ["client", "person"])
@pytest.mark.parametrize("path", [CONNECTIONS, EVENTS, ACCESS, REFRESH])
def test_of_who_is_not_there_nothing_is_shown(owner: Client, lived: Application, path: str, parameter: str) -> None:
    assert owner.get(path).context["cl"].result_list
    for gone in ("0", "987654", "9" * 30):
        assert list(owner.get(path, {parameter: gone}).context["cl"].result_list) == [], gone
    for nonsense in ("x", "9" * 5000, "1 OR 1=1"):
        response = owner.get(path, {parameter: nonsense})
        assert (response.status_code, response["Location"]) == (302, f"{path}?e=1"), nonsense


def test_the_links_keep_what_a_url_cannot_have_plain(owner: Client, db: None) -> None:
    name = "a&b=c#d +é"
    client = Application.objects.create(client_id=f"https://x.example/{name}", client_type="public", redirect_uris="")
    called(get_user_model()(pk=1, username=name), client.client_id)
    address = links_on(owner, page_of(client))[CALLS]
    assert dict(parse_qsl(urlsplit(address).query)) == {"client": client.client_id}
    assert len(owner.get(address).context["cl"].result_list) == 1


def test_the_page_of_a_person_still_saves(owner: Client, alice: Any) -> None:
    connected(alice)
    page = page_of(alice)
    form = {
        "username": "alice",
        "first_name": "Alicia",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "is_active": "on",
        "mcp_connections-TOTAL_FORMS": "1",
        "mcp_connections-INITIAL_FORMS": "1",
    }
    response = owner.post(page, form)
    assert response.status_code == 302, response.content.decode()
    alice.refresh_from_db()
    assert alice.first_name == "Alicia"
    assert Connection.objects.exists()
    assert AuditEvent.objects.exists()
