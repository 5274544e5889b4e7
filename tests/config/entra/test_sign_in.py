"""Signing in with Entra: who somebody is here follows tenant and object ID, and nothing else of what they bring."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialToken
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.utils import timezone

from authapp.models import AuditEvent, IdentityCredential, KeySet, LinkedIdentity, TokenFamily
from authapp.openid import sealing
from config.entra.settings import EntraSettings, linked_issuers
from tests.config.entra.conftest import CALLBACK, LOGIN, Visitor
from tests.entra_sign_in import ABSENT, ALICE, BOB, OTHER_TENANT, SITE_ID, TENANT, SignInProvider
from tests.oauth import HOST, PKCE, authorization_url, browser, redeem, registered

pytestmark = pytest.mark.django_db


def linked(user: Any, entra: EntraSettings, subject: str = ALICE, **fields: Any) -> LinkedIdentity:
    identity: LinkedIdentity = LinkedIdentity.objects.create(
        user=user, issuer=entra.issuer, subject=subject, linked_by="test", **fields
    )
    return identity


# The way in


def test_a_linked_person_signs_in_consents_and_the_client_calls_as_them(
    alice: Any, entra: EntraSettings, visitor: Visitor
) -> None:
    linked(alice, entra)
    client, pkce = registered(scope="openid mcp:tools"), PKCE()
    page = authorization_url(client["client_id"], pkce, scope="openid mcp:tools")
    first = visitor.here.get(page)
    assert urlsplit(first["Location"]).path == "/accounts/login/"
    back = visitor.sign_in(first["Location"])
    assert back.status_code == 302
    assert back["Location"] == page, "and the consent page follows"
    assert visitor.here.get(page).status_code == 200
    answer = visitor.here.post(page, {"allow": "true"})
    code = parse_qs(urlsplit(answer["Location"]).query)["code"][0]
    tokens = redeem(client["client_id"], code, pkce)
    assert tokens.status_code == 200
    family = TokenFamily.objects.get()
    assert family.user == alice
    assert family.authenticated_at is not None
    assert abs(family.authenticated_at - time.time()) < 60, "the site knows when they signed in"


def test_the_request_to_entra_has_state_nonce_pkce_and_no_more(
    entra: EntraSettings, visitor: Visitor, provider: SignInProvider
) -> None:
    redirect = visitor.start()
    query = parse_qs(urlsplit(redirect["Location"]).query)
    assert redirect["Location"].startswith(f"{provider.url}/{TENANT}/oauth2/v2.0/authorize?")
    assert set(query) == {
        "client_id",
        "redirect_uri",
        "response_type",
        "response_mode",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
    }
    assert query["redirect_uri"] == [CALLBACK]
    assert set(query["scope"][0].split()) == {"openid", "profile", "offline_access"}
    assert redirect["Cache-Control"] == "no-store"


def test_what_is_in_the_address_of_the_button_adds_nothing_to_the_request(
    entra: EntraSettings, provider: SignInProvider
) -> None:
    for query in ("scope=https://graph.microsoft.com/.default", "auth_params=prompt%3Dnone", "process=connect"):
        response = browser().post(f"{LOGIN}?{query}")
        asked = parse_qs(urlsplit(response["Location"]).query)
        assert "prompt" not in asked
        assert "graph" not in asked["scope"][0]


def test_a_client_may_say_who_is_meant(entra: EntraSettings, visitor: Visitor) -> None:
    redirect = visitor.start("/accounts/login/?next=/&login_hint=alice%40contoso.example")
    assert parse_qs(urlsplit(redirect["Location"]).query)["login_hint"] == ["alice@contoso.example"]


def test_a_sign_in_is_begun_by_a_form_of_this_site_alone(entra: EntraSettings, visitor: Visitor) -> None:
    assert browser().get(LOGIN).status_code == 405
    foreign = Client(enforce_csrf_checks=True, headers={"host": HOST})
    assert foreign.post(LOGIN).status_code == 403
    assert visitor.start().status_code == 302


def test_nobody_makes_sessions_without_end(entra: EntraSettings, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"login": "3/m/ip"}
    assert [browser().post(LOGIN).status_code for _ in range(4)] == [302, 302, 302, 429]


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(alice: Any, entra: EntraSettings, provider: SignInProvider, target: str) -> None:
    linked(alice, entra)
    visitor = Visitor(provider)
    redirect = visitor.here.post(LOGIN, {"next": target})
    assert visitor.come_back(visitor.at_microsoft(redirect))["Location"] == "/"


def test_nothing_of_it_is_there_until_it_is_set_up(settings: Any, alice: Any) -> None:
    page = browser().get("/accounts/login/").content.decode()
    assert "Microsoft" not in page
    assert 'name="password"' in page
    signed_in = browser(alice)
    for path in (LOGIN, "/accounts/oidc/entra/logout/"):
        assert browser().post(path).status_code == 404
    for path in (
        "/accounts/oidc/entra/login/callback/?code=x&state=y",
        "/accounts/oidc/entra/",
        "/accounts/oidc/entra/reauthenticate/",
        "/accounts/3rdparty/",
        "/accounts/3rdparty/signup/",
        "/accounts/social/signup/",
        "/accounts/password/set/",
    ):
        assert signed_in.get(path).status_code == 404, path
    assert "Microsoft" not in signed_in.get("/accounts/logout/").content.decode()


def test_what_allauth_keeps_of_its_own_accounts_elsewhere_is_reached_by_nobody(
    entra: EntraSettings, alice: Any
) -> None:
    alice.is_staff = alice.is_superuser = True
    alice.save()
    for path in ("/accounts/3rdparty/", "/accounts/3rdparty/signup/", "/accounts/password/set/"):
        assert browser(alice).get(path).status_code == 404, path
    assert "socialaccount" not in browser(alice).get("/admin/").content.decode()


# Whom it means


def test_the_owner_links_people_by_a_command(alice: Any, entra: EntraSettings, visitor: Visitor, settings: Any) -> None:
    with pytest.raises(CommandError, match="is not trusted"):
        call_command("link_identities", entra.issuer, ALICE, "alice")
    settings.AUTHAPP = settings.AUTHAPP | {"LINKED_ISSUERS": linked_issuers(entra, [])}
    call_command("link_identities", entra.issuer, ALICE, "alice")
    visitor.sign_in()
    assert visitor.user_id == str(alice.pk)


def test_an_account_of_the_tenant_that_nobody_linked_is_told_what_to_do(entra: EntraSettings, visitor: Visitor) -> None:
    before = get_user_model().objects.count()
    response = visitor.sign_in()
    assert response.status_code == 403
    assert "no account of this site is linked" in response.content.decode()
    assert (visitor.user_id, get_user_model().objects.count()) == (None, before)


def test_the_same_e_mail_address_or_name_takes_over_nobody(
    alice: Any, bob: Any, entra: EntraSettings, visitor: Visitor, provider: SignInProvider, settings: Any
) -> None:
    """Whoever runs a tenant, or an account in it, can have any address; the object ID is given once."""
    alice.email = "alice@contoso.example"
    alice.save()
    identity = linked(alice, entra)
    provider.at_the_browser = BOB
    provider.people[BOB] = {
        "preferred_username": "alice",
        "email": "alice@contoso.example",
        "email_verified": True,
        "xms_edov": True,
        "sub": "pairwise-11111111",
        "name": "Alice",
    }
    assert visitor.sign_in().status_code == 403
    assert visitor.user_id is None
    settings.ENTRA = replace(entra, create_users=True)
    assert visitor.sign_in().status_code == 302
    assert visitor.user_id not in {None, str(alice.pk)}, "an account of their own"
    assert get_user_model().objects.get(pk=visitor.user_id).username != "alice"
    assert identity.user == alice
    provider.at_the_browser = ALICE
    mine = Visitor(provider)
    mine.sign_in()
    assert mine.user_id == str(alice.pk), "the same person with the right object ID"


def test_an_account_is_made_where_the_owner_wants_it(
    people_are_created: None, visitor: Visitor, provider: SignInProvider, settings: Any
) -> None:
    assert visitor.sign_in().status_code == 302
    user = get_user_model().objects.get(pk=visitor.user_id)
    assert (user.username, user.first_name, user.last_name) == ("alice@contoso.example", "Alice", "Liddell")
    assert user.email == "", "nobody has proved an address"
    assert not user.has_usable_password()
    assert (user.is_staff, user.is_superuser) == (False, False)
    assert not EmailAddress.objects.exists()
    assert not SocialAccount.objects.exists()
    assert not SocialToken.objects.exists()
    identity = LinkedIdentity.objects.get()
    assert (identity.issuer, identity.subject, identity.user) == (settings.ENTRA.issuer, ALICE, user)
    assert AuditEvent.objects.get(action="identity_linked").detail["by"] == "sign-in"
    again = Visitor(provider)
    again.sign_in()
    assert again.user_id == visitor.user_id
    assert LinkedIdentity.objects.count() == 1


def test_a_new_account_gets_a_name_that_is_free_and_plain(
    alice: Any, people_are_created: None, visitor: Visitor, provider: SignInProvider
) -> None:
    provider.people[ALICE] = {
        "preferred_username": "ALICE\x00 <>",
        "name": 7,
        "given_name": "A\x00\n<b>",
        "email": ["x"],
    }
    assert visitor.sign_in().status_code == 302
    user = get_user_model().objects.get(pk=visitor.user_id)
    assert user.pk != alice.pk
    assert user.username.isascii()
    assert "<" not in user.username
    assert user.first_name == "A<b>"
    assert user.email == ""


def test_a_user_who_is_switched_off_here_is_not_signed_in(
    alice: Any, entra: EntraSettings, visitor: Visitor, provider: SignInProvider
) -> None:
    linked(alice, entra)
    alice.is_active = False
    alice.save()
    response = visitor.sign_in()
    assert visitor.user_id is None
    assert response["Location"] == "/accounts/inactive/"
    alice.is_active = True
    alice.save()
    visitor = Visitor(provider)
    visitor.sign_in()
    assert visitor.user_id == str(alice.pk)


def test_a_link_that_was_disabled_signs_nobody_in(
    alice: Any, people_are_created: None, visitor: Visitor, settings: Any
) -> None:
    identity = linked(alice, settings.ENTRA, disabled_at=timezone.now())
    assert visitor.sign_in().status_code == 403
    identity.disabled_at = None
    identity.save()
    assert visitor.sign_in().status_code == 302
    assert visitor.user_id == str(alice.pk)


# The ID token


def other_key() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


NOW = int(time.time())
WRONG: dict[str, dict[str, Any]] = {
    "the tenant of another organisation": {"tid": OTHER_TENANT},
    "no tenant": {"tid": ABSENT},
    "the issuer of another tenant": {"iss": f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"},
    "the issuer of v1 tokens": {"iss": f"https://sts.windows.net/{TENANT}/"},
    "an issuer with a slash more": {"iss": "SLASH"},
    "no issuer": {"iss": ABSENT},
    "another application's audience": {"aud": "0b8f5a52-7d1c-4f6e-8a3b-2c4d5e6f7a8b"},
    "two audiences": {"aud": [SITE_ID, "https://graph.microsoft.com"]},
    "no audience": {"aud": ABSENT},
    "an end that is over": {"exp": NOW - 3600},
    "no end": {"exp": ABSENT},
    "an end that is text": {"exp": "soon"},
    "a beginning that is to come": {"nbf": NOW + 3600},
    "no object ID": {"oid": ABSENT},
    "an object ID that is a number": {"oid": 7},
    "an object ID that is none": {"oid": "alice@contoso.example"},
    "an empty object ID": {"oid": ""},
    "no subject": {"sub": ABSENT},
    "no nonce": {"nonce": ABSENT},
    "another sign-in's nonce": {"nonce": "n" * 32},
    "a nonce that is no text": {"nonce": ["n"]},
}


@pytest.mark.parametrize("fault", WRONG)
def test_an_id_token_that_is_not_for_this_very_sign_in_is_refused(
    fault: str, alice: Any, people_are_created: None, visitor: Visitor, provider: SignInProvider, settings: Any
) -> None:
    linked(alice, settings.ENTRA)
    provider.claims = dict(WRONG[fault])
    if provider.claims.get("iss") == "SLASH":
        provider.claims["iss"] = f"{provider.url}/{TENANT}/v2.0/"
    response = visitor.sign_in()
    assert response.status_code == 400
    assert "You were not signed in" in response.content.decode()
    assert visitor.user_id is None
    assert get_user_model().objects.count() == 1
    provider.claims = {}
    assert visitor.sign_in().status_code == 302, "the control"
    assert visitor.user_id == str(alice.pk)


@pytest.mark.parametrize("fault", ["another key", "no signature", "a shared secret", "an unknown kid", "no kid"])
def test_an_id_token_that_the_tenant_did_not_sign_is_refused(
    fault: str, alice: Any, entra: EntraSettings, visitor: Visitor, provider: SignInProvider
) -> None:
    linked(alice, entra)
    visitor.sign_in()
    assert visitor.user_id == str(alice.pk), "the control, which also has fetched the keys"
    if fault == "another key":
        provider.signing_key = other_key()
    elif fault == "no signature":
        provider.signing_key, provider.algorithm = "", "none"
    elif fault == "a shared secret":
        provider.signing_key, provider.algorithm = "s" * 40, "HS256"
    elif fault == "an unknown kid":
        provider.headers = {"kid": "unknown"}
    else:
        provider.headers = {"kid": ""}
    stranger = Visitor(provider)
    assert stranger.sign_in().status_code == 400
    assert stranger.user_id is None


def test_a_tenant_that_changed_its_keys_is_asked_for_them_once(
    alice: Any, entra: EntraSettings, visitor: Visitor, provider: SignInProvider
) -> None:
    linked(alice, entra)
    visitor.sign_in()
    provider.rotate()
    KeySet.objects.update(tried_at=None)  # a minute later
    later = Visitor(provider)
    later.sign_in()
    assert later.user_id == str(alice.pk)
    Visitor(provider).sign_in()
    assert sum(line.endswith("/discovery/v2.0/keys") for line in provider.requests) == 2


def test_an_id_token_is_good_once(alice: Any, entra: EntraSettings, visitor: Visitor, provider: SignInProvider) -> None:
    """One that somebody got hold of, put into another sign-in, has that one's nonce not."""
    linked(alice, entra)
    visitor.sign_in()
    old = jwt.decode(provider.given[-1], options={"verify_signature": False})
    assert old["nonce"] == provider.asked[-1]["nonce"]
    provider.claims = {"nonce": old["nonce"]}
    thief = Visitor(provider)
    assert thief.sign_in().status_code == 400
    assert thief.user_id is None


