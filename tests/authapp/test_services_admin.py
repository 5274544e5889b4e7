"""How an owner makes a service and gives it a new secret: in the admin, and from the command line."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.checks import run_checks
from django.core.management import CommandError, call_command, load_command_class
from django.test import Client
from django.utils import timezone

from authapp.models import Application, AuditEvent
from tests.authapp.service_clients import SECRET, Key, ask, robot, service
from tests.oauth import browser

pytestmark = pytest.mark.django_db

CLIENTS = "/admin/authapp/application/"
FORM = {
    "client_id": "by-hand",
    "client_type": "",
    "client_secret": "typed-by-hand",
    "name": "Nightly",
    "redirect_uris": "",
    "connections-TOTAL_FORMS": "0",
    "connections-INITIAL_FORMS": "0",
}


@pytest.fixture(autouse=True)
def _on(settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_CREDENTIALS": True}


@pytest.fixture
def owner(db: None) -> Client:
    return browser(get_user_model().objects.create_superuser("root", password="root-password"))


def shown_secret(response: Any) -> str:
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    found = re.search(r'<textarea id="client-secret" [^>]*readonly>([^<]+)</textarea>', response.content.decode())
    assert found, response.content.decode()
    return found[1]


# The admin


def test_a_service_is_made_in_the_admin_and_its_secret_shown_once(owner: Client) -> None:
    user = robot()
    assert 'name="scopes" value="mcp:tools"' in owner.get(f"{CLIENTS}add/").content.decode()
    form = FORM | {"kind": "service", "service_user": user.pk, "scopes": ["mcp:tools"]}
    secret = shown_secret(owner.post(f"{CLIENTS}add/", form))
    client = Application.objects.get()
    assert (client.client_type, client.registration_source, client.scope) == ("confidential", "manual", "mcp:tools")
    assert (client.service_user, client.redirect_uris) == (user, "")
    assert ask(client, secret=secret).status_code == 200
    assert ask(client, secret="typed-by-hand").status_code == 401
    for page in (CLIENTS, f"{CLIENTS}{client.pk}/change/", f"{CLIENTS}{client.pk}/history/"):
        text = owner.get(page).content.decode()
        assert secret not in text
        assert client.client_secret not in text
    stored = [list(Application.objects.values()), list(AuditEvent.objects.values()), dict(owner.session)]
    assert secret not in str(stored) + str(owner.cookies)
    event = AuditEvent.objects.filter(action="client_registered").get()
    assert (event.username, event.detail) == ("robot", {"scope": "mcp:tools", "by": "root"})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scopes": []}, "at least one scope"),
        ({"scopes": ["offline_access"]}, "Select a valid choice"),
        ({"scopes": ["mcp:else"]}, "Select a valid choice"),
        ({"service_user": ""}, "Choose the account"),
        ({"service_user": "999999"}, "Select a valid choice"),
        ({"name": ""}, "Give the service a name"),
        ({"redirect_uris": "https://app.example/cb"}, "no redirect URI"),
        ({"kind": "people"}, "Only a service has scopes"),
        ({"kind": "else"}, "Select a valid choice"),
    ],
    ids=str,
)
def test_what_is_no_service_is_not_made(owner: Client, change: dict[str, Any], text: str) -> None:
    form = FORM | {"kind": "service", "service_user": robot().pk, "scopes": ["mcp:tools"]}
    response = owner.post(f"{CLIENTS}add/", form | change)
    assert response.status_code == 200
    assert text in response.content.decode()
    assert not Application.objects.exists()
    shown_secret(owner.post(f"{CLIENTS}add/", form))


def test_the_form_shows_nothing_where_nothing_was_entered_and_one_style_of_labels(owner: Client) -> None:
    """Django's JSON fields show `null`, which a person would have to understand."""
    for page in (f"{CLIENTS}add/", "/admin/authapp/trustedissuer/add/"):
        assert ">\nnull<" not in owner.get(page).content.decode()
    labels = re.findall(r"<(?:label|legend)[^>]*>\s*([^<]+?)\s*<", owner.get(f"{CLIENTS}add/").content.decode())
    own = {"Made for:", "Scopes:", "Its public keys:", "Where it publishes its public keys:"}
    assert own <= set(labels)


