"""Which user a subject of an identity provider is: links, the rules that make them, and how they end."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from authapp import asserted_access, checks, conf, identities
from authapp.models import Application, AuditEvent, Connection, LinkedIdentity, TrustedIssuer
from tests.authapp.enterprise import (
    assertion_for,
    client_of_owner,
    exchange,
    link,
    provider,
    reasons,
    trust,
    user_of,
)
from tests.authapp.identity_provider import IdentityProvider, Key
from tests.oauth import browser, connected

__all__ = ["client_of_owner", "provider"]

pytestmark = pytest.mark.django_db

EMAIL = {"email": "carol@example.com", "email_verified": True}


@pytest.fixture
def desk(client_of_owner: Application) -> Application:
    return client_of_owner


@pytest.fixture
def carol(db: None) -> Any:
    return get_user_model().objects.create_user("carol", email="carol@example.com", password="carol-password")


@pytest.fixture
def by_email(provider: IdentityProvider, settings: Any) -> IdentityProvider:
    trust(settings, provider, rule="email", email_domains=["Example.com", "example.org"])
    return provider


def sent(provider: IdentityProvider, desk: Application, sub: str = "c-1", **claims: Any) -> Any:
    return exchange(desk, assertion_for(provider, desk, sub=sub, **(EMAIL | claims)))


def assert_refused(response: Any, reason: str) -> None:
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant"), response.content
    assert response.json()["error_description"] == "The assertion is not accepted."
    assert reason in reasons()[-1]


# --- Rules --------------------------------------------------------------------------------------------------


def test_by_default_only_subjects_that_were_linked_are_known(
    provider: IdentityProvider, desk: Application, carol: Any
) -> None:
    assert_refused(sent(provider, desk), "nobody is linked")
    assert not LinkedIdentity.objects.exists()
    link(provider, carol, "c-1")
    assert user_of(sent(provider, desk)) == carol


def test_the_rule_email_links_a_subject_at_first_use(by_email: IdentityProvider, desk: Application, carol: Any) -> None:
    assert user_of(sent(by_email, desk, email="Carol@EXAMPLE.com")) == carol
    identity = LinkedIdentity.objects.get()
    assert (identity.user, identity.subject, identity.linked_by) == (carol, "c-1", "email")
    event = AuditEvent.objects.get(action=AuditEvent.Action.IDENTITY_LINKED)
    assert (event.user, event.detail["subject"]) == (carol, "c-1")
    assert "carol@" not in str(event.detail).lower()


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"email": None}, "no email"),
        ({"email": ["carol@example.com"]}, "no email"),
        ({"email_verified": None}, "no email"),
        ({"email_verified": False}, "no email"),
        ({"email_verified": "true"}, "no email"),
        ({"email_verified": 1}, "no email"),
        ({"email": "carol@elsewhere.com"}, "domain"),
        ({"email": "carol@sub.example.com"}, "domain"),
        ({"email": "carol@example.com.elsewhere.com"}, "domain"),
        ({"email": "carol@elsewhere.com@example.com"}, "domain"),
        ({"email": "@example.com"}, "domain"),
        ({"email": "carol@example.com "}, "domain"),
        ({"email": "ｃarol@example.com"}, "domain"),
        ({"email": "nobody@example.com"}, "no active user"),
        ({"email": "carol@example.org"}, "no active user"),
        ({"email": "%@example.com"}, "no active user"),
    ],
    ids=lambda value: ascii(value) if isinstance(value, dict) else value,
)
def test_an_email_counts_only_if_verified_and_of_a_domain_of_the_issuer(
    by_email: IdentityProvider, desk: Application, carol: Any, claims: dict[str, Any], reason: str
) -> None:
    assert_refused(sent(by_email, desk, **claims), reason)
    assert not LinkedIdentity.objects.exists()
    assert user_of(sent(by_email, desk)) == carol


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_staff": True}, "staff"),
        ({"is_superuser": True}, "staff"),
        ({"is_active": False}, "no active user"),
        ({"email": "ｃarol@example.com"}, "no active user"),
        ({"email": "\u212aarol@example.com"}, "no active user"),  # the sign for kelvin
        ({"email": "kar\u0131l@example.com"}, "no active user"),  # a dotless i
        ({"email": ""}, "no active user"),
    ],
    ids=ascii,
)
def test_the_rule_email_never_finds_some_people(
    by_email: IdentityProvider, desk: Application, carol: Any, changes: dict[str, Any], reason: str
) -> None:
    get_user_model().objects.filter(pk=carol.pk).update(**changes)
    alike = {"\u212aarol@example.com": "karol@example.com", "kar\u0131l@example.com": "karil@example.com"}
    email = alike.get(str(changes.get("email")), "carol@example.com")
    assert_refused(sent(by_email, desk, email=email), reason)
    assert not LinkedIdentity.objects.exists()
    get_user_model().objects.filter(pk=carol.pk).update(
        is_staff=False, is_superuser=False, is_active=True, email=EMAIL["email"]
    )
    assert user_of(sent(by_email, desk)) == carol


def test_an_email_of_two_people_is_nobodys(by_email: IdentityProvider, desk: Application, carol: Any) -> None:
    other = get_user_model().objects.create_user("other", email="CAROL@example.com")
    assert_refused(sent(by_email, desk), "several users")
    other.delete()
    assert user_of(sent(by_email, desk)) == carol


def test_an_email_that_changes_hands_moves_nobody(by_email: IdentityProvider, desk: Application, carol: Any) -> None:
    assert user_of(sent(by_email, desk)) == carol
    # At the site: another person has the address now.
    get_user_model().objects.filter(pk=carol.pk).update(email="carol@elsewhere.com")
    dora = get_user_model().objects.create_user("dora", email="carol@example.com")
    assert user_of(sent(by_email, desk)) == carol
    assert user_of(sent(by_email, desk, email=None)) == carol, "the address does not count any more"
    # At the provider: another person has the address now, and is that other person here.
    assert user_of(sent(by_email, desk, sub="d-1")) == dora
    # And a third person, with an address whose user is linked to somebody else, is nobody.
    assert_refused(sent(by_email, desk, sub="e-1"), "another subject")


@pytest.mark.django_db(transaction=True)
def test_of_two_subjects_at_once_with_one_address_one_is_the_person(
    by_email: IdentityProvider, desk: Application
) -> None:
    def statuses(number: int) -> list[int]:
        email = f"person{number}@example.com"
        get_user_model().objects.create_user(f"person{number}", email=email)
        start = threading.Barrier(6)

        def send(subject: int) -> int:
            try:
                start.wait(30)
                return int(sent(by_email, desk, sub=f"{number}-{subject}", email=email).status_code)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(6) as pool:
            return sorted(pool.map(send, range(6)))

    assert [statuses(number) for number in range(6)] == [[200, 400, 400, 400, 400, 400]] * 6


def test_who_becomes_staff_is_not_found_by_their_email_any_more(
    by_email: IdentityProvider, desk: Application, carol: Any
) -> None:
    """But by a link that an administrator made."""
    response = sent(by_email, desk)
    assert user_of(response) == carol
    get_user_model().objects.filter(pk=carol.pk).update(is_staff=True)
    assert_refused(sent(by_email, desk), "staff")
    LinkedIdentity.objects.update(linked_by="admin")
    assert user_of(sent(by_email, desk)) == carol


def test_somebody_inactive_gets_nothing_and_keeps_nothing(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    link(provider, alice)
    response = exchange(desk, assertion_for(provider, desk))
    assert user_of(response) == alice
    get_user_model().objects.filter(pk=alice.pk).update(is_active=False)
    assert user_of(response) is None
    assert_refused(exchange(desk, assertion_for(provider, desk)), "not active")


def by_employee_number(issuer: Any, claims: Any, client: Any) -> Any:
    """A site's own rule."""
    assert (issuer.name, client.name) == ("Example Inc.", "Desk")
    return get_user_model().objects.filter(username=claims.get("employee")).first()


