"""The admin of connections says how they are used and until when they last, and ends them after a question."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_grant_model

from authapp.connections_admin import SHOWN_BESIDE
from authapp.models import Application, AuditEvent, Connection, TokenFamily
from authapp.token_life import Life
from authapp.tokens import find_access_token
from mcpapp.models import ConnectionUsage
from tests.authapp.admin_rows import asks_as_often_for_sixty_as_for_two, clerk, fill, queries
from tests.authapp.client_actions import asked, confirmed
from tests.oauth import CALLBACK, PKCE, authorize, browser, connected, redeem, refresh

pytestmark = pytest.mark.django_db

LIST = "/admin/authapp/connection/"


@pytest.fixture
def owner(db: None) -> Client:
    return browser(get_user_model().objects.create_superuser("owner", password="owner-password"))


def works(tokens: dict[str, Any]) -> bool:
    return async_to_sync(find_access_token)(tokens["access_token"]) is not None


def selected(*connections: Connection) -> dict[str, Any]:
    return {"_selected_action": [connection.pk for connection in connections]}


def shown(person: Client, query: str = "") -> dict[int, Any]:
    """Return the rows of the list by their keys, as the page has them."""
    return {row.pk: row for row in person.get(f"{LIST}{query}").context["cl"].result_list}


def test_the_list_says_how_a_connection_is_used_what_it_has_and_until_when(
    owner: Client, alice: Any, bob: Any, settings: Any
) -> None:
    client, tokens = connected(alice, scope="mcp:tools offline_access")
    refresh(client["client_id"], tokens["refresh_token"])
    connected(bob, client)
    used, unused = Connection.objects.get(user=alice), Connection.objects.get(user=bob)
    now = timezone.now()
    ConnectionUsage.objects.create(connection_key=str(used.pk), calls=41, last_call_at=now)
    rows = shown(owner)
    assert (rows[used.pk].use.calls, rows[used.pk].use.last_call_at) == (41, now)
    assert rows[unused.pk].use is None
    expires = get_access_token_model().objects.get(user=alice).expires
    assert rows[used.pk].life == Life(1, 1, expires + timedelta(days=30))
    page = owner.get(LIST).content.decode()
    assert '<td class="field-calls">41</td>' in page
    assert "1 access, 1 refresh" in page
    assert "mcp:tools offline_access" in page
    settings.AUTHAPP = {**settings.AUTHAPP, "CONNECTION_USAGE": ""}
    page = owner.get(LIST).content.decode()
    assert "column-calls" not in page
    assert "column-last_used" not in page
    assert "column-until" in page


def test_a_connection_lasts_no_longer_than_its_logins_may_get_old(owner: Client, alice: Any, settings: Any) -> None:
    connected(alice)
    connection, family = Connection.objects.get(), TokenFamily.objects.get()
    settings.AUTHAPP = {**settings.AUTHAPP, "FAMILY_MAXIMUM_SECONDS": 7200}
    assert shown(owner)[connection.pk].life.until == family.created_at + timedelta(seconds=7200)
    settings.AUTHAPP = {**settings.AUTHAPP, "FAMILY_MAXIMUM_SECONDS": 0}
    expires = get_access_token_model().objects.get(user=alice).expires
    assert shown(owner)[connection.pk].life.until == expires + timedelta(days=30)
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "REFRESH_TOKEN_EXPIRE_SECONDS": None}
    assert shown(owner)[connection.pk].life.until is None
    assert "without end" in owner.get(LIST).content.decode()


def test_what_cannot_be_used_now_does_not_count_as_live(owner: Client, alice: Any) -> None:
    connected(alice)
    key = Connection.objects.get().pk
    assert shown(owner)[key].life.access_tokens == 1
    Application.objects.update(disabled_at=timezone.now())
    assert shown(owner)[key].life == Life()
    Application.objects.update(disabled_at=None)
    alice.is_active = False
    alice.save()
    assert shown(owner)[key].life == Life()
    assert '<td class="field-until">–</td>' in owner.get(LIST).content.decode()


def test_the_list_asks_as_often_for_sixty_as_for_two(owner: Client) -> None:
    asks_as_often_for_sixty_as_for_two(owner, LIST)


def test_disconnecting_says_what_ends_and_then_ends_it(owner: Client, alice: Any, bob: Any) -> None:
    client, tokens = connected(alice)
    _, other = connected(bob, client)
    _, untouched = connected(alice)
    pkce = PKCE()
    code = authorize(alice, client["client_id"], pkce)["code"]
    chosen = Connection.objects.filter(application__client_id=client["client_id"])
    text, form = asked(owner, "disconnect", selected(*chosen), LIST)
    for words in (
        "alice → Test client",
        "bob → Test client",
        "Connections 2",
        "People 2",
        "Clients 1",
        "Logins that are alive 2",
        "Access tokens that have not expired 2",
        "Codes that wait to be redeemed 1",
        "in every worker",
    ):
        assert words in text
    assert works(tokens)
    assert owner.post(LIST, form).status_code == 302
    assert not works(tokens)
    assert not works(other)
    assert works(untouched)
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 400
    assert redeem(client["client_id"], code, pkce).status_code == 400
    assert not get_grant_model().objects.exists()
    assert Connection.objects.count() == 1
    told = AuditEvent.objects.filter(action="disconnected").values_list("username", "detail")
    assert sorted(told) == [("alice", {"by": "owner"}), ("bob", {"by": "owner"})]


def test_what_has_come_after_the_question_stays(owner: Client, alice: Any, bob: Any) -> None:
    connected(alice)
    _, form = asked(owner, "disconnect", {**selected(Connection.objects.get()), "select_across": "1"}, LIST)
    connected(bob)
    owner.post(LIST, form)
    assert Connection.objects.get().user == bob


def test_djangos_own_way_to_delete_many_is_not_offered(owner: Client, alice: Any) -> None:
    connected(alice)
    page = owner.get(LIST).content.decode()
    assert 'value="disconnect"' in page
    assert "delete_selected" not in page


@pytest.mark.parametrize(
    "forged", ["9" * 5000, "9" * 18, "x", "", ",,,", "00000000-0000-0000-0000-000000000000", "-" * 36]
)
def test_made_up_keys_end_nothing(owner: Client, alice: Any, forged: str) -> None:
    connected(alice)
    form = {"action": "disconnect", "confirmed": "yes", "chosen": forged, **selected(Connection.objects.get())}
    assert owner.post(LIST, form).status_code == 302
    assert Connection.objects.exists()


def test_more_than_one_action_is_for_is_refused(owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authapp.confirmation.MAXIMUM", 2)
    fill(3)
    everything = {**selected(Connection.objects.order_by("pk")[:1].get()), "select_across": "1"}
    response = owner.post(LIST, {"action": "disconnect", **everything}, follow=True)
    assert "Choose at most 2 at once." in response.content.decode()
    Connection.objects.order_by("pk")[:1].get().delete()
    assert "Connections 2" in confirmed(
        owner, "disconnect", {**selected(Connection.objects.order_by("pk")[:1].get()), "select_across": "1"}, LIST
    )
    assert not Connection.objects.exists()


def test_who_may_only_look_ends_nothing_and_who_may_not_sees_nothing(alice: Any) -> None:
    _, tokens = connected(alice)
    connection = Connection.objects.get()
    form = {
        "action": "disconnect",
        "confirmed": "yes",
        "chosen": str(connection.pk),
        **selected(connection),
    }
    assert clerk("view_application").get(LIST).status_code == 403
    assert clerk("view_application").post(LIST, form).status_code == 403
    for permissions in (["view_connection"], ["view_connection", "change_connection", "add_connection"]):
        person = clerk(*permissions)
        assert "alice" in person.get(LIST).content.decode()
        assert 'value="disconnect"' not in person.get(LIST).content.decode()
        person.post(LIST, form)
        assert person.get(f"{LIST}{connection.pk}/delete/").status_code == 403
        assert person.post(f"{LIST}{connection.pk}/delete/", form).status_code == 403
        assert person.post(f"{LIST}{connection.pk}/change/", {"scope": "mcp:write"}).status_code == 403
        assert person.get(f"{LIST}add/").status_code == 403
        assert works(tokens)
    clerk("view_connection", "delete_connection").post(LIST, form)
    assert not works(tokens)


def test_one_that_is_gone_is_no_fault(owner: Client) -> None:
    for key in ("7", "nonsense"):
        assert "None of the selected connections" in owner.get(f"{LIST}{key}/delete/").content.decode()


def test_the_page_of_a_client_has_its_latest_people_and_a_link_to_all(owner: Client, alice: Any) -> None:
    connected(alice)
    application = Application.objects.get()
    page = f"/admin/authapp/application/{application.pk}/change/"
    assert "All 1 connections" not in owner.get(page).content.decode()
    users = get_user_model().objects.bulk_create(get_user_model()(username=f"person-{number}") for number in range(60))
    Connection.objects.bulk_create(Connection(user=user, application=application) for user in users)
    response = owner.get(page)
    text = response.content.decode()
    [formset] = response.context["inline_admin_formsets"]
    latest = [form.instance.user.username for form in formset.formset.forms]
    assert latest == [f"person-{number}" for number in reversed(range(60 - SHOWN_BESIDE, 60))]
    assert "All 61 connections" in text
    assert f'{LIST}?client={application.pk}"' in text
    few = queries(owner, page)
    Connection.objects.filter(user__username__in=[f"person-{number}" for number in range(40)]).delete()
    assert queries(owner, page) == few
    form = {
        "name": "Renamed",
        "redirect_uris": CALLBACK,
        "connections-TOTAL_FORMS": "50",
        "connections-INITIAL_FORMS": "50",
    }
    assert owner.post(page, form).status_code == 302
    application.refresh_from_db()
    assert application.name == "Renamed"
    assert Connection.objects.count() == 21