def test_what_is_left_empty_is_no_key_and_what_was_entered_is_shown_again(owner: Client) -> None:
    form = FORM | {"kind": "service", "service_user": robot().pk, "scopes": ["mcp:tools"], "keys": ""}
    shown_secret(owner.post(f"{CLIENTS}add/", form))
    assert Application.objects.get().jwks is None
    again = owner.post(f"{CLIENTS}add/", form | {"name": "", "client_id": "other", "keys": '{"keys": []}'})
    assert "{&quot;keys&quot;: []}" in again.content.decode()


def test_a_persons_account_or_an_inactive_one_is_refused_in_the_admin(owner: Client, alice: Any) -> None:
    asleep = robot("asleep")
    type(asleep).objects.filter(pk=asleep.pk).update(is_active=False)
    for user, text in ((alice, "person&#x27;s"), (asleep, "not active")):
        form = FORM | {"kind": "service", "service_user": user.pk, "scopes": ["mcp:tools"]}
        response = owner.post(f"{CLIENTS}add/", form)
        assert text in response.content.decode()
    assert not Application.objects.exists()


def test_an_account_that_may_do_much_is_warned_of_and_only_a_superuser_chooses_it(owner: Client) -> None:
    mighty = robot("mighty")
    type(mighty).objects.filter(pk=mighty.pk).update(is_superuser=True)
    clerk = get_user_model().objects.create_user("clerk", password="clerk-password", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(content_type__model="application"))
    form = FORM | {"kind": "service", "service_user": mighty.pk, "scopes": ["mcp:tools"]}
    assert "Only a superuser" in browser(clerk).post(f"{CLIENTS}add/", form).content.decode()
    assert not Application.objects.exists()
    response = owner.post(f"{CLIENTS}add/", form)
    shown_secret(response)
    assert "staff or a superuser: the service may do all" in response.content.decode()
    messages = [message.id for message in run_checks(include_deployment_checks=True, databases=["default"])]
    assert "authapp.W002" in messages


def test_a_client_for_people_is_made_as_before(owner: Client) -> None:
    form = FORM | {"kind": "people", "client_type": "public", "redirect_uris": "https://app.example/cb"}
    assert "Choose one." in owner.post(f"{CLIENTS}add/", form | {"client_type": ""}).content.decode()
    assert owner.post(f"{CLIENTS}add/", form).status_code == 302
    client = Application.objects.get()
    assert (client.authorization_grant_type, client.is_service) == ("authorization-code", False)


def test_scopes_and_account_of_a_service_can_be_changed_and_of_others_not(owner: Client) -> None:
    client, other = service(robot()), robot("other")
    url = f"{CLIENTS}{client.pk}/change/"
    form = {"name": "Nightly", "redirect_uris": "", "connections-TOTAL_FORMS": "0", "connections-INITIAL_FORMS": "0"}
    response = owner.post(url, form | {"service_user": other.pk, "scopes": ["mcp:tools", "mcp:write"]})
    assert response.status_code == 302, response.content.decode()
    client.refresh_from_db()
    assert (client.service_user, client.scope) == (other, "mcp:tools mcp:write")
    assert ask(client).status_code == 200, "its secret is what it was"
    Application.objects.update(authorization_grant_type="authorization-code", redirect_uris="https://app.example/cb")
    form["redirect_uris"] = "https://app.example/cb"
    assert 'name="service_user"' not in owner.get(url).content.decode()
    assert owner.post(url, form | {"service_user": robot("third").pk, "scopes": ["mcp:tools"]}).status_code == 302
    client.refresh_from_db()
    assert (client.service_user, client.scope) == (other, "mcp:tools mcp:write")


@pytest.mark.parametrize("now", [False, True])
def test_a_new_secret_is_asked_about_and_shown_once(owner: Client, now: bool) -> None:
    client = service(robot())
    form = {"action": "new_secret", "_selected_action": [client.pk]}
    asked = owner.post(CLIENTS, form)
    assert "works for 7 more days" in asked.content.decode()
    assert f'<a href="{CLIENTS}{client.pk}/change/">{client}</a>' in asked.content.decode(), "the way back"
    assert ask(client, secret=SECRET).status_code == 200
    assert not AuditEvent.objects.filter(action="secret_replaced").exists()
    response = owner.post(CLIENTS, form | {"confirmed": "yes"} | ({"now": "yes"} if now else {}))
    secret = shown_secret(response)
    until = re.search(r"works until (\d{4}-\d\d-\d\d \d\d:\d\d UTC)\.\s", response.content.decode())
    assert bool(until) == (not now)
    assert ask(client, secret=secret).status_code == 200
    assert ask(client, secret=SECRET).status_code == (401 if now else 200)
    assert AuditEvent.objects.get(action="secret_replaced").detail["by"] == "root"
    assert secret not in owner.get(f"{CLIENTS}{client.pk}/change/").content.decode()


