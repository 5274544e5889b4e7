"""What the admin does to clients is said before it is done, and done at once and in full."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from authapp.models import Application, AuditEvent, Connection, TokenFamily
from authapp.tokens import find_access_token
from mcpapp.models import ClientUsage
from tests.authapp.client_actions import LIST, asked, confirmed
from tests.oauth import CALLBACK, PKCE, authorize, browser, connected, redeem, refresh, registered

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(db: None) -> Client:
    return browser(get_user_model().objects.create_superuser("owner", password="owner-password"))


def selected(*applications: Application) -> dict[str, Any]:
    return {"_selected_action": [application.pk for application in applications]}


def works(token: str) -> bool:
    return async_to_sync(find_access_token)(token) is not None


def test_the_page_says_what_disabling_ends_and_until_then_nothing_ends(owner: Client, alice: Any, bob: Any) -> None:
    client, tokens = connected(alice)
    connected(bob, client)
    authorize(alice, client["client_id"], PKCE())
    application = Application.objects.get()
    text, form = asked(owner, "disable", selected(application))
    for words in (
        "Test client",
        "in every worker",
        "People who connected them 2",
        "Logins that are alive 2",
        "Access tokens that have not expired 2",
        "Codes that wait to be redeemed 1",
    ):
        assert words in text
    assert works(tokens["access_token"])
    assert owner.post(LIST, form).status_code == 302
    assert not works(tokens["access_token"])
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 401
    confirmed(owner, "enable", selected(application))
    assert works(tokens["access_token"])
    told = AuditEvent.objects.filter(action__in=["client_disabled", "client_enabled"]).values_list(
        "username", flat=True
    )
    assert list(told) == ["owner", "owner"]


def test_revoking_everything_ends_all_but_the_client(owner: Client, alice: Any, bob: Any) -> None:
    client, tokens = connected(alice)
    pkce = PKCE()
    code = authorize(bob, client["client_id"], pkce)["code"]
    _, untouched = connected(bob)
    application = Application.objects.get(client_id=client["client_id"])
    assert "people can connect them again" in confirmed(owner, "revoke_everything", selected(application))
    assert not works(tokens["access_token"])
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 400
    assert redeem(client["client_id"], code, pkce).status_code == 400
    assert not Connection.objects.filter(application=application).exists()
    assert works(untouched["access_token"])
    _, again = connected(alice, client)
    assert works(again["access_token"])


def test_what_is_revoked_of_a_service_are_its_tokens_too(owner: Client, alice: Any) -> None:
    service = Application.objects.create(name="Service", client_type="confidential", redirect_uris="")
    tokens = get_access_token_model().objects
    later = timezone.now() + timedelta(hours=1)
    tokens.create(application=service, user=None, scope="mcp:tools", expires=later, token_checksum="1" * 64)
    other, _ = connected(alice)
    confirmed(owner, "revoke_everything", selected(service))
    assert not tokens.filter(application=service).exists()
    assert tokens.filter(application__client_id=other["client_id"], user=alice).exists()


def test_revoking_leaves_a_client_the_way_to_manage_its_registration(owner: Client, alice: Any) -> None:
    client, _ = connected(alice)
    confirmed(owner, "revoke_everything", selected(Application.objects.get()))
    managed = browser().get(
        client["registration_client_uri"], headers={"authorization": f"Bearer {client['registration_access_token']}"}
    )
    assert managed.status_code == 200


def test_a_client_that_is_forgotten_is_gone_with_all_it_had(owner: Client, alice: Any) -> None:
    client, tokens = connected(alice)
    _, untouched = connected(alice)
    application = Application.objects.get(client_id=client["client_id"])
    assert "cannot be undone" in confirmed(owner, "forget", selected(application))
    assert not Application.objects.filter(pk=application.pk).exists()
    assert not works(tokens["access_token"])
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 401
    assert works(untouched["access_token"])
    event = AuditEvent.objects.get(action="client_deleted")
    assert (event.client_id, event.username) == (client["client_id"], "owner")


def test_deleting_one_on_its_page_is_the_same(owner: Client, alice: Any) -> None:
    connected(alice)
    application = Application.objects.get()
    page = f"{LIST}{application.pk}/delete/"
    assert "This cannot be undone" in owner.get(page).content.decode()
    assert owner.post(page, {"post": "yes"}).status_code == 200
    assert Application.objects.exists()
    assert owner.post(page, {"confirmed": "yes", "chosen": str(application.pk)}).status_code == 302
    assert owner.get(f"{LIST}nonsense/delete/").status_code == 200
    assert not Application.objects.exists()
    assert AuditEvent.objects.filter(action="client_deleted").exists()
    assert not TokenFamily.objects.filter(ended_at=None).exists()


def test_djangos_own_way_to_delete_many_is_not_offered(owner: Client, alice: Any) -> None:
    connected(alice)
    page = owner.get(LIST).content.decode()
    assert 'value="forget"' in page
    assert "delete_selected" not in page


def test_what_has_come_after_the_question_is_not_touched(owner: Client, alice: Any) -> None:
    connected(alice)
    text, form = asked(owner, "forget", {**selected(Application.objects.get()), "select_across": "1"})
    registered(client_name="Late")
    assert "Late" not in text
    owner.post(LIST, form)
    assert Application.objects.get().name == "Late"


def test_a_thousand_and_more_are_confirmed_in_one_go(owner: Client) -> None:
    Application.objects.bulk_create(
        Application(
            name=f"Client {number}",
            client_type="public",
            redirect_uris=CALLBACK,
            authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
            client_id=f"client-{number}",
        )
        for number in range(1200)
    )
    first = Application.objects.order_by("pk")[:1].get()
    text = confirmed(owner, "disable", {**selected(first), "select_across": "1"})
    assert "and 1180 more" in text
    assert not Application.objects.filter(disabled_at=None).exists()


@pytest.mark.parametrize("action", ["disable", "enable", "revoke_everything", "forget"])
def test_each_action_needs_its_permission(alice: Any, action: str) -> None:
    connected(alice)
    application = Application.objects.get()
    if action == "enable":
        Application.objects.update(disabled_at=timezone.now())
    clerk = get_user_model().objects.create_user("clerk", password="clerk-password", is_staff=True)
    needed = "delete" if action == "forget" else "change"
    form = {"action": action, "confirmed": "yes", "chosen": str(application.pk), **selected(application)}
    before = Application.objects.values().get()
    others = Permission.objects.filter(codename__in=["view_application", "add_application"])
    clerk.user_permissions.set(others)
    person = browser(get_user_model().objects.get(pk=clerk.pk))
    assert f'value="{action}"' not in person.get(LIST).content.decode()
    person.post(LIST, form)
    assert Application.objects.values().get() == before
    assert Connection.objects.exists()
    clerk.user_permissions.add(Permission.objects.get(codename=f"{needed}_application"))
    person = browser(get_user_model().objects.get(pk=clerk.pk))
    assert f'value="{action}"' in person.get(LIST).content.decode()
    person.post(LIST, form)
    changed = Application.objects.values().first()
    assert changed != before or not Connection.objects.exists()


def test_the_list_says_who_uses_a_client_and_how(owner: Client, alice: Any, bob: Any, settings: Any) -> None:
    client, _tokens = connected(alice)
    connected(bob, client)
    unused = registered(client_name="Unused")
    now = timezone.now()
    for days, calls, failed in ((0, 7, 2), (1, 5, 0)):
        ClientUsage.objects.create(
            day=(now - timedelta(days=days)).date(),
            client_id=client["client_id"],
            client_name="Test client",
            calls=calls,
            failed_calls=failed,
            last_call_at=now,
        )
    page = owner.get(LIST)
    rows = {application.client_id: application for application in page.context["cl"].result_list}
    used = rows[client["client_id"]]
    assert (used.people_count, used.live_tokens, used.use.calls, used.use.failed_calls) == (2, 2, 12, 2)
    assert rows[unused["client_id"]].use is None
    assert "12 (2 failed)" in page.content.decode()
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_USAGE": ""}
    assert "12 (2 failed)" not in owner.get(LIST).content.decode()
    assert "column-calls" not in owner.get(LIST).content.decode()


def test_the_list_asks_as_often_for_sixty_as_for_two(owner: Client, alice: Any) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owner.get(LIST).status_code == 200
        return len(captured)

    connected(alice)
    registered()
    queries()
    few = queries()
    for _ in range(58):
        registered()
    assert queries() == few
    assert get_access_token_model().objects.count() > 58
