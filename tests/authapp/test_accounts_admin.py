"""The admin shows what was asked about accounts, and forgets only what takes nothing back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from bs4 import BeautifulSoup
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from authapp.models import AccountCheck, IdentityCredential, LinkedIdentity
from authapp.openid import sealing
from tests.authapp.admin_rows import asks_as_often_for_sixty_as_for_two, clerk
from tests.authapp.client_actions import asked, confirmed, form_of
from tests.oauth import browser, connected, refresh

pytestmark = pytest.mark.django_db

CHECKS, CREDENTIALS = "/admin/authapp/accountcheck/", "/admin/authapp/identitycredential/"
ANSWER: dict[str, Any] = {}


def ask(user: Any) -> bool | None:
    """Stand in for the provider."""
    ANSWER["asked"].append(user.get_username())
    answer: bool | None = ANSWER["answer"]
    return answer


def signed_in_at(request: Any) -> float:
    """Stand in for the site's memory of sign-ins."""
    return time.time() - 10


@pytest.fixture(autouse=True)
def checked(settings: Any) -> Iterator[dict[str, Any]]:
    ANSWER.update(answer=True, asked=[])
    settings.AUTHAPP = settings.AUTHAPP | {
        "ACCOUNT_CHECK": f"{__name__}.ask",
        "AUTHENTICATED_AT": f"{__name__}.signed_in_at",
    }
    yield ANSWER
    ANSWER.clear()


@pytest.fixture
def owner(db: None) -> Client:
    return browser(get_user_model().objects.create_superuser("owner", password="owner-password"))


@pytest.fixture
def credential(alice: Any) -> IdentityCredential:
    identity = LinkedIdentity.objects.create(user=alice, issuer="https://issuer.example", subject="alice-there")
    return IdentityCredential.objects.create(identity=identity, sealed=sealing.seal(b"the-refresh-token"))


def selected(*rows: Any) -> dict[str, Any]:
    return {"_selected_action": [row.pk for row in rows]}


@pytest.mark.parametrize("address", [CHECKS, CREDENTIALS])
def test_the_lists_ask_as_often_for_sixty_as_for_two(owner: Client, address: str) -> None:
    asks_as_often_for_sixty_as_for_two(owner, address)
    cells = BeautifulSoup(owner.get(address).content, "html.parser").select("#result_list tbody tr:first-child > *")
    assert [len(cell.select("a")) for cell in cells if cell.select("a")] == [1, 1], "to the person, and to the page"


def test_a_check_that_is_forgotten_is_made_anew_before_the_next_refresh(
    owner: Client, alice: Any, checked: dict[str, Any]
) -> None:
    client, tokens = connected(alice)
    tokens = refresh(client["client_id"], tokens["refresh_token"]).json()
    check = AccountCheck.objects.get()
    assert "alice" in owner.get(CHECKS).content.decode()
    text = confirmed(owner, "forget", selected(check), CHECKS)
    assert "alice" in text
    assert "Checks 1" in text
    assert not AccountCheck.objects.exists()
    checked["answer"] = False
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 400
    assert checked["asked"] == ["alice", "alice"]
    assert AccountCheck.objects.get().ended_at is not None


SHOWN = ("change", "history")
KEPT = {
    "ended": {"ended_at": timezone.now()},
    "not known": {"unknown_since": timezone.now()},
    "being asked about": {"next_at": timezone.now() + timedelta(seconds=20)},
    "due": {"next_at": timezone.now() - timedelta(seconds=20)},
}


@pytest.mark.parametrize("state", KEPT)
def test_what_keeps_somebody_out_is_not_forgotten(owner: Client, alice: Any, state: str) -> None:
    """Not even where it came to be so between the question and the answer."""
    later = timezone.now() + timedelta(hours=1)
    check = AccountCheck.objects.create(user=alice, **({"next_at": later} | KEPT[state]))
    text, _ = asked(owner, "forget", selected(check), CHECKS)
    assert "None can be forgotten" in text
    assert "Checks that stay 1" in text
    page = f"{CHECKS}{check.pk}/delete/"
    assert "None can be forgotten" in owner.get(page).content.decode()
    AccountCheck.objects.update(next_at=later, ended_at=None, unknown_since=None)
    _, form = form_of(owner.get(page))
    AccountCheck.objects.update(**KEPT[state])
    assert owner.post(page, form).status_code == 302
    assert AccountCheck.objects.exists()
    AccountCheck.objects.update(next_at=later, ended_at=None, unknown_since=None)
    assert owner.post(page, form).status_code == 302
    assert not AccountCheck.objects.exists()