def test_a_new_secret_is_for_one_client_of_the_owners(owner: Client) -> None:
    user = robot()
    one, other = service(user), service(user, name="Other")
    confirmed = {"action": "new_secret", "confirmed": "yes"}

    def refused(*clients: Application) -> bool:
        form = confirmed | {"_selected_action": [client.pk for client in clients]}
        return "Choose one client" in owner.post(CLIENTS, form, follow=True).content.decode()

    assert refused(one, other)
    Application.objects.filter(pk=one.pk).update(registration_source="dcr")
    assert refused(one)
    assert ask(other).status_code == 200
    assert not AuditEvent.objects.filter(action="secret_replaced").exists()
    shown_secret(owner.post(CLIENTS, confirmed | {"_selected_action": [other.pk]}))


def test_who_may_only_look_gives_no_new_secret() -> None:
    client = service(robot())
    clerk = get_user_model().objects.create_user("clerk", password="clerk-password", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="view_application"))
    page = browser(clerk).get(f"{CLIENTS}{client.pk}/change/")
    assert (page.status_code, SECRET in page.content.decode()) == (200, False)
    form = {"action": "new_secret", "_selected_action": [client.pk], "confirmed": "yes"}
    assert 'id="client-secret"' not in browser(clerk).post(CLIENTS, form, follow=True).content.decode()
    assert not AuditEvent.objects.filter(action="secret_replaced").exists()
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_application", "change_application"]))
    shown_secret(browser(clerk).post(CLIENTS, form))


def test_only_a_superuser_gets_the_secret_of_a_service_that_may_do_much() -> None:
    account = robot()
    client = service(account)
    clerk = get_user_model().objects.create_user("clerk", password="clerk-password", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_application", "change_application"]))
    form = {"action": "new_secret", "_selected_action": [client.pk], "confirmed": "yes"}
    for power in ("is_staff", "is_superuser"):
        get_user_model().objects.filter(pk=account.pk).update(**{power: True})
        page = browser(clerk).post(CLIENTS, form, follow=True).content.decode()
        assert 'id="client-secret"' not in page
        assert "Only a superuser" in page
        get_user_model().objects.filter(pk=account.pk).update(**{power: False})
    assert not AuditEvent.objects.filter(action="secret_replaced").exists()
    shown_secret(browser(clerk).post(CLIENTS, form))


def test_a_service_with_a_key_has_no_secret(owner: Client) -> None:
    key, other = Key(), Key()
    form = FORM | {"kind": "service", "service_user": robot().pk, "scopes": ["mcp:tools"], "keys": json.dumps(key.jwks)}
    for change, text in (
        ({"keys": "{"}, "valid JSON"),
        ({"keys": "[]"}, "a key set is an object"),
        ({"keys_uri": "https://keys.example/jwks"}, "either jwks or jwks_uri"),
        ({"keys": "", "keys_uri": "http://127.0.0.1/jwks"}, "jwks_uri"),
    ):
        response = owner.post(f"{CLIENTS}add/", form | change)
        assert (response.status_code, text in response.content.decode()) == (200, True), change
    assert not Application.objects.exists()
    assert owner.post(f"{CLIENTS}add/", form).status_code == 302, "there is no secret to show"
    client = Application.objects.get()
    assert (client.token_endpoint_auth_method, client.client_secret, client.jwks) == ("private_key_jwt", "", key.jwks)
    assert ask(client, secret=None, **key.assertion(client.client_id)).status_code == 200
    for secret in ("typed-by-hand", "", None):
        assert ask(client, secret=secret, client_id=client.client_id).status_code == 401

    url, change = f"{CLIENTS}{client.pk}/change/", form | {"keys": json.dumps(other.jwks)}
    assert "Without a key" in owner.post(url, form | {"keys": ""}).content.decode()
    assert owner.post(url, change).status_code == 302
    client.refresh_from_db()
    assert ask(client, secret=None, **key.assertion(client.client_id)).status_code == 401
    assert ask(client, secret=None, **other.assertion(client.client_id)).status_code == 200


def test_a_service_with_a_secret_is_given_no_key(owner: Client) -> None:
    client = service(robot())
    form = FORM | {"service_user": client.service_user_id, "scopes": ["mcp:tools"], "keys": json.dumps(Key().jwks)}
    response = owner.post(f"{CLIENTS}{client.pk}/change/", form)
    assert "by a secret who it is" in response.content.decode()
    assert owner.post(f"{CLIENTS}{client.pk}/change/", form | {"keys": ""}).status_code == 302
    assert ask(client).status_code == 200


def test_an_account_for_a_service_can_be_made_in_the_admin(owner: Client) -> None:
    """As docs/services.md says."""
    form = {"username": "robot", "usable_password": "false", "password1": "", "password2": ""}
    inline = {"mcp_connections-TOTAL_FORMS": "0", "mcp_connections-INITIAL_FORMS": "0"}
    assert owner.post("/admin/auth/user/add/", form | inline).status_code == 302
    user = get_user_model().objects.get(username="robot")
    form = FORM | {"kind": "service", "service_user": user.pk, "scopes": ["mcp:tools"]}
    shown_secret(owner.post(f"{CLIENTS}add/", form))


# The command line


def run(*arguments: str) -> tuple[str, str]:
    said, complained = StringIO(), StringIO()
    call_command(*arguments, stdout=said, stderr=complained)
    return said.getvalue(), complained.getvalue()


def test_a_service_and_its_account_are_made_from_the_command_line() -> None:
    said, complained = run("create_service_client", "Nightly", "--new-user", "robot", "--scope", "mcp:tools")
    assert complained == ""
    client = Application.objects.get()
    secret = re.search(r"^client_secret: (\S+)$", said, re.MULTILINE)
    assert secret
    assert f"client_id: {client.client_id}" in said
    assert ask(client, secret=secret[1]).status_code == 200
    user = get_user_model().objects.get()
    assert (user.username, user.has_usable_password(), user.is_staff, user.is_superuser) == (
        "robot",
        False,
        False,
        False,
    )


@pytest.mark.parametrize(("seconds", "said"), [(604800, "7d"), (5400, "90m"), (61, "61s"), (0, "0d")])
def test_the_help_says_the_time_as_it_is_written(settings: Any, seconds: int, said: str) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "SECRET_OVERLAP_SECONDS": seconds}
    parser = load_command_class("authapp", "rotate_client_secret").create_parser("manage.py", "rotate_client_secret")
    assert f"(default: {said})" in " ".join(parser.format_help().split())


