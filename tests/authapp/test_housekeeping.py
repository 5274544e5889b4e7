"""The commands that clean up: what they delete, what they must never delete, and what else goes on meanwhile."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.sessions.backends.file import SessionStore as FileSession
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_grant_model, get_refresh_token_model

from authapp import housekeeping
from authapp.models import Application, AuditEvent, Connection, Rotation, TokenFamily
from tests.oauth import (
    CALLBACK,
    ISSUER,
    PKCE,
    authorization_url,
    authorize,
    browser,
    connected,
    redeem,
    refresh,
    registered,
)

pytestmark = pytest.mark.django_db

AccessToken = get_access_token_model()
Grant = get_grant_model()
RefreshToken = get_refresh_token_model()
SKIPS_LOCKED = connection.features.has_select_for_update_skip_locked


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "PAUSE_SECONDS", 0)


class Clock:
    """Time that runs, and leaps when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        now = timezone.now
        monkeypatch.setattr(timezone, "now", lambda: now() + self.ahead)

    def leap(self, **duration: float) -> datetime:
        self.ahead += timedelta(**duration)
        return timezone.now()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run(command: str, *arguments: str, **options: Any) -> str:
    output = StringIO()
    call_command(command, *arguments, stdout=output, **options)
    return output.getvalue()


def clear_unused_clients(*arguments: str) -> int:
    """Return how many clients the command says it deleted."""
    deleted, number, *rest = run("clear_unused_clients", *arguments).split()
    assert (deleted, rest) == ("Deleted", ["unused", "clients."])
    return int(number)


