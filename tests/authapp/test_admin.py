"""The admin: everything can be found, nothing secret can be seen."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from bs4 import BeautifulSoup
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_grant_model, get_refresh_token_model

from authapp.admin import AuditEventAdmin
from authapp.models import Application, AuditEvent, Connection, ConnectionAttempt
from authapp.tokens import find_access_token
from tests.authapp.client_actions import confirmed, form_of
from tests.oauth import PKCE, authorize, browser, connected, refresh, registered

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin_browser() -> Client:
    return browser(get_user_model().objects.create_superuser("root", password="root-password"))


@pytest.fixture
def lived(alice: Any, bob: Any) -> list[str]:
    """Clients, codes and tokens of two people; returns every secret that was handed out."""
    client = registered(token_endpoint_auth_method="client_secret_post", client_name="Secretive")
    public, tokens = connected(alice)
    renewed = refresh(public["client_id"], tokens["refresh_token"]).json()
    connected(bob, public)
    code = authorize(alice, public["client_id"], PKCE())["code"]
    return [
        client["client_secret"],
        client["registration_access_token"],
        public["registration_access_token"],
        *(tokens[name] for name in ("access_token", "refresh_token")),
        *(renewed[name] for name in ("access_token", "refresh_token")),
        code,
    ]


def filled_in(browser: Client, path: str) -> dict[str, str]:
    """Return what the form of a page has in it."""
    page = BeautifulSoup(browser.get(path).content, "html.parser")
    form = page.select_one("#content-main form")
    assert form is not None
    return {
        str(field["name"]): next((str(one.get("value")) for one in field.select("option[selected]")), "")
        if field.name == "select"
        else str(field.get("value") or field.text.strip())
        for field in form.select("[name]")
        if field.get("type") not in ("checkbox", "radio", "submit") or field.has_attr("checked")
    }


MODELS = [Application, Connection, get_access_token_model(), get_refresh_token_model(), get_grant_model()]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_lists_and_pages_show_people_and_clients_but_no_secret(
    admin_browser: Client, lived: list[str], model: Any
) -> None:
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    pages = [base, f"{base}?q=alice"] + [f"{base}{row.pk}/change/" for row in model.objects.all()]
    digests = set(get_access_token_model().objects.values_list("token_checksum", flat=True))
    digests |= set(get_refresh_token_model().objects.values_list("token_checksum", flat=True))
    digests |= set(get_grant_model().objects.values_list("code", flat=True))
    digests |= set(Application.objects.exclude(client_secret="").values_list("client_secret", flat=True))
    assert len(pages) > 2
    assert digests
    for page in pages:
        response = admin_browser.get(page)
        assert response.status_code == 200, page
        text = response.content.decode()
        assert not [secret for secret in [*lived, *digests] if secret in text], page


def test_clients_are_found_by_name_identifier_redirect_and_person(admin_browser: Client, lived: list[str]) -> None:
    client_id = Application.objects.get(name="Test client").client_id
    for query in ("Test client", client_id, "127.0.0.1:7777", "alice"):
        text = admin_browser.get("/admin/authapp/application/", {"q": query}).content.decode()
        assert "Test client" in text, query
    assert "Secretive" not in admin_browser.get("/admin/authapp/application/", {"q": "alice"}).content.decode()


def test_a_person_leads_to_their_clients_and_a_client_to_its_people(
    admin_browser: Client, lived: list[str], alice: Any
) -> None:
    application = Application.objects.get(name="Test client")
    person = admin_browser.get(f"/admin/auth/user/{alice.pk}/change/").content.decode()
    assert f'/admin/authapp/application/{application.pk}/change/"' in person
    client = admin_browser.get(f"/admin/authapp/application/{application.pk}/change/").content.decode()
    assert f'/admin/auth/user/{alice.pk}/change/"' in client


def test_disabling_a_client_in_the_admin_ends_its_access(admin_browser: Client, alice: Any) -> None:
    client, tokens = connected(alice)
    selected = {"_selected_action": [Application.objects.get().pk]}
    confirmed(admin_browser, "disable", selected)
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 401
    confirmed(admin_browser, "enable", selected)
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200


def test_the_admin_refuses_a_redirect_uri_that_a_registration_would_refuse(admin_browser: Client) -> None:
    form = {
        "client_id": "by-hand",
        "client_type": "public",
        "authorization_grant_type": "authorization-code",
        "client_secret": "x" * 40,
        "name": "By hand",
        "redirect_uris": "http://evil.example/cb",
        "algorithm": "",
        "grant_types": "[]",
        "response_types": "[]",
        "contacts": "[]",
        "connections-TOTAL_FORMS": "0",
        "connections-INITIAL_FORMS": "0",
    }
    response = admin_browser.post("/admin/authapp/application/add/", form)
    assert response.status_code == 200
    assert "use https://" in response.content.decode()
    response = admin_browser.post("/admin/authapp/application/add/", form | {"redirect_uris": "https://app.example/cb"})
    assert response.status_code == 302, response.content.decode()
    assert Application.objects.get().registration_source == "manual"


def test_what_staff_make_and_change_by_hand_is_in_the_audit_trail_and_no_attempt_to_connect(
    admin_browser: Client, alice: Any
) -> None:
    connected(alice)
    page = f"/admin/authapp/application/{Application.objects.get().pk}/change/"
    before = AuditEvent.objects.latest("pk").pk
    attempts = list(ConnectionAttempt.objects.values())
    form = filled_in(admin_browser, page)
    assert admin_browser.post(page, form | {"name": "Another name"}).status_code == 302
    assert admin_browser.post(page, form | {"name": "Another name"}).status_code == 302, "nothing is changed"
    made = {
        "client_id": "by-hand",
        "client_type": "public",
        "name": "By hand",
        "redirect_uris": "https://app.example/cb",
    }
    add = "/admin/authapp/application/add/"
    assert admin_browser.post(add, filled_in(admin_browser, add) | made).status_code == 302
    story = AuditEvent.objects.filter(pk__gt=before).order_by("pk")
    assert list(story.values_list("action", "username", "client_name", "detail")) == [
        ("client_changed", "root", "Another name", {"by": "root", "fields": ["name"]}),
        ("client_registered", "root", "By hand", {"by": "root"}),
    ]
    assert {event.get_action_display() for event in story} == {"client changed", "client registered"}
    assert list(ConnectionAttempt.objects.values()) == attempts, "no client tried to connect"


def test_the_admins_sign_in_is_the_sites(client: Client) -> None:
    response = browser().get("/admin/", follow=True)
    assert response.redirect_chain[-1][0].startswith("/accounts/login/")


@pytest.mark.parametrize("kind", ["accesstoken", "refreshtoken"])
def test_revoking_a_token_in_the_admin_ends_the_whole_login(admin_browser: Client, alice: Any, kind: str) -> None:
    client, first = connected(alice)
    pairs = [refresh(client["client_id"], first["refresh_token"]).json() for _ in range(2)]
    model = {"accesstoken": get_access_token_model(), "refreshtoken": get_refresh_token_model()}[kind]
    one = model.objects.filter(user=alice).latest("pk")
    confirmed(admin_browser, "revoke_tokens", {"_selected_action": [one.pk]}, f"/admin/oauth2_provider/{kind}/")
    for pair in pairs:
        assert async_to_sync(find_access_token)(pair["access_token"]) is None
        assert refresh(client["client_id"], pair["refresh_token"]).status_code == 400


def test_who_may_only_look_disables_and_revokes_nothing(alice: Any) -> None:
    _, tokens = connected(alice)
    application, refreshable = Application.objects.get(), get_refresh_token_model().objects.get()
    clerk = get_user_model().objects.create_user("clerk", password="clerk-password", is_staff=True)
    choices = {
        "application": ("authapp/application", "disable", application.pk),
        "accesstoken": ("oauth2_provider/accesstoken", "revoke_tokens", refreshable.token_family),
        "refreshtoken": ("oauth2_provider/refreshtoken", "revoke_tokens", refreshable.token_family),
    }
    for may in ("view", "change"):
        for model, (path, action, pk) in choices.items():
            clerk.user_permissions.set(Permission.objects.filter(codename__in=[f"view_{model}", f"{may}_{model}"]))
            first = application.pk
            form = {"action": action, "_selected_action": [first], "confirmed": "yes", "chosen": str(pk)}
            browser(clerk).post(f"/admin/{path}/", form)
            if may == "view":
                assert async_to_sync(find_access_token)(tokens["access_token"]) is not None, model
    application.refresh_from_db()
    assert application.disabled_at is not None
    assert not get_access_token_model().objects.filter(user=alice).exists()


def test_a_form_that_was_opened_before_a_client_was_disabled_does_not_enable_it(
    admin_browser: Client, alice: Any
) -> None:
    connected(alice)
    application = Application.objects.get()
    page = f"/admin/authapp/application/{application.pk}/change/"
    form = filled_in(admin_browser, page)
    Application.objects.update(disabled_at=timezone.now())
    stale = {**form, "name": "Renamed", "disabled_at_0": "", "disabled_at_1": ""}
    assert admin_browser.post(page, stale).status_code == 302
    application.refresh_from_db()
    assert application.name == "Renamed"
    assert application.disabled_at is not None


def test_saving_the_page_of_a_token_saves_nothing(
    admin_browser: Client, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django would insert anew what was revoked after the page had read it."""
    connected(alice)
    for model in (get_access_token_model(), get_refresh_token_model()):

        def save(self: Any, *_: Any, **__: Any) -> None:
            raise AssertionError("saved")

        monkeypatch.setattr(model, "save", save)
        token: Any = model.objects.filter(user=alice).latest("pk")
        path = f"/admin/oauth2_provider/{model._meta.model_name}/{token.pk}/change/"
        assert admin_browser.post(path, {}).status_code == 302