def test_it_prints_json_for_programs() -> None:
    robot()
    arguments = ("--user", "robot", "--scope", "mcp:tools mcp:write", "--json")
    made = json.loads(run("create_service_client", "Nightly", *arguments)[0])
    assert made | {"client_id": "", "client_secret": ""} == {
        "client_id": "",
        "client_secret": "",
        "user": "robot",
        "scope": "mcp:tools mcp:write",
    }
    assert ask(Application.objects.get(), secret=made["client_secret"]).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("Nightly", "--user", "nobody", "--scope", "mcp:tools"), "There is no account 'nobody'"),
        (("Nightly", "--user", "\x00", "--scope", "mcp:tools"), "There is no account"),
        (("Nightly", "--user", "alice", "--scope", "mcp:tools"), "person's"),
        (("Nightly", "--new-user", "alice", "--scope", "mcp:tools"), "already exists"),
        (("Nightly", "--new-user", "a b", "--scope", "mcp:tools"), "valid username"),
        (("Nightly", "--new-user", "robot", "--scope", "mcp:else"), "mcp:else"),
        (("Nightly", "--new-user", "robot", "--scope", "offline_access"), "offline_access"),
        (("Nightly", "--new-user", "robot", "--scope", ""), "at least one scope"),
        (("", "--new-user", "robot", "--scope", "mcp:tools"), "Give the service a name"),
        (("a\nb", "--new-user", "robot", "--scope", "mcp:tools"), "Give the service a name"),
        (("Nightly", "--scope", "mcp:tools"), "--user --new-user"),
        (("Nightly", "--new-user", "robot"), "--scope"),
    ],
    ids=str,
)
def test_a_bad_argument_is_said_and_makes_nothing(alice: Any, arguments: tuple[str, ...], text: str) -> None:
    with pytest.raises(CommandError, match=re.escape(text)):
        run("create_service_client", *arguments)
    assert not Application.objects.exists()
    assert get_user_model().objects.count() == 1