def test_a_site_may_have_a_rule_of_its_own(
    provider: IdentityProvider, desk: Application, carol: Any, alice: Any, settings: Any
) -> None:
    trust(settings, provider, rule="tests.authapp.test_identities.by_employee_number")
    assert_refused(sent(provider, desk), "nobody is linked")
    assert user_of(sent(provider, desk, employee="carol")) == carol
    assert LinkedIdentity.objects.get().linked_by == "rule"
    assert user_of(sent(provider, desk, employee="alice")) == carol, "asked once: the link counts"


def by_somebody_who_disables_the_issuer(issuer: Any, claims: Any, client: Any) -> Any:
    """What an administrator may do while an exchange is under way."""
    TrustedIssuer.objects.create(issuer=issuer.issuer, jwks_uri=issuer.jwks_uri, disabled_at=timezone.now())
    return get_user_model().objects.get(username=claims["sub"])


def test_an_issuer_counts_until_the_last_moment_or_not_at_all(
    provider: IdentityProvider, desk: Application, carol: Any, settings: Any
) -> None:
    trust(settings, provider, rule="tests.authapp.test_identities.by_somebody_who_disables_the_issuer")
    assert_refused(sent(provider, desk, sub="carol"), "disabled a moment ago")
    assert not get_access_token_model().objects.exists()
    TrustedIssuer.objects.all().delete()
    assert user_of(sent(provider, desk, sub="carol")) == carol