def test_a_filter_names_nobody_whom_its_reader_may_not_see(alice: Any) -> None:
    connected(alice)
    clerk = get_user_model().objects.create_user("clerk", password="clerk-password", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_grant"]))
    path = f"/admin/oauth2_provider/grant/?person={alice.pk}"
    for may_see in (False, True):
        response = browser(clerk).get(path)
        assert response.status_code == 200
        assert ("alice" in response.content.decode()) is may_see
        clerk.user_permissions.add(Permission.objects.get(codename="view_user"))
        clerk = get_user_model().objects.get(pk=clerk.pk)


@pytest.mark.parametrize(
    "query",
    [
        "authapp/auditevent/?username=%00",
        "authapp/auditevent/?at__year=9999",
        f"authapp/auditevent/?at__year={'9' * 20}",
        f"authapp/auditevent/?id__exact={'9' * 30}",
        "authapp/application/?created__year=99999",
        "authapp/connectionattempt/?last_at__gte=0001-01-01T00:00:00%2B14:00",
        "mcpapp/toolcall/?client=%00",
        "mcpapp/refusal/?last_at__gte=0001-01-01T00:00:00%2B14:00",
        "oauth2_provider/accesstoken/?application__registration_source__exact=%00",
    ],
)
def test_a_list_that_is_asked_for_what_cannot_be_is_shown_or_says_so(admin_browser: Client, query: str) -> None:
    response = admin_browser.get(f"/admin/{query}")
    if response.status_code == 302:
        assert response["Location"].endswith("?e=1")
        response = admin_browser.get(response["Location"], follow=True)
    assert response.status_code == 200, query


def test_an_error_of_our_own_in_a_list_stays_one(admin_browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("ours")

    monkeypatch.setattr(AuditEventAdmin, "get_queryset", fail)
    with pytest.raises(ValueError, match="ours"):
        admin_browser.get("/admin/authapp/auditevent/")


@pytest.mark.parametrize("column", ["user_code_digest", "device_code_digest"])
def test_the_list_of_devices_looks_for_no_digest(admin_browser: Client, column: str) -> None:
    assert admin_browser.get(f"/admin/authapp/deviceauthorization/?{column}__startswith=a").status_code == 400


def test_deleting_a_connection_in_the_admin_ends_its_tokens(admin_browser: Client, alice: Any) -> None:
    client, tokens = connected(alice)
    url = f"/admin/authapp/connection/{Connection.objects.get().pk}/delete/"
    assert admin_browser.post(url, {"post": "yes"}).status_code == 200
    assert async_to_sync(find_access_token)(tokens["access_token"]) is not None
    text, form = form_of(admin_browser.get(url))
    assert "are asked for consent" in text
    assert admin_browser.post(url, form).status_code == 302
    assert async_to_sync(find_access_token)(tokens["access_token"]) is None
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 400


def test_the_audit_trail_tells_the_story_of_a_client_and_nobody_edits_it(admin_browser: Client, alice: Any) -> None:
    client, tokens = connected(alice)
    refresh(client["client_id"], tokens["refresh_token"])
    browser(alice).post(f"/connected-apps/{Connection.objects.get().pk}/disconnect/")
    story = list(AuditEvent.objects.order_by("pk").values_list("action", "username", "client_name"))
    assert story == [
        ("client_registered", "", "Test client"),
        ("consent_given", "alice", "Test client"),
        ("token_issued", "alice", "Test client"),
        ("token_refreshed", "alice", "Test client"),
        ("disconnected", "alice", "Test client"),
    ]
    assert set(AuditEvent.objects.values_list("ip_address", flat=True)) == {"127.0.0.1"}
    text = str(list(AuditEvent.objects.values()))
    for secret in (*tokens.values(), client["registration_access_token"]):
        if isinstance(secret, str) and len(secret) > 20:
            assert secret not in text
    base = "/admin/authapp/auditevent/"
    assert "alice" in admin_browser.get(base, {"q": "alice"}).content.decode()
    event = AuditEvent.objects.latest("pk")
    assert admin_browser.get(f"{base}{event.pk}/change/").status_code == 200
    assert admin_browser.post(f"{base}{event.pk}/change/", {}).status_code == 403
    assert admin_browser.post(f"{base}{event.pk}/delete/", {"post": "yes"}).status_code == 403
    alice.delete()
    assert AuditEvent.objects.filter(username="alice").count() == 4, "the trail outlives the person"