# The answer


def test_an_answer_is_taken_once_and_in_the_browser_that_asked(
    alice: Any, entra: EntraSettings, visitor: Visitor, provider: SignInProvider
) -> None:
    linked(alice, entra)
    location = visitor.at_microsoft(visitor.start())
    thief = Visitor(provider)
    assert thief.come_back(location).status_code == 400, "another browser"
    assert thief.user_id is None
    changed = location.replace("state=", "state=x")
    assert visitor.come_back(changed).status_code == 400, "another state"
    assert visitor.come_back(location).status_code == 302
    assert visitor.user_id == str(alice.pk)
    visitor.here.logout()
    assert visitor.come_back(location).status_code == 400, "a second time"
    assert visitor.user_id is None


def test_the_answer_of_one_sign_in_does_not_end_another(
    alice: Any, entra: EntraSettings, visitor: Visitor, provider: SignInProvider
) -> None:
    """A code that was injected comes with another verifier (RFC 9700 §4.5)."""
    linked(alice, entra)
    mine = visitor.at_microsoft(visitor.start())
    theirs = Visitor(provider).at_microsoft(Visitor(provider).start())
    injected = mine.replace(parse_qs(urlsplit(mine).query)["code"][0], parse_qs(urlsplit(theirs).query)["code"][0])
    assert visitor.come_back(injected).status_code == 400
    assert visitor.user_id is None