def clear_expired_tokens(*arguments: str) -> dict[str, int]:
    """Return how many of each kind the command says it deleted, without the kinds of which there were none."""
    lines = [line.removeprefix("Deleted ").rstrip(".") for line in run("clear_expired_tokens", *arguments).splitlines()]
    counts = {kind: int(number) for number, _, kind in (line.partition(" ") for line in lines)}
    return {kind: number for kind, number in counts.items() if number}


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Do things in parallel, each over a connection of its own, committed; return what they returned."""

    def and_close(work: Callable[[], Any]) -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(and_close, works))


# Clients that nobody authorized


def test_a_client_that_nobody_ever_authorized_goes_after_ninety_days_with_its_registration_token(clock: Clock) -> None:
    registered()
    clock.leap(days=89, hours=23)
    young = registered()
    assert clear_unused_clients() == 0
    clock.leap(hours=2)
    assert AccessToken.objects.count() == 2
    assert clear_unused_clients() == 1
    assert Application.objects.get().client_id == young["client_id"]
    assert AccessToken.objects.get().application.client_id == young["client_id"]


def test_a_client_with_a_metadata_document_that_nobody_authorized_goes_too(clock: Clock) -> None:
    Application.objects.create(
        client_id="https://app.example/client.json", registration_source=Application.RegistrationSource.CIMD
    )
    clock.leap(days=91)
    assert clear_unused_clients() == 1
    assert not Application.objects.exists()


def token_of(client: Application, user: Any) -> Any:
    return AccessToken.objects.create(
        user=user, application=client, token=str(uuid.uuid4()), scope="mcp:tools", expires=timezone.now()
    )


@pytest.mark.parametrize(
    "trace",
    [
        lambda client, user: Application.objects.filter(pk=client.pk).update(last_authorized_at=timezone.now()),
        lambda client, user: Connection.objects.create(user=user, application=client),
        lambda client, user: Grant.objects.create(user=user, application=client, code="x", expires=timezone.now()),
        token_of,
        lambda client, user: token_of(client, None),
        lambda client, user: RefreshToken.objects.create(
            user=user, application=client, token="x", revoked=timezone.now()
        ),
        lambda client, user: TokenFamily.objects.create(
            user=user, application=client, family=uuid.uuid4(), code_digest="x"
        ),
        lambda client, user: Application.objects.filter(pk=client.pk).update(disabled_at=timezone.now()),
        lambda client, user: Application.objects.filter(pk=client.pk).update(user=user),
        lambda client, user: Application.objects.filter(pk=client.pk).update(registration_source="manual"),
    ],
    ids=[
        "authorized once",
        "connection",
        "code",
        "access token",
        "access token of nobody",
        "revoked refresh token",
        "token family",
        "disabled",
        "bound to a user",
        "made by hand",
    ],
)
@pytest.mark.parametrize("source", ["dcr", "cimd"])
def test_a_client_with_any_trace_of_a_person_stays(
    alice: Any, clock: Clock, trace: Callable[[Application, Any], Any], source: str
) -> None:
    clients = [Application.objects.get(client_id=registered()["client_id"]) for _ in range(2)]
    Application.objects.update(registration_source=source)
    kept, unused = clients
    trace(kept, alice)
    clock.leap(days=5000)
    assert clear_unused_clients() == 1
    assert Application.objects.get().pk == kept.pk
    assert not Application.objects.filter(pk=unused.pk).exists()


def test_a_client_that_changed_its_registration_lately_stays(clock: Clock) -> None:
    information = registered()
    registered()
    clock.leap(days=80)
    changed = browser().put(
        information["registration_client_uri"].removeprefix(ISSUER),
        {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"},
        content_type="application/json",
        headers={"authorization": f"Bearer {information['registration_access_token']}"},
    )
    assert changed.status_code == 200
    clock.leap(days=80)
    assert clear_unused_clients() == 1
    assert Application.objects.get().client_id == information["client_id"]


def test_a_client_that_everybody_disconnected_long_ago_still_works(alice: Any, clock: Clock) -> None:
    """Its program remembers the client ID and never registers again: without the row nobody could use it."""
    information, _ = connected(alice)
    browser(alice).post(f"/connected-apps/{Connection.objects.get().pk}/disconnect/")
    assert not Connection.objects.exists()
    registered()
    clock.leap(days=5000)
    clear_expired_tokens()
    assert not TokenFamily.objects.exists()
    assert not RefreshToken.objects.exists()
    assert clear_unused_clients() == 1
    connected(alice, information)


def test_a_client_that_was_only_looked_at_or_refused_goes(alice: Any, clock: Clock) -> None:
    client_id = registered()["client_id"]
    assert browser(alice).get(authorization_url(client_id, PKCE())).status_code == 200
    assert authorize(alice, client_id, PKCE(), allow=False)["error"] == "access_denied"
    clock.leap(days=91)
    assert clear_unused_clients() == 1


def test_what_happened_to_a_client_is_still_known_when_it_is_gone(clock: Clock) -> None:
    client_id = registered()["client_id"]
    clock.leap(days=91)
    assert clear_unused_clients() == 1
    event = AuditEvent.objects.get(action=AuditEvent.Action.CLIENT_REGISTERED)
    assert (event.application, event.client_id) == (None, client_id)


def test_the_age_comes_from_the_option_or_else_from_the_settings(settings: Any, clock: Clock) -> None:
    settings.AUTHAPP = django_settings.AUTHAPP | {"UNUSED_CLIENT_DAYS": 10}
    registered()
    clock.leap(days=5, hours=1)
    assert clear_unused_clients() == 0
    assert clear_unused_clients("--days", "6") == 0
    assert clear_unused_clients("--days", "5") == 1
    registered()
    clock.leap(days=10, hours=1)
    assert clear_unused_clients() == 1


def test_a_dry_run_counts_and_deletes_nothing(clock: Clock) -> None:
    for _ in range(3):
        registered()
    clock.leap(days=91)
    assert run("clear_unused_clients", "--dry-run") == "Would delete 3 unused clients.\n"
    assert Application.objects.count() == 3
    assert run("clear_unused_clients") == "Deleted 3 unused clients.\n"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("clear_unused_clients", ["--days", "0"]),
        ("clear_unused_clients", ["--days", "-1"]),
        ("clear_unused_clients", ["--days", "99999999999"]),
        ("clear_unused_clients", ["--days", "many"]),
        ("clear_unused_clients", ["--batch-size", "0"]),
        ("clear_unused_clients", ["--batch-size", "10001"]),
        ("clear_expired_tokens", ["--batch-size", "0"]),
        ("clear_expired_tokens", ["--batch-size", "-5"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_input_is_refused_in_a_sentence_and_nothing_is_deleted(
    clock: Clock, command: str, arguments: list[str]
) -> None:
    registered()
    clock.leap(days=91)
    with pytest.raises(CommandError, match=arguments[0]):
        run(command, *arguments)
    assert Application.objects.count() == 1
    assert clear_unused_clients() == 1


def test_a_bad_setting_is_refused_too(settings: Any, clock: Clock) -> None:
    settings.AUTHAPP = django_settings.AUTHAPP | {"UNUSED_CLIENT_DAYS": 0}
    registered()
    clock.leap(days=91)
    with pytest.raises(CommandError, match="days"):
        run("clear_unused_clients")
    assert Application.objects.count() == 1


@pytest.mark.parametrize("command", ["clear_unused_clients", "clear_expired_tokens"])
def test_help_states_the_deletion_rule(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command(command, "--help")
    said = " ".join(capsys.readouterr().out.split())
    rule = {
        "clear_unused_clients": "A client that was authorized once stays for ever",
        "clear_expired_tokens": "A refresh token that was used or revoked stays until its successor would have expired",
    }
    assert rule[command] in said


# Batches, other runs, and traffic


def test_no_transaction_deletes_more_than_a_batch(clock: Clock) -> None:
    for _ in range(7):
        registered()
    clock.leap(days=91)
    sizes: list[int] = []

    def measure(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith('DELETE FROM "authapp_application"'):
            sizes.append(len(params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(measure):
        assert clear_unused_clients("--batch-size", "3") == 7
    assert sizes == [3, 3, 1]
    assert not Application.objects.exists()


def test_rows_that_stay_do_not_stop_the_batches(alice: Any, clock: Clock) -> None:
    kept = [Application.objects.get(client_id=registered()["client_id"]) for _ in range(4)]
    Application.objects.update(last_authorized_at=timezone.now())
    for _ in range(2):
        registered()
    clock.leap(days=91)
    assert clear_unused_clients("--batch-size", "1") == 2
    assert set(Application.objects.values_list("pk", flat=True)) == {client.pk for client in kept}


@pytest.mark.django_db(transaction=True)
def test_a_client_that_is_authorized_after_it_was_found_and_before_it_is_locked_stays(alice: Any, clock: Clock) -> None:
    used = registered()["client_id"]
    registered()
    clock.leap(days=91)
    found = Event()

    def authorize_in_between(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        rows = execute(sql, params, many, context)
        if not found.is_set() and sql.startswith("SELECT") and '"authapp_application"' in sql:
            found.set()
            at_once(lambda: authorize(alice, used, PKCE()))
        return rows

    with connection.execute_wrapper(authorize_in_between):
        assert clear_unused_clients() == 1
    assert found.is_set()
    assert [client.client_id for client in Application.objects.all()] == [used]
    assert Grant.objects.get().application.client_id == used


@pytest.mark.skipif(not SKIPS_LOCKED, reason="SQLite has one writer and no row locks")
@pytest.mark.django_db(transaction=True)
def test_a_client_that_a_request_holds_is_left_for_the_next_run_without_waiting(clock: Clock) -> None:
    held = registered()["client_id"]
    registered()
    clock.leap(days=91)

    def clean() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")  # whoever waits fails
        try:
            return clear_unused_clients()
        finally:
            connection.close()

    with transaction.atomic():
        Application.objects.select_for_update().get(client_id=held)
        assert at_once(clean) == [1]
    assert [client.client_id for client in Application.objects.all()] == [held]
    assert clear_unused_clients() == 1


@pytest.mark.django_db(transaction=True)
def test_parallel_runs_delete_every_row_once(alice: Any, clock: Clock) -> None:
    for _ in range(40):
        registered()
    client, tokens = connected(alice)
    for _ in range(20):
        tokens = refresh(client["client_id"], tokens["refresh_token"]).json()
    clock.leap(days=91)
    kept = registered()
    assert sum(at_once(*[lambda: clear_unused_clients("--batch-size", "3")] * 4)) == 40
    assert set(Application.objects.values_list("client_id", flat=True)) == {client["client_id"], kept["client_id"]}
    total: Counter[str] = Counter()
    for counts in at_once(*[lambda: clear_expired_tokens("--batch-size", "3")] * 4):
        total.update(counts)
    clear_expired_tokens()  # what one run had locked, another may have passed over
    assert total["refresh tokens"] == 21
    assert not RefreshToken.objects.exists()
    assert not TokenFamily.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_people_register_and_sign_in_while_old_rows_are_deleted(alice: Any, bob: Any, clock: Clock) -> None:
    for _ in range(30):
        registered()
    clock.leap(days=91)

    def traffic() -> str:
        _, tokens = connected(bob)
        return str(tokens["access_token"])

    def clean() -> int:
        clear_expired_tokens("--batch-size", "1")
        return clear_unused_clients("--batch-size", "1")

    answers = at_once(traffic, clean, traffic, clean, traffic)
    assert sum(answer for answer in answers if isinstance(answer, int)) == 30
    assert len({answer for answer in answers if isinstance(answer, str)}) == 3
    assert Application.objects.count() == 3
    assert AccessToken.objects.filter(user=bob).count() == 3


# Codes, tokens, audit events, sessions


def test_each_kind_is_counted_on_a_line_of_its_own() -> None:
    assert run("clear_expired_tokens").splitlines() == [
        "Deleted 0 authorization codes.",
        "Deleted 0 device authorizations.",
        "Deleted 0 refresh tokens.",
        "Deleted 0 access tokens.",
        "Deleted 0 token families.",
        "Deleted 0 audit events.",
        "Deleted 0 attempts.",
        "Deleted 0 used assertions.",
        "Deleted 0 key sets.",
        "Deleted 0 sessions.",
    ]


def test_an_expired_code_goes_and_a_fresh_one_still_works(alice: Any, clock: Clock) -> None:
    client_id = registered()["client_id"]
    authorize(alice, client_id, PKCE())
    clock.leap(minutes=9)
    pkce = PKCE()
    code = authorize(alice, client_id, pkce)["code"]
    clock.leap(minutes=2)
    assert clear_expired_tokens() == {"authorization codes": 1}
    assert redeem(client_id, code, pkce).status_code == 200


def test_an_expired_access_token_stays_while_its_refresh_token_lives(alice: Any, clock: Clock) -> None:
    client, tokens = connected(alice)
    clock.leap(days=29)
    assert clear_expired_tokens().get("access tokens") is None
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200


def test_a_registration_token_stays(alice: Any, clock: Clock) -> None:
    connected(alice)
    assert AccessToken.objects.count() == 2
    clock.leap(days=5000)
    assert clear_expired_tokens()["access tokens"] == 1
    assert AccessToken.objects.get().user is None


def test_an_expired_access_token_whose_refresh_token_was_revoked_goes(alice: Any, clock: Clock) -> None:
    connected(alice)
    RefreshToken.objects.update(revoked=timezone.now())
    assert clear_expired_tokens() == {}
    clock.leap(hours=1, seconds=1)
    assert clear_expired_tokens() == {"access tokens": 1}


def test_a_login_that_was_not_used_for_its_whole_lifetime_goes_with_all_that_belonged_to_it(
    alice: Any, clock: Clock
) -> None:
    client, tokens = connected(alice)
    clock.leap(days=30)  # and the hour of the access token, as the validator counts
    assert clear_expired_tokens().get("refresh tokens") is None
    clock.leap(hours=1, minutes=1)
    assert refresh(client["client_id"], tokens["refresh_token"]).json()["error"] == "invalid_grant"
    cleared = clear_expired_tokens()
    assert {name: cleared[name] for name in ("refresh tokens", "access tokens", "token families")} == {
        "refresh tokens": 1,
        "access tokens": 1,
        "token families": 1,
    }
    assert not RefreshToken.objects.exists()
    assert not AccessToken.objects.filter(user=alice).exists()
    assert not TokenFamily.objects.exists()


def test_a_refresh_token_without_an_access_token_goes(alice: Any) -> None:
    """It is worth nothing: the validator refuses it, and nothing says when it would end."""
    connected(alice)
    connected(alice)
    AccessToken.objects.filter(user=alice).first().delete()  # type: ignore[union-attr]
    assert clear_expired_tokens() == {"refresh tokens": 1}
    assert RefreshToken.objects.get().access_token is not None


@pytest.mark.rfc("9700 4.14.2")
def test_a_replay_of_a_used_refresh_token_is_recognised_until_its_successor_would_have_expired(
    alice: Any, clock: Clock
) -> None:
    client, first = connected(alice)
    second = refresh(client["client_id"], first["refresh_token"]).json()
    clock.leap(days=15)
    third = refresh(client["client_id"], second["refresh_token"]).json()
    clock.leap(days=15)
    clear_expired_tokens()
    assert RefreshToken.objects.count() == 3
    assert Rotation.objects.count() == 2
    assert refresh(client["client_id"], first["refresh_token"]).json()["error"] == "invalid_grant"
    assert not RefreshToken.objects.filter(revoked=None).exists(), "the replay ended the family"
    assert refresh(client["client_id"], third["refresh_token"]).json()["error"] == "invalid_grant"


def test_used_refresh_tokens_of_a_login_that_lives_on_do_not_pile_up_for_ever(alice: Any, clock: Clock) -> None:
    client, tokens = connected(alice)
    for _ in range(10):
        clock.leap(days=10)
        tokens = refresh(client["client_id"], tokens["refresh_token"]).json()
        clear_expired_tokens()
    assert RefreshToken.objects.count() == 5  # the live one, and those used within the last 30 days and an hour
    assert Rotation.objects.count() == 4
    assert TokenFamily.objects.count() == 1
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200


@pytest.mark.rfc("6749 4.1.2")
def test_a_replay_of_a_code_is_recognised_as_long_as_the_login_lives(alice: Any, clock: Clock) -> None:
    client = registered()
    pkce = PKCE()
    code = authorize(alice, client["client_id"], pkce)["code"]
    tokens = redeem(client["client_id"], code, pkce).json()
    for _ in range(3):
        clock.leap(days=20)
        tokens = refresh(client["client_id"], tokens["refresh_token"]).json()
        assert clear_expired_tokens().get("token families") is None
    assert redeem(client["client_id"], code, pkce).json()["error"] == "invalid_grant"
    assert refresh(client["client_id"], tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_without_a_lifetime_no_login_ends(settings: Any, alice: Any, clock: Clock) -> None:
    settings.OAUTH2_PROVIDER = django_settings.OAUTH2_PROVIDER | {"REFRESH_TOKEN_EXPIRE_SECONDS": None}
    client, first = connected(alice)
    second = refresh(client["client_id"], first["refresh_token"]).json()
    clock.leap(days=360)
    clear_expired_tokens()
    assert RefreshToken.objects.count() == 2
    assert TokenFamily.objects.count() == 1
    assert refresh(client["client_id"], second["refresh_token"]).status_code == 200


def test_audit_events_go_after_a_year_unless_the_settings_say_otherwise(settings: Any, clock: Clock) -> None:
    AuditEvent.objects.create(action=AuditEvent.Action.CONSENT_GIVEN)
    clock.leap(days=364)
    AuditEvent.objects.create(action=AuditEvent.Action.DISCONNECTED)
    assert clear_expired_tokens() == {}
    clock.leap(days=2)
    assert clear_expired_tokens() == {"audit events": 1}
    assert AuditEvent.objects.get().action == AuditEvent.Action.DISCONNECTED
    clock.leap(days=5000)
    settings.AUTHAPP = django_settings.AUTHAPP | {"AUDIT_RETENTION_DAYS": 0}
    assert clear_expired_tokens() == {}
    settings.AUTHAPP = django_settings.AUTHAPP | {"AUDIT_RETENTION_DAYS": 5003}
    assert clear_expired_tokens() == {}
    settings.AUTHAPP = django_settings.AUTHAPP | {"AUDIT_RETENTION_DAYS": 5001}
    assert clear_expired_tokens() == {"audit events": 1}


def test_expired_sessions_go_and_people_who_are_signed_in_stay_so(alice: Any, bob: Any, clock: Clock) -> None:
    browser(alice)
    clock.leap(days=10)
    bobs = browser(bob)
    assert Session.objects.count() == 2
    clock.leap(days=5)
    assert clear_expired_tokens() == {"sessions": 1}
    assert Session.objects.count() == 1
    assert bobs.get("/connected-apps/").status_code == 200


def test_sessions_that_are_kept_elsewhere_are_cleared_there(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.file"
    monkeypatch.setattr(FileSession, "_storage_path", str(tmp_path), raising=False)
    for seconds in (-60, 3600):
        session = FileSession()
        session.set_expiry(seconds)
        session.save()
    assert len(list(tmp_path.iterdir())) == 2
    assert "sessions" not in run("clear_expired_tokens")
    assert len(list(tmp_path.iterdir())) == 1
