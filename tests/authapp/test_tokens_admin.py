"""The admin of tokens shows which of them work, and revokes what belongs to them after a question; never a secret."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp.models import Application, AuditEvent, Connection, TokenFamily
from authapp.tokens import find_access_token
from mcpapp.models import ConnectionUsage
from tests.authapp.admin_rows import asks_as_often_for_sixty_as_for_two, clerk
from tests.authapp.client_actions import asked, confirmed
from tests.oauth import RESOURCE, browser, connected, refresh, registered

pytestmark = pytest.mark.django_db

ACCESS, REFRESH = "/admin/oauth2_provider/accesstoken/", "/admin/oauth2_provider/refreshtoken/"
AccessToken, RefreshToken = get_access_token_model(), get_refresh_token_model()


@pytest.fixture
def owner(db: None) -> Client:
    return browser(get_user_model().objects.create_superuser("owner", password="owner-password"))


def works(token: str) -> bool:
    return async_to_sync(find_access_token)(token) is not None


def shown(person: Client, address: str, **query: str) -> dict[int, Any]:
    """Return the rows of a list by their keys, as the page has them."""
    return {row.pk: row for row in person.get(address, query).context["cl"].result_list}


def days_ago(days: float) -> Any:
    return timezone.now() - timedelta(days=days)


STATES: dict[str, tuple[Callable[[], Any], bool, bool]] = {
    "nothing happens": (lambda: None, True, True),
    "the access token expires": (lambda: AccessToken.objects.update(expires=days_ago(1)), False, True),
    "the refresh token is too old": (lambda: AccessToken.objects.update(expires=days_ago(31)), False, False),
    "the login is too old": (lambda: TokenFamily.objects.update(created_at=days_ago(366)), True, False),
    "the login ends": (lambda: TokenFamily.objects.update(ended_at=days_ago(0)), True, False),
    "the access token is gone": (lambda: AccessToken.objects.all().delete(), False, False),
    "the client is disabled": (lambda: Application.objects.update(disabled_at=days_ago(0)), False, False),
    "the person is not active": (lambda: get_user_model().objects.update(is_active=False), False, False),
}


@pytest.mark.parametrize("state", STATES)
def test_a_token_counts_as_live_exactly_where_it_works(alice: Any, owner: Client, state: str) -> None:
    """The lists ask the database, the flows ask of one token: both must mean the same."""
    client, tokens = connected(alice)
    registered(client_name="Another")  # whose token manages its registration
    refreshable = RefreshToken.objects.get()
    access_key = refreshable.access_token_id
    happens, access_works, refresh_works = STATES[state]
    happens()
    get_user_model().objects.filter(username="owner").update(is_active=True)
    for address, key, is_live in ((ACCESS, access_key, access_works), (REFRESH, refreshable.pk, refresh_works)):
        rows = shown(owner, address)
        assert key not in rows or rows[key].lives is is_live
        assert (key in shown(owner, address, live="yes")) is is_live
        assert (key in shown(owner, address, live="no")) is (key in rows and not is_live)
        assert set(shown(owner, address, live="nonsense")) == set(rows)
    assert works(tokens["access_token"]) is access_works
    assert (refresh(client["client_id"], tokens["refresh_token"]).status_code == 200) is refresh_works


def test_the_lists_say_for_what_tokens_are_until_when_and_when_their_connection_was_used(
    owner: Client, alice: Any, settings: Any
) -> None:
    client, tokens = connected(alice, scope="mcp:tools offline_access")
    refresh(client["client_id"], tokens["refresh_token"])
    now = timezone.now()
    ConnectionUsage.objects.create(connection_key=str(Connection.objects.get().pk), calls=5, last_call_at=now)
    used, unused = RefreshToken.objects.order_by("pk")
    rows = shown(owner, REFRESH)
    assert (rows[used.pk].lives, rows[used.pk].is_unused) == (False, False)
    assert (rows[unused.pk].lives, rows[unused.pk].is_unused) == (True, True)
    assert rows[unused.pk].ends == unused.access_token.expires + timedelta(days=30)
    assert {row.granted for row in rows.values()} == {"mcp:tools offline_access"}
    assert {row.use.last_call_at for row in rows.values()} == {now}
    assert shown(owner, ACCESS)[unused.access_token_id].use.last_call_at == now
    for address in (ACCESS, REFRESH):
        page = owner.get(address).content.decode()
        assert "Connection last used" in page
        assert "mcp:tools offline_access" in page
        assert RESOURCE in page
    without = {**settings.AUTHAPP, "CONNECTION_USAGE": ""}
    settings.AUTHAPP = without
    for address in (ACCESS, REFRESH):
        assert "Connection last used" not in owner.get(address).content.decode()
    settings.AUTHAPP = {**without, "FAMILY_MAXIMUM_SECONDS": 0}
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "REFRESH_TOKEN_EXPIRE_SECONDS": None}
    assert "without end" in owner.get(REFRESH).content.decode()


@pytest.mark.parametrize("address", [ACCESS, REFRESH, f"{ACCESS}?live=yes", f"{REFRESH}?live=yes"])
def test_the_lists_ask_as_often_for_sixty_as_for_two(owner: Client, address: str) -> None:
    asks_as_often_for_sixty_as_for_two(owner, address)


@pytest.mark.parametrize("address", [ACCESS, REFRESH])
def test_revoking_says_what_ends_and_then_ends_it(owner: Client, alice: Any, bob: Any, address: str) -> None:
    client, first = connected(alice)
    pairs = [refresh(client["client_id"], first["refresh_token"]).json() for _ in range(2)]
    _, other = connected(bob, client)
    _, untouched = connected(alice)
    model = AccessToken if address == ACCESS else RefreshToken
    of_client = model.objects.filter(application__client_id=client["client_id"], user__isnull=False)
    chosen = [of_client.filter(user=user).latest("pk").pk for user in (alice, bob)]
    text, form = asked(owner, "revoke_tokens", {"_selected_action": chosen}, address)
    for words in (
        "Logins that are alive 2",
        "Refresh tokens that were not used or revoked 3",
        "Access tokens that have not expired 3",
        "Tokens by themselves 0",
        "People 2",
        "Clients 1",
    ):
        assert words in text
    assert works(pairs[0]["access_token"])
    assert owner.post(address, form).status_code == 302
    for tokens in (*pairs, other):
        assert not works(tokens["access_token"])
        assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 400
    assert works(untouched["access_token"])
    told = AuditEvent.objects.filter(action="token_revoked").values_list("username", "detail")
    assert sorted(told) == [("alice", {"by": "owner"}), ("bob", {"by": "owner"})]
    again = confirmed(owner, "revoke_tokens", {"_selected_action": [RefreshToken.objects.earliest("pk").pk]}, REFRESH)
    assert "Logins that are alive 0" in again


@pytest.mark.parametrize("address", [ACCESS, REFRESH])
def test_a_client_that_refreshes_between_question_and_answer_does_not_escape(
    owner: Client, alice: Any, address: str
) -> None:
    client, tokens = connected(alice)
    token = RefreshToken.objects.get()
    chosen = token.access_token_id if address == ACCESS else token.pk
    _, form = asked(owner, "revoke_tokens", {"_selected_action": [chosen]}, address)
    newer = refresh(client["client_id"], tokens["refresh_token"]).json()
    newest = refresh(client["client_id"], newer["refresh_token"]).json()
    assert works(newest["access_token"])
    owner.post(address, form)
    assert not works(newest["access_token"])
    assert refresh(client["client_id"], newest["refresh_token"]).status_code == 400


def test_a_token_that_manages_a_registration_is_revoked_by_itself(owner: Client, alice: Any) -> None:
    client, tokens = connected(alice)
    managing = AccessToken.objects.get(user=None)
    text = confirmed(owner, "revoke_tokens", {"_selected_action": [managing.pk]}, ACCESS)
    assert "Tokens by themselves 1" in text
    assert "registrations that their clients can no longer manage 1" in text
    assert "Logins that are alive 0" in text
    answer = browser().get(
        client["registration_client_uri"], headers={"authorization": f"Bearer {client['registration_access_token']}"}
    )
    assert answer.status_code == 401
    assert works(tokens["access_token"])
    assert AuditEvent.objects.filter(action="token_revoked", client_id=client["client_id"]).exists()


@pytest.mark.parametrize("forged", ["9" * 5000, "9" * 18, "x", "00000000-0000-0000-0000-000000000000", "-" * 36])
@pytest.mark.parametrize("address", [ACCESS, REFRESH])
def test_made_up_keys_revoke_nothing(owner: Client, alice: Any, address: str, forged: str) -> None:
    _, tokens = connected(alice)
    form = {"action": "revoke_tokens", "confirmed": "yes", "chosen": forged, "_selected_action": ["1"]}
    assert owner.post(address, form).status_code == 302
    assert works(tokens["access_token"])


@pytest.mark.parametrize(("address", "model"), [(ACCESS, "accesstoken"), (REFRESH, "refreshtoken")])
def test_who_may_only_look_revokes_nothing_and_who_may_not_sees_nothing(alice: Any, address: str, model: str) -> None:
    _, tokens = connected(alice)
    token = RefreshToken.objects.get()
    key = token.access_token_id if address == ACCESS else token.pk
    form = {
        "action": "revoke_tokens",
        "confirmed": "yes",
        "chosen": str(token.token_family),
        "_selected_action": [key],
    }
    assert clerk("view_application").get(address).status_code == 403
    assert clerk("view_application").post(address, form).status_code == 403
    for permissions in ([f"view_{model}"], [f"view_{model}", f"delete_{model}", f"add_{model}"]):
        person = clerk(*permissions)
        assert 'value="revoke_tokens"' not in person.get(address).content.decode()
        assert person.get(f"{address}{key}/change/").status_code == 200
        person.post(address, form)
        assert person.post(f"{address}{key}/delete/", {"post": "yes"}).status_code == 403
        assert person.get(f"{address}add/").status_code == 403
        assert works(tokens["access_token"])
    clerk(f"view_{model}", f"change_{model}").post(address, form)
    assert not works(tokens["access_token"])


SECRET_COLUMNS = {
    ACCESS: ("token", "token_checksum"),
    REFRESH: ("token", "token_checksum"),
    "/admin/oauth2_provider/grant/": ("code", "code_challenge"),
    "/admin/authapp/application/": ("client_secret", "previous_client_secret"),
}


@pytest.mark.parametrize("address", SECRET_COLUMNS)
def test_no_secret_is_guessed_letter_by_letter(owner: Client, alice: Any, address: str) -> None:
    """Django takes any column of the model from a list's URL."""
    connected(alice)
    for column in SECRET_COLUMNS[address]:
        for lookup in ("", "__startswith", "__gt", "__regex", "__isnull"):
            assert owner.get(address, {f"{column}{lookup}": "1"}).status_code == 400, (column, lookup)
    for allowed in ("id__gt", "created__year__gte"):
        assert owner.get(address, {allowed: "1"}).status_code == 200