@pytest.mark.parametrize(
    ("error", "description", "said"),
    [
        ("access_denied", "AADSTS65004: User declined to consent.", "the sign-in was cancelled"),
        ("access_denied", "AADSTS50105: alice@contoso.example is not assigned.", "AADSTS50105"),
        ("invalid_client", "AADSTS700016: <script>alert(1)</script>", "AADSTS700016"),
        ("server_error", "", "You were not signed in"),
    ],
)
def test_a_refusal_of_entra_is_shown_with_its_code_and_none_of_its_text(
    error: str, description: str, said: str, entra: EntraSettings, visitor: Visitor, provider: SignInProvider
) -> None:
    provider.refuses = (error, description)
    text = visitor.sign_in().content.decode()
    assert said in text
    assert "contoso" not in text
    assert "alert(1)" not in text


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}),
        (429, {"error": "temporarily_unavailable"}),
        (200, {}),
        (200, {"access_token": 7}),
        (200, {"access_token": "x"}),
        (302, {}),
        (400, {"error": ["x"]}),
    ],
    ids=str,
)
def test_whatever_the_token_endpoint_answers_ends_in_a_page(
    answer: Any, alice: Any, entra: EntraSettings, visitor: Visitor, provider: SignInProvider
) -> None:
    linked(alice, entra)
    provider.answer = answer
    assert visitor.sign_in().status_code == 400
    assert visitor.user_id is None
    provider.answer = None
    assert visitor.sign_in().status_code == 302