def test_who_may_only_look_forgets_nothing_and_who_may_not_sees_nothing(alice: Any) -> None:
    check = AccountCheck.objects.create(user=alice, next_at=timezone.now() + timedelta(hours=1))
    form = {"action": "forget", "confirmed": "yes", "chosen": str(check.pk), **selected(check)}
    assert clerk("view_application").get(CHECKS).status_code == 403
    for permissions in (["view_accountcheck"], ["view_accountcheck", "change_accountcheck", "add_accountcheck"]):
        person = clerk(*permissions)
        assert "alice" in person.get(CHECKS).content.decode()
        page = person.get(f"{CHECKS}{check.pk}/change/").content.decode()
        assert "alice" in page
        assert 'name="_save"' not in page
        assert 'value="forget"' not in person.get(CHECKS).content.decode()
        person.post(CHECKS, form)
        assert person.post(f"{CHECKS}{check.pk}/delete/", form).status_code == 403
        assert person.post(f"{CHECKS}{check.pk}/change/", {"ended_at_0": ""}).status_code == 403
        assert person.get(f"{CHECKS}add/").status_code == 403
        assert AccountCheck.objects.exists()
    clerk("view_accountcheck", "delete_accountcheck").post(CHECKS, form)
    assert not AccountCheck.objects.exists()


def test_a_credential_is_seen_but_nothing_of_what_is_sealed(owner: Client, credential: IdentityCredential) -> None:
    pages = [CREDENTIALS, f"{CREDENTIALS}?q=alice-there", *(f"{CREDENTIALS}{credential.pk}/{page}/" for page in SHOWN)]
    for page in pages:
        text = owner.get(page).content.decode()
        assert "alice-there" in text or page.endswith("history/")
        assert credential.sealed not in text
        assert credential.sealed[:20] not in text
        assert "the-refresh-token" not in text
    for lookup in ("sealed", "sealed__startswith", "sealed__gt"):
        assert owner.get(CREDENTIALS, {lookup: "g"}).status_code == 400
    assert owner.get(CREDENTIALS, {"kept_at__year": "2026"}).status_code == 200


def test_a_credential_is_not_deleted_by_itself_for_nobody_would_be_asked_any_more(
    owner: Client, credential: IdentityCredential
) -> None:
    page = f"{CREDENTIALS}{credential.pk}"
    assert "deletelink" not in owner.get(f"{page}/change/").content.decode()
    assert owner.get(f"{page}/delete/").status_code == 403
    assert owner.post(f"{page}/delete/", {"post": "yes"}).status_code == 403
    owner.post(CREDENTIALS, {"action": "delete_selected", "post": "yes", **selected(credential)})
    assert IdentityCredential.objects.exists()
    assert "delete_selected" not in owner.get(CREDENTIALS).content.decode()


def test_a_credential_goes_with_its_identity_for_who_may_delete_that(credential: IdentityCredential) -> None:
    page = f"/admin/authapp/linkedidentity/{credential.pk}/delete/"
    person = clerk("view_linkedidentity", "delete_linkedidentity")
    assert person.get(CREDENTIALS).status_code == 403
    assert "identitycredential" not in person.get("/admin/").content.decode()
    assert person.post(page, {"post": "yes"}).status_code == 302
    assert not IdentityCredential.objects.exists()


def test_who_may_look_at_credentials_does_nothing_to_them(credential: IdentityCredential) -> None:
    assert clerk("view_application").get(CREDENTIALS).status_code == 403
    person = clerk("view_identitycredential", "change_identitycredential", "delete_identitycredential")
    page = f"{CREDENTIALS}{credential.pk}"
    assert "alice-there" in person.get(f"{page}/change/").content.decode()
    assert person.post(f"{page}/change/", {"sealed": "x"}).status_code == 403
    assert person.post(f"{page}/delete/", {"post": "yes"}).status_code == 403
    assert person.get(f"{CREDENTIALS}add/").status_code == 403
    assert IdentityCredential.objects.get().sealed == credential.sealed