def test_an_address_of_keys_in_the_owners_network_is_refused_with_the_setting_that_allows_it(settings: Any) -> None:
    keys = ("--new-user", "robot", "--scope", "mcp:tools", "--jwks-uri", "http://127.0.0.1:8080/jwks")
    with pytest.raises(CommandError, match=r"^jwks_uri is not .*PRIVATE_KEY_HOSTS"):
        run("create_service_client", "Nightly", *keys)
    settings.AUTHAPP = {**settings.AUTHAPP, "PRIVATE_KEY_HOSTS": ["127.0.0.1:8080"]}
    assert "client_id" in run("create_service_client", "Nightly", *keys)[0]


def test_a_service_with_a_key_is_made_from_the_command_line(tmp_path: Path) -> None:
    key, file = Key(), tmp_path / "jwks.json"
    file.write_text(json.dumps(key.jwks))
    arguments = ("create_service_client", "Nightly", "--new-user", "robot", "--scope", "mcp:tools", "--json")
    made = json.loads(run(*arguments, "--jwks", str(file))[0])
    assert set(made) == {"client_id", "user", "scope"}
    client = Application.objects.get()
    assert ask(client, secret=None, **key.assertion(client.client_id)).status_code == 200
    Application.objects.all().delete()
    get_user_model().objects.all().delete()
    run(*arguments, "--jwks-uri", "https://keys.example/jwks")
    assert Application.objects.get().jwks_uri == "https://keys.example/jwks"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "cannot be read"), ("[]", "jwks"), ('{"keys": []}', "jwks"), ("[" * 100_000, "cannot be read")],
    ids=lambda value: value[:12],
)
def test_a_file_that_is_no_set_of_keys_makes_nothing(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(text)
    arguments = ("create_service_client", "Nightly", "--new-user", "robot", "--scope", "mcp:tools", "--jwks")
    for path in (file, tmp_path / "missing.json"):
        with pytest.raises(CommandError, match=problem if path == file else "cannot be read"):
            run(*arguments, str(path))
    assert not Application.objects.exists()
    assert not get_user_model().objects.exists()


def test_it_warns_of_an_account_that_may_do_much_and_where_services_are_off(settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_CREDENTIALS": False}
    user = robot()
    type(user).objects.update(is_staff=True)
    complained = run("create_service_client", "Nightly", "--user", "robot", "--scope", "mcp:tools")[1]
    assert "staff or a superuser" in complained
    assert "CLIENT_CREDENTIALS'] is on (docs/services.md)" in complained


@pytest.mark.parametrize(
    ("arguments", "works"),
    [((), True), (("--overlap", "12h"), True), (("--now",), False), (("--overlap", "0"), False)],
    ids=str,
)
def test_a_secret_is_replaced_from_the_command_line(arguments: tuple[str, ...], works: bool) -> None:
    client = service(robot())
    made = json.loads(run("rotate_client_secret", client.client_id, "--json", *arguments)[0])
    assert ask(client, secret=made["client_secret"]).status_code == 200
    assert ask(client, secret=SECRET).status_code == (200 if works else 401)
    assert bool(made["previous_works_until"]) == works
    said = run("rotate_client_secret", client.client_id, *arguments)[0]
    assert ("works until" in said) == works
    until = Application.objects.get().previous_client_secret_expires_at
    hours = (until - timezone.now()).total_seconds() / 3600 if until else 0
    assert round(hours) == {(): 168, ("--overlap", "12h"): 12}.get(arguments, 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nobody",), "There is no client"),
        (("\x00",), "There is no client"),
        (("CLIENT", "--overlap", "soon"), "like 90s"),
        (("CLIENT", "--overlap", "999999999d"), "overlap must be"),
        (("CLIENT", "--now", "--overlap", "1d"), "not allowed with"),
    ],
    ids=str,
)
def test_a_secret_that_cannot_be_replaced_stays(arguments: tuple[str, ...], text: str) -> None:
    client = service(robot())
    given = [client.client_id if argument == "CLIENT" else argument for argument in arguments]
    with pytest.raises(CommandError, match=text):
        run("rotate_client_secret", *given)
    assert ask(client, secret=SECRET).status_code == 200


def test_a_check_names_a_service_user_that_somebody_can_sign_in_to() -> None:
    def found() -> list[str | None]:
        checked = run_checks(include_deployment_checks=True, databases=["default"])
        return [message.id for message in checked if message.id in {"authapp.W002", "authapp.W003"}]

    user = robot()
    service(user)
    assert found() == []
    user.set_password("a password")
    user.save()
    assert found() == ["authapp.W003"]