# Groups


@pytest.fixture
def mapped(entra: EntraSettings, settings: Any) -> None:
    settings.ENTRA = replace(
        entra, groups={"aaaa-1": "Editors", "aaaa-2": "Readers", "Approver": "Approvers"}, create_users=True
    )


def groups_of(user: Any) -> set[str]:
    return set(user.groups.values_list("name", flat=True))


def test_groups_and_roles_follow_the_token_and_others_are_left_alone(
    alice: Any, mapped: None, provider: SignInProvider, settings: Any
) -> None:
    linked(alice, settings.ENTRA)
    Group.objects.create(name="Readers")
    assert groups_of(alice) == {"Owners"}
    provider.claims = {"groups": ["aaaa-1", "aaaa-2", "aaaa-9"], "roles": ["Approver", "Owner"]}
    Visitor(provider).sign_in()
    assert groups_of(alice) == {"Owners", "Editors", "Readers", "Approvers"}
    provider.claims = {"groups": ["aaaa-2"]}
    Visitor(provider).sign_in()
    assert groups_of(alice) == {"Owners", "Readers"}
    provider.claims = {}
    Visitor(provider).sign_in()
    assert groups_of(alice) == {"Owners"}


@pytest.mark.parametrize(
    "overage",
    [
        {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.windows.net/x"}}},
        {"hasgroups": True},
        {"hasgroups": "true"},
    ],
    ids=str,
)
def test_a_token_that_has_no_room_for_all_groups_takes_none_away(
    overage: dict[str, Any], alice: Any, mapped: None, provider: SignInProvider, settings: Any, caplog: Any
) -> None:
    linked(alice, settings.ENTRA)
    provider.claims = {"groups": ["aaaa-1"]}
    Visitor(provider).sign_in()
    provider.claims = {"roles": ["Approver"], **overage}
    Visitor(provider).sign_in()
    assert groups_of(alice) == {"Owners", "Editors", "Approvers"}
    assert "did not fit" in caplog.text
    assert not any("graph.windows.net" in line for line in provider.requests), "nobody is asked for the rest"


def test_no_claim_makes_anybody_staff(mapped: None, visitor: Visitor, provider: SignInProvider) -> None:
    provider.claims = {
        "is_staff": True,
        "is_superuser": True,
        "roles": ["admin", "staff", "superuser"],
        "wids": ["62e90394-69f5-4237-9190-012177145e10"],
        "groups": "aaaa-1",
    }
    visitor.sign_in()
    user = get_user_model().objects.get(pk=visitor.user_id)
    assert (user.is_staff, user.is_superuser, groups_of(user)) == (False, False, set())


# Linking one's own account


def confirm_password(visitor: Visitor, response: Any, password: str = "alice-password") -> Any:
    assert urlsplit(response["Location"]).path == "/accounts/reauthenticate/", response
    return visitor.here.post(response["Location"], {"password": password})


def test_a_person_links_their_own_account_after_proving_who_they_are(
    alice: Any, entra: EntraSettings, provider: SignInProvider
) -> None:
    visitor = Visitor(provider, alice)
    assert "Link a Microsoft account" in visitor.here.get("/accounts/oidc/entra/").content.decode()
    first = visitor.here.post("/accounts/oidc/entra/")
    wrong = confirm_password(visitor, first, "wrong")
    assert wrong.status_code == 200, "asked again"
    redirect = confirm_password(visitor, first)
    assert provider.asked == []
    back = visitor.come_back(visitor.at_microsoft(redirect))
    assert provider.asked[-1]["prompt"] == "select_account"
    assert back["Location"] == "/accounts/oidc/entra/"
    identity = LinkedIdentity.objects.get()
    assert (identity.user, identity.subject, identity.linked_by) == (alice, ALICE, "alice")
    assert AuditEvent.objects.get(action="identity_linked").detail["by"] == "alice"
    assert ALICE in visitor.here.get("/accounts/oidc/entra/").content.decode()
    later = Visitor(provider)
    later.sign_in()
    assert later.user_id == str(alice.pk)


def link(visitor: Visitor) -> Any:
    redirect = confirm_password(visitor, visitor.here.post("/accounts/oidc/entra/"))
    return visitor.come_back(visitor.at_microsoft(redirect))


def test_an_account_that_is_somebody_elses_is_not_taken_away(
    alice: Any, bob: Any, entra: EntraSettings, provider: SignInProvider
) -> None:
    linked(bob, entra)
    response = link(Visitor(provider, alice))
    assert response.status_code == 409
    assert "another account of this site" in response.content.decode()
    assert LinkedIdentity.objects.get().user == bob


def test_a_second_account_of_the_tenant_is_not_linked(
    alice: Any, entra: EntraSettings, provider: SignInProvider
) -> None:
    linked(alice, entra)
    provider.at_the_browser = BOB
    assert link(Visitor(provider, alice)).status_code == 409
    assert LinkedIdentity.objects.count() == 1


def test_whoever_signed_in_meanwhile_gets_no_link(
    alice: Any, bob: Any, entra: EntraSettings, provider: SignInProvider
) -> None:
    visitor = Visitor(provider, alice)
    redirect = confirm_password(visitor, visitor.here.post("/accounts/oidc/entra/"))
    location = visitor.at_microsoft(redirect)
    session = visitor.here.session
    state = session["socialaccount_states"]
    visitor.here.force_login(bob, backend="django.contrib.auth.backends.ModelBackend")
    session = visitor.here.session
    session["socialaccount_states"] = state  # however it got there
    session.save()
    assert visitor.come_back(location).status_code == 400
    assert not LinkedIdentity.objects.exists()


# Proving it again


def test_a_person_without_a_password_proves_it_again_at_entra(
    people_are_created: None, visitor: Visitor, provider: SignInProvider
) -> None:
    visitor.sign_in()
    user_id = visitor.user_id
    client = registered()
    page = authorization_url(client["client_id"], PKCE(), prompt="login")
    first = visitor.here.get(page)
    assert urlsplit(first["Location"]).path == "/accounts/reauthenticate/"
    second = visitor.here.get(first["Location"])
    assert urlsplit(second["Location"]).path == "/accounts/oidc/entra/reauthenticate/"
    back = visitor.sign_in(second["Location"])
    assert provider.asked[-1]["prompt"] == "login", "a session at Microsoft is not enough"
    assert visitor.user_id == user_id
    assert urlsplit(back["Location"]).path == "/o/authorize/"
    assert visitor.here.get(back["Location"]).status_code == 200


# Entra alone


def test_with_entra_only_a_password_lets_in_staff_alone(
    alice: Any, bob: Any, entra: EntraSettings, settings: Any, provider: SignInProvider
) -> None:
    form = {"login": "alice", "password": "alice-password"}
    to_admin = f"/accounts/login/?next={quote('/admin/')}"
    assert browser().post("/accounts/login/", form).status_code == 302, "the control"
    settings.ENTRA = replace(entra, only=True)
    page = browser().get("/accounts/login/").content.decode()
    assert 'name="password"' not in page
    assert "Sign in with Microsoft" in page
    right, wrong = browser(), browser()
    answers = [right.post(to_admin, form), wrong.post(to_admin, form | {"password": "wrong"})]
    assert ["username and/or password you specified are not correct" in str(a.content) for a in answers] == [True] * 2
    assert right.post("/accounts/login/", form).status_code == 200
    assert "_auth_user_id" not in right.session
    bob.is_staff = True
    bob.save()
    assert 'name="password"' in browser().get(to_admin).content.decode()
    staff = browser()
    answer = staff.post(to_admin, {"login": "bob", "password": "bob-password", "next": "/admin/"})
    assert answer["Location"] == "/admin/"
    assert staff.session["_auth_user_id"] == str(bob.pk)


def test_with_entra_only_an_old_password_proves_nothing_any_more(
    alice: Any, entra: EntraSettings, settings: Any, provider: SignInProvider
) -> None:
    linked(alice, entra)
    visitor = Visitor(provider, alice)
    page = "/accounts/reauthenticate/?next=/"
    assert visitor.here.post(page, {"password": "alice-password"}).status_code == 302, "the control"
    settings.ENTRA = replace(entra, only=True)
    answer = visitor.here.post(page, {"password": "alice-password"})
    assert urlsplit(answer["Location"]).path == "/accounts/oidc/entra/reauthenticate/"


def test_with_entra_only_an_error_page_does_not_read_the_body(entra: EntraSettings, settings: Any) -> None:
    settings.ENTRA = replace(entra, only=True)
    body = "&".join(f"a{number}=1" for number in range(2000))
    form = "application/x-www-form-urlencoded"
    assert browser().post("/nothing/here/", body, content_type=form).status_code == 404


def test_who_has_no_password_gets_none_by_mail(
    people_are_created: None, visitor: Visitor, alice: Any, settings: Any, mailoutbox: Any
) -> None:
    visitor.sign_in()
    get_user_model().objects.filter(pk=visitor.user_id).update(email="alice@x.example")  # an administrator knows it
    alice.email = "alice@here.example"
    alice.save()
    for address in ("alice@x.example", "alice@here.example"):
        browser().post("/accounts/password/reset/", {"email": address})
    assert [mail.to for mail in mailoutbox if "/key/" in mail.body] == [["alice@here.example"]]


# Signing out


def test_signing_out_says_what_it_does_and_can_end_the_session_at_microsoft(
    alice: Any, entra: EntraSettings, provider: SignInProvider
) -> None:
    linked(alice, entra)
    visitor = Visitor(provider)
    visitor.sign_in()
    assert "you stay signed in there" in visitor.here.get("/accounts/logout/").content.decode()
    assert visitor.here.get("/accounts/oidc/entra/logout/").status_code == 405
    away = visitor.start("/accounts/logout/", "/accounts/oidc/entra/logout/")
    address = urlsplit(away["Location"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{provider.url}/{TENANT}/oauth2/v2.0/logout"
    assert parse_qs(address.query) == {"post_logout_redirect_uri": ["http://127.0.0.1:8000/accounts/login/"]}
    assert visitor.user_id is None


# What is kept


def test_no_token_of_entra_is_kept_in_clear(
    alice: Any, entra: EntraSettings, visitor: Visitor, provider: SignInProvider, caplog: Any
) -> None:
    linked(alice, entra)
    location = visitor.at_microsoft(visitor.start())
    caplog.set_level("DEBUG")  # from here on it is the site that writes
    visitor.come_back(location)
    assert "send_request_headers" in caplog.text
    credential = IdentityCredential.objects.get()
    refresh_token = next(token for token in provider.live)
    assert sealing.unseal(credential.sealed).decode() == refresh_token, "it is there"
    stored = [credential.sealed, str(visitor.here.session.items()), caplog.text]
    stored += [row.session_data for row in Session.objects.all()]
    stored += [str(row) for row in AuditEvent.objects.values_list("detail", flat=True)]
    for secret in provider.given:
        assert [number for number, text in enumerate(stored) if secret in text] == [], secret


# Two at once


@pytest.mark.django_db(transaction=True)
def test_a_new_person_who_signs_in_twice_at_once_is_one_account(
    people_are_created: None, provider: SignInProvider
) -> None:
    visitors = [Visitor(provider) for _ in range(4)]
    locations = [visitor.at_microsoft(visitor.start()) for visitor in visitors]
    together = threading.Barrier(len(visitors))
    statuses: list[int] = []

    def go(visitor: Visitor, location: str) -> None:
        try:
            together.wait(20)
            statuses.append(visitor.come_back(location).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=go, args=pair) for pair in zip(visitors, locations, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [302] * 4
    assert get_user_model().objects.count() == LinkedIdentity.objects.count() == 1
    assert {visitor.user_id for visitor in visitors} == {str(get_user_model().objects.get().pk)}