def test_neither_pages_nor_history_nor_messages_have_a_secret(owner: Client, alice: Any) -> None:
    client, first = connected(alice)
    tokens = refresh(client["client_id"], first["refresh_token"]).json()
    secrets = [answer[name] for answer in (first, tokens) for name in ("access_token", "refresh_token")]
    for model in (AccessToken, RefreshToken):
        secrets += model.objects.values_list("token_checksum", flat=True)
    pages = [ACCESS, REFRESH]
    pages += [f"{ACCESS}{row.pk}/{page}/" for row in AccessToken.objects.all() for page in ("change", "history")]
    pages += [f"{REFRESH}{row.pk}/{page}/" for row in RefreshToken.objects.all() for page in ("change", "history")]
    seen = "".join(owner.get(page).content.decode() for page in pages)
    for address, model in ((ACCESS, AccessToken), (REFRESH, RefreshToken)):
        everything = {"_selected_action": list(model.objects.values_list("pk", flat=True))}
        _, form = asked(owner, "revoke_tokens", everything, address)
        seen += str(form) + owner.post(address, form, follow=True).content.decode()
    seen += str(list(LogEntry.objects.values())) + str(list(AuditEvent.objects.values()))
    assert len(secrets) > 6
    assert str(Application.objects.get().client_id) in seen
    assert [secret for secret in secrets if secret in seen] == []