def test_a_site_whose_users_have_no_email_is_told_so(
    by_email: IdentityProvider, desk: Application, carol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_user_model(), "EMAIL_FIELD", "no_such_field")
    assert_refused(sent(by_email, desk), "no e-mail address")
    assert [message.id for message in checks.check_trusted_issuers()] == ["authapp.E007"]


@pytest.mark.django_db(transaction=True)
def test_of_two_first_uses_at_once_both_see_one_link(by_email: IdentityProvider, desk: Application, carol: Any) -> None:
    start = threading.Barrier(4)

    def send() -> int:
        start.wait(10)
        try:
            return int(sent(by_email, desk).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: send(), range(4))) == [200] * 4
    assert LinkedIdentity.objects.count() == 1
    assert Connection.objects.count() == 1
    assert AuditEvent.objects.filter(action=AuditEvent.Action.IDENTITY_LINKED).count() == 1


def test_who_finds_the_link_made_a_moment_ago_by_another_first_use_takes_it(
    by_email: IdentityProvider, desk: Application, carol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = identities._find

    def look_before_the_other_links(issuer: Any, subject: str) -> Any:
        found = look(issuer, subject)
        LinkedIdentity.objects.get_or_create(issuer=issuer.issuer, subject=subject, defaults={"user": carol})
        return found

    monkeypatch.setattr(identities, "_find", look_before_the_other_links)
    assert user_of(sent(by_email, desk)) == carol
    assert LinkedIdentity.objects.count() == 1


# --- The end ------------------------------------------------------------------------------------------------


def admin_browser(alice: Any) -> Any:
    get_user_model().objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    return browser(get_user_model().objects.get(pk=alice.pk))


def form(**changes: Any) -> dict[str, Any]:
    return {"rule": "linked", "jwks": "", "disabled_at_0": "", "disabled_at_1": ""} | changes


def test_disabling_an_issuer_in_the_admin_ends_its_tokens_and_no_others(
    provider: IdentityProvider, desk: Application, alice: Any, bob: Any, settings: Any
) -> None:
    with IdentityProvider() as other:
        settings.AUTHAPP = {
            **settings.AUTHAPP,
            "TRUSTED_ISSUERS": [{"issuer": other.issuer, "jwks_uri": other.jwks_uri}],
            "PRIVATE_KEY_HOSTS": [provider.host, other.host],
        }
        link(provider, alice)
        link(other, bob)
        admin = admin_browser(alice)
        page = "/admin/authapp/trustedissuer/add/"
        response = admin.post(page, form(issuer=provider.issuer, jwks_uri=provider.jwks_uri))
        assert response.status_code == 302, response.content
        row = TrustedIssuer.objects.get()
        mine = exchange(desk, assertion_for(provider, desk, alice))
        theirs = exchange(desk, assertion_for(other, desk, bob))
        connected(alice)
        assert (user_of(mine), user_of(theirs)) == (alice, bob)
        response = admin.post(
            f"/admin/authapp/trustedissuer/{row.pk}/change/",
            form(jwks_uri=provider.jwks_uri, disabled_at_0="2026-11-26", disabled_at_1="10:00"),
        )
        assert response.status_code == 302, response.content
        assert (user_of(mine), user_of(theirs)) == (None, bob)
        assert get_access_token_model().objects.filter(user=alice).count() == 1, "by her own consent"
        assert [connection.issuer for connection in Connection.objects.filter(user=alice)] == [""]
        assert AuditEvent.objects.get(action=AuditEvent.Action.ISSUER_ENDED).detail["ended"] == 1
        assert exchange(desk, assertion_for(provider, desk)).json()["error"] == "invalid_grant"
        assert reasons() == ["iss is not trusted"]
        action = {"action": "enable", "_selected_action": [row.pk]}
        admin.post("/admin/authapp/trustedissuer/", action)
        again = exchange(desk, assertion_for(provider, desk))
        assert user_of(again) == alice
        admin.post("/admin/authapp/trustedissuer/", action | {"action": "disable"})
        assert user_of(again) is None
        admin.post("/admin/authapp/trustedissuer/", action)
        again = exchange(desk, assertion_for(provider, desk))
        admin.post(f"/admin/authapp/trustedissuer/{row.pk}/delete/", {"post": "yes"})
        assert not TrustedIssuer.objects.exists()
        assert (user_of(again), user_of(theirs)) == (None, bob)


def test_unlinking_or_disabling_a_person_ends_their_tokens(
    by_email: IdentityProvider, desk: Application, alice: Any, carol: Any
) -> None:
    admin = admin_browser(alice)
    first = sent(by_email, desk)
    assert user_of(first) == carol
    identity = LinkedIdentity.objects.get()
    page = f"/admin/authapp/linkedidentity/{identity.pk}"
    admin.post(f"{page}/delete/", {"post": "yes"})
    assert user_of(first) is None
    assert not Connection.objects.filter(user=carol).exists()
    second = sent(by_email, desk)
    assert user_of(second) == carol, "the rule links again"
    identity = LinkedIdentity.objects.get()
    admin.post("/admin/authapp/linkedidentity/", {"action": "disable", "_selected_action": [identity.pk]})
    assert user_of(second) is None
    assert_refused(sent(by_email, desk), "disabled")
    admin.post("/admin/authapp/linkedidentity/", {"action": "enable", "_selected_action": [identity.pk]})
    assert user_of(sent(by_email, desk)) == carol


def test_a_link_made_in_the_admin_says_who_made_it(
    provider: IdentityProvider, desk: Application, alice: Any, carol: Any
) -> None:
    admin = admin_browser(alice)
    body = {"issuer": provider.issuer, "subject": "c-1", "user": carol.pk, "disabled_at_0": "", "disabled_at_1": ""}
    assert admin.post("/admin/authapp/linkedidentity/add/", body | {"subject": "с-1"}).status_code == 200, "Cyrillic"
    assert admin.post("/admin/authapp/linkedidentity/add/", body).status_code == 302
    assert LinkedIdentity.objects.get().linked_by == "alice"
    event = AuditEvent.objects.get(action=AuditEvent.Action.IDENTITY_LINKED)
    assert (event.user, event.detail["by"], event.ip_address) == (carol, "alice", "127.0.0.1")
    assert user_of(sent(provider, desk)) == carol


def test_what_the_owner_does_by_a_command_is_in_the_audit_trail(provider: IdentityProvider, carol: Any) -> None:
    for _ in range(2):
        run("link_identities", provider.issuer, "c-1", "carol")
    event = AuditEvent.objects.get(action=AuditEvent.Action.IDENTITY_LINKED)
    assert (event.user, event.detail["subject"], event.detail["by"]) == (carol, "c-1", "link_identities")
    client_id = json.loads(run("create_enterprise_client", "Desk", "--json"))["client_id"]
    assert AuditEvent.objects.get(action=AuditEvent.Action.CLIENT_REGISTERED).client_id == client_id


def test_the_admin_says_who_let_an_issuer_or_a_person_back_in(provider: IdentityProvider, alice: Any) -> None:
    admin, now = admin_browser(alice), timezone.now()
    issuer = TrustedIssuer.objects.create(
        issuer="https://other.example", jwks_uri="https://o.example/k", disabled_at=now
    )
    identity = link(provider, alice)
    LinkedIdentity.objects.update(disabled_at=now)
    for model, row in (("trustedissuer", issuer), ("linkedidentity", identity)):
        for _ in range(2):
            admin.post(f"/admin/authapp/{model}/", {"action": "enable", "_selected_action": [row.pk]})
        row.refresh_from_db()
        assert row.disabled_at is None
        entry = LogEntry.objects.get(content_type__model=model, object_id=str(row.pk))
        assert "disabled at" in entry.get_change_message()


def test_what_the_admin_of_issuers_shows_and_refuses(provider: IdentityProvider, alice: Any) -> None:
    admin = admin_browser(alice)
    page = "/admin/authapp/trustedissuer/add/"
    for wrong in (
        {"issuer": provider.issuer},
        {"issuer": "login.example.com", "jwks_uri": provider.jwks_uri},
        {"issuer": "http://login.example.com", "jwks_uri": provider.jwks_uri},
        {"issuer": provider.issuer, "jwks_uri": provider.jwks_uri, "rule": "os.system"},
        {"issuer": provider.issuer, "jwks_uri": provider.jwks_uri, "rule": "email"},
        {"issuer": provider.issuer, "jwks_uri": provider.jwks_uri, "jwks": json.dumps(provider.jwks())},
        {"issuer": provider.issuer, "jwks_uri": provider.jwks_uri, "scopes": "mcp:tools,mcp:write"},
        {"issuer": provider.issuer, "jwks": json.dumps({"keys": [Key().jwk | {"d": "x"}]})},
    ):
        assert admin.post(page, form(**wrong)).status_code == 200, wrong
    assert not TrustedIssuer.objects.exists()
    assert admin.post(page, form(issuer=provider.issuer, jwks=json.dumps(provider.jwks()))).status_code == 302
    for url in ("/admin/authapp/trustedissuer/", "/admin/authapp/linkedidentity/", page):
        assert admin.get(url).status_code == 200
    assert browser(alice).get("/admin/authapp/connection/").status_code == 200


def test_who_is_deleted_takes_their_links_along(provider: IdentityProvider, desk: Application, alice: Any) -> None:
    link(provider, alice)
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice
    alice.delete()
    assert not LinkedIdentity.objects.exists()
    assert_refused(exchange(desk, assertion_for(provider, desk)), "nobody is linked")


@pytest.mark.django_db(transaction=True)
def test_an_issuer_that_is_disabled_while_an_exchange_is_under_way_leaves_no_token(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    """Whichever comes first: there is no token between."""
    link(provider, alice)
    row = TrustedIssuer.objects.create(issuer=provider.issuer, jwks_uri=provider.jwks_uri)

    def send(start: threading.Barrier) -> None:
        start.wait(10)
        exchange(desk, assertion_for(provider, desk))
        connections.close_all()

    def disable(start: threading.Barrier) -> None:
        start.wait(10)
        TrustedIssuer.objects.filter(pk=row.pk).update(disabled_at=timezone.now())
        asserted_access.end_issuer(provider.issuer, {}, by="test")
        connections.close_all()

    for _ in range(5):
        TrustedIssuer.objects.update(disabled_at=None)
        start = threading.Barrier(3)
        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(work, start) for work in (send, send, disable)]:
                done.result()
        assert not get_access_token_model().objects.exists()
        assert not Connection.objects.exists()


# --- Commands -----------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_a_command_makes_a_client_and_says_its_secret_once(provider: IdentityProvider, alice: Any) -> None:
    link(provider, alice)
    made = json.loads(run("create_enterprise_client", "Desk", "--scope", "mcp:tools", "--json"))
    desk = Application.objects.get(client_id=made["client_id"])
    assert made["client_secret"] not in str(Application.objects.values())
    assert desk.may_use(conf.JWT_BEARER)
    assert not any(desk.may_use(other) for other in ("authorization_code", "refresh_token", "client_credentials"))
    response = exchange(desk, assertion_for(provider, desk, scope="mcp:write"), client_secret=made["client_secret"])
    assert response.json()["scope"] == "mcp:tools"
    assert "client_secret: " in run("create_enterprise_client", "Desk", "--client-id", "desk")
    for wrong in (["--client-id", "desk"], ["--client-id", "a b"], ["--scope", "unheard-of"]):
        with pytest.raises(CommandError):
            run("create_enterprise_client", "Desk", *wrong)


def test_a_command_links_people_one_by_one_or_from_a_file(
    provider: IdentityProvider, desk: Application, alice: Any, bob: Any, tmp_path: Path
) -> None:
    assert "Linked 1 of 1" in run("link_identities", provider.issuer, "a-1", "alice")
    people = tmp_path / "people.csv"
    people.write_text("a-1,alice\nb-1,bob\n")
    assert "Linked 1 of 2" in run("link_identities", provider.issuer, "--csv", str(people))
    assert user_of(exchange(desk, assertion_for(provider, desk, sub="b-1"))) == bob
    before = list(LinkedIdentity.objects.values_list("subject", "user"))
    people.write_text("c-1,alice\na-1,bob\n")
    for wrong in (
        [provider.issuer, "--csv", str(people)],
        [provider.issuer, "--csv", str(tmp_path / "none")],
        [provider.issuer, "x-1", "nobody"],
        [provider.issuer, "é", "alice"],
        [provider.issuer, "x-1"],
        [provider.issuer],
        [provider.issuer + "/", "x-1", "alice"],
    ):
        with pytest.raises(CommandError):
            run("link_identities", *wrong)
    assert list(LinkedIdentity.objects.values_list("subject", "user")) == before


def test_a_command_ends_the_tokens_of_an_issuer_that_left_the_settings(
    provider: IdentityProvider, desk: Application, alice: Any, settings: Any
) -> None:
    link(provider, alice)
    response = exchange(desk, assertion_for(provider, desk))
    with pytest.raises(CommandError, match="still trusted"):
        run("end_issuer_tokens", provider.issuer)
    assert user_of(response) == alice
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": []}
    assert "Tokens ended: 1." in run("end_issuer_tokens", provider.issuer)
    assert user_of(response) is None


# --- Settings -----------------------------------------------------------------------------------------------

SOUND = {"issuer": "https://login.example.com", "jwks_uri": "https://login.example.com/keys"}


@pytest.mark.parametrize(
    "entry",
    [
        "https://login.example.com",
        {},
        SOUND | {"issuer": ""},
        SOUND | {"issuer": "login.example.com"},
        SOUND | {"issuer": "http://login.example.com"},
        SOUND | {"issuer": "http://127.0.0.1:9000"},
        SOUND | {"issuer": "https://user@login.example.com"},
        SOUND | {"issuer": "https://login.example.com?x"},
        SOUND | {"issuer": "https://login.example.com#x"},
        SOUND | {"issuer": "https://login.example.com "},
        SOUND | {"issuer": "https://login.exämple.com"},
        SOUND | {"issuer": "https://login.example.com:port"},
        SOUND | {"issuer": "https://"},
        SOUND | {"issuer": "https://x.example/" + "x" * 255},
        SOUND | {"issuer": 7},
        SOUND | {"jwks_uri": ""},
        SOUND | {"jwks_uri": "http://login.example.com/keys"},
        SOUND | {"jwks_uri": "https://10.0.0.7/keys"},
        SOUND | {"jwks_uri": "https://login.example.com/keys#x"},
        SOUND | {"jwks": {"keys": []}},
        {"issuer": SOUND["issuer"], "jwks": {"keys": []}},
        {"issuer": SOUND["issuer"], "jwks": {"keys": [{"kty": "oct", "k": "x"}]}},
        {"issuer": SOUND["issuer"], "jwks": "x"},
        SOUND | {"rule": "email"},
        SOUND | {"rule": "email", "email_domains": "example.com"},
        SOUND | {"rule": "email", "email_domains": ["@example.com"]},
        SOUND | {"rule": "email", "email_domains": [".example.com"]},
        SOUND | {"rule": "email", "email_domains": ["example.com,example.org"]},
        SOUND | {"rule": "email", "email_domains": ["example.com, example.org"]},
        SOUND | {"rule": "no.such.rule"},
        SOUND | {"rule": "authapp.conf.JWT_BEARER"},
        SOUND | {"scopes": "mcp:tools"},
        SOUND | {"scopes": ["mcp:tools", "mcp:tolls"]},
        SOUND | {"clients": [7]},
        SOUND | {"audience": "x"},
    ],
    ids=ascii,
)
def test_an_entry_that_could_not_work_is_named_at_startup(settings: Any, entry: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": [SOUND]}
    assert checks.check_trusted_issuers() == []
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": [entry]}
    assert [message.id for message in checks.check_trusted_issuers()] == ["authapp.E006"]


def test_an_issuer_that_is_there_twice_is_named_and_so_is_an_email_anybody_can_claim(settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": [SOUND, SOUND]}
    assert [message.id for message in checks.check_trusted_issuers()] == ["authapp.E006"]
    by_email = SOUND | {"rule": "email", "email_domains": ["example.com"]}
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": [by_email], "SIGN_UP_URL": ""}
    assert checks.check_trusted_issuers() == []
    settings.AUTHAPP = {**settings.AUTHAPP, "SIGN_UP_URL": "account_signup"}
    assert [message.id for message in checks.check_trusted_issuers()] == ["authapp.W001"]
