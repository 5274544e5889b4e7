"""The owner of a site sees of every attempt to connect how far it came, why it is stuck, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override

from authapp import attempts, causes
from authapp.models import Application, ConnectionAttempt, TokenFamily
from mcpapp.door_log import Fact
from tests.oauth import (
    PKCE,
    RESOURCE,
    authorization_url,
    authorize,
    browser,
    connected,
    redeem,
    refresh,
    register,
    registered,
)

pytestmark = pytest.mark.django_db
URL = "/admin/authapp/connectionattempt/"


@pytest.fixture(autouse=True)
def _nobody_was_seen() -> Iterator[None]:
    attempts._seen_at.clear()
    with override("en"):  # Django leaves the language of the last request active
        yield


@pytest.fixture
def owner(db: None) -> Any:
    """A browser in which the owner of the site is signed in."""
    return browser(get_user_model().objects.create_superuser("owner", password="owner-password"))


def the_attempt() -> ConnectionAttempt:
    return ConnectionAttempt.objects.get()


def fact(kind: Any, client: dict[str, Any], user: Any, **more: Any) -> Fact:
    return Fact(kind, timezone.now(), client_id=client["client_id"], user_key=str(user.pk), **more)


def age(**ago: float) -> None:
    """Let time pass over what was noted."""
    moved = timedelta(**ago)
    for one in ConnectionAttempt.objects.all():
        for field in ("started_at", "last_at", "problem_at", *(name for name, _title in ConnectionAttempt.STAGES)):
            value = getattr(one, field)
            setattr(one, field, value and value - moved)
        one.save()


def test_an_attempt_is_followed_from_the_metadata_to_the_first_good_call(alice: Any) -> None:
    browser().get("/.well-known/oauth-authorization-server")
    client = registered()
    pkce = PKCE()
    browser().get(authorization_url(client["client_id"], pkce))
    signed_in = browser(alice)
    signed_in.get(authorization_url(client["client_id"], pkce))
    code = authorize(alice, client["client_id"], pkce)["code"]
    assert redeem(client["client_id"], code, pkce).status_code == 200
    attempts.hear_of([fact("accepted", client, alice)])
    attempt = the_attempt()
    assert causes.cause_of(attempt).state == "connected"
    attempts.hear_of([fact("answered", client, alice)])
    attempt = the_attempt()
    reached = [getattr(attempt, field) for field, _name in ConnectionAttempt.STAGES]
    assert None not in reached
    assert reached == sorted(reached)
    assert (attempt.user, attempt.client_id) == (alice, client["client_id"])
    assert causes.cause_of(attempt) == causes.Cause("healthy")


# --- Broken clients ----------------------------------------------------------------------------------------------


def refused_registration(alice: Any) -> None:
    register(redirect_uris=["javascript:alert(1)"])


def forgotten_client(alice: Any) -> None:
    browser().get(authorization_url("a-client-of-before-the-database-was-new", PKCE()))


def other_redirect_uri(alice: Any) -> None:
    browser().get(authorization_url(registered()["client_id"], PKCE(), redirect_uri="https://elsewhere.example/cb"))


def other_resource(alice: Any) -> None:
    browser().get(authorization_url(registered()["client_id"], PKCE(), resource="http://127.0.0.1:8000/mcp"))


def other_scope(alice: Any) -> None:
    browser().get(authorization_url(registered()["client_id"], PKCE(), scope="everything"))


def without_pkce(alice: Any) -> None:
    parameters = {"code_challenge": None, "code_challenge_method": None}
    browser().get(authorization_url(registered()["client_id"], PKCE(), **parameters))


def nobody_signs_in(alice: Any) -> None:
    browser().get(authorization_url(registered()["client_id"], PKCE()))
    age(minutes=11)


def nobody_answers(alice: Any) -> None:
    browser(alice).get(authorization_url(registered()["client_id"], PKCE()))
    age(minutes=11)


def no_browser(alice: Any) -> None:
    registered()
    age(minutes=11)


def says_no(alice: Any) -> None:
    authorize(alice, registered()["client_id"], PKCE(), allow=False)


def disabled_client(alice: Any) -> None:
    client, pkce = registered(), PKCE()
    code = authorize(alice, client["client_id"], pkce)["code"]
    Application.objects.update(disabled_at=timezone.now())
    assert redeem(client["client_id"], code, pkce).status_code == 401


def disabled_before_it_asks(alice: Any) -> None:
    client = registered()
    Application.objects.update(disabled_at=timezone.now())
    browser().get(authorization_url(client["client_id"], PKCE()))


def never_fetches(alice: Any) -> None:
    browser(alice).get(authorization_url(registered()["client_id"], pkce := PKCE()))
    authorize(alice, Application.objects.get().client_id, pkce)
    age(minutes=11)


def other_verifier(alice: Any) -> None:
    client = registered()
    code = authorize(alice, client["client_id"], PKCE())["code"]
    assert redeem(client["client_id"], code, PKCE()).status_code == 400


def code_too_old(alice: Any) -> None:
    client, pkce = registered(), PKCE()
    code = authorize(alice, client["client_id"], pkce)["code"]
    from oauth2_provider.models import get_grant_model

    get_grant_model().objects.update(expires=timezone.now() - timedelta(minutes=1))
    assert redeem(client["client_id"], code, pkce).status_code == 400


def other_redirect_uri_at_token(alice: Any) -> None:
    client, pkce = registered(), PKCE()
    code = authorize(alice, client["client_id"], pkce)["code"]
    assert redeem(client["client_id"], code, pkce, redirect_uri="http://127.0.0.1:7777/other").status_code == 400


def other_resource_at_token(alice: Any) -> None:
    client, pkce = registered(), PKCE()
    code = authorize(alice, client["client_id"], pkce)["code"]
    assert redeem(client["client_id"], code, pkce, resource="http://127.0.0.1:8000/mcp").status_code == 400


def never_calls(alice: Any) -> None:
    connected(alice)
    age(minutes=11)


def without_authorization(alice: Any) -> None:
    connected(alice)
    attempts.hear_of([Fact("refused", timezone.now(), ip_address="127.0.0.1", reason="no_token")])


def other_resource_at_the_door(alice: Any) -> None:
    client, _tokens = connected(alice)
    problem = "issued for http://127.0.0.1:8000/star, this is http://127.0.0.1:8000/mcp"
    attempts.hear_of([fact("refused", client, alice, reason="other_resource", detail=problem)])


def never_refreshes(alice: Any) -> None:
    client, _tokens = connected(alice)
    attempts.hear_of([fact("accepted", client, alice)])
    attempts.hear_of([fact("refused", client, alice, reason="expired", detail="expired")])


def login_ended(alice: Any) -> None:
    client, tokens = connected(alice)
    attempts.hear_of([fact("accepted", client, alice), fact("answered", client, alice)])
    browser(alice).post("/connected-apps/disconnect-all/", {"confirmed": "yes"})
    assert refresh(client["client_id"], tokens["refresh_token"] + "x").status_code == 400


def every_call_fails(alice: Any) -> None:
    client, _tokens = connected(alice)
    attempts.hear_of([fact("accepted", client, alice), fact("failed", client, alice, reason="needs_scopes")])


STUCK: list[tuple[Callable[[Any], None], str]] = [
    (refused_registration, "The registration was refused (invalid_redirect_uri)"),
    (forgotten_client, "a-client-of-before-the-database-was-new, which is not known here"),
    (other_redirect_uri, "The redirect URI is not registered: https://elsewhere.example/cb"),
    (other_resource, f"It asked for the resource http://127.0.0.1:8000/mcp; this server is {RESOURCE}"),
    (other_scope, "scopes that are not offered: everything"),
    (without_pkce, "Its authorization request is not in order"),
    (no_browser, "no browser came"),
    (nobody_signs_in, "nobody signed in"),
    (nobody_answers, "did not answer on the consent page"),
    (says_no, "The person said no"),
    (disabled_client, "The client is disabled"),
    (disabled_before_it_asks, "The client is disabled"),
    (never_fetches, "never fetched its tokens: the browser could not reach"),
    (other_verifier, "the PKCE verifier does not fit"),
    (code_too_old, "the code had expired"),
    (other_redirect_uri_at_token, "is not the one it signed in with"),
    (other_resource_at_token, "the token endpoint for the resource http://127.0.0.1:8000/mcp"),
    (never_calls, "drops the Authorization header or blocks its user agent"),
    (without_authorization, "come without an Authorization header"),
    (other_resource_at_the_door, "Its token is for another resource"),
    (never_refreshes, "has expired, and does not refresh it"),
    (login_ended, "Its login has ended"),
    (every_call_fails, "its calls of tools fail (needs_scopes)"),
]


@pytest.mark.parametrize(("broken", "words"), STUCK, ids=[one.__name__ for one, _words in STUCK])
def test_a_broken_client_is_shown_as_stuck_with_the_cause_in_plain_words_and_a_way_out(
    alice: Any, owner: Any, broken: Callable[[Any], None], words: str
) -> None:
    broken(alice)
    found = causes.cause_of(the_attempt())
    assert found.state == "stuck"
    assert words in found.cause
    assert found.fix
    page = owner.get(URL).content.decode()
    assert 'class="attempt-state stuck"' in page
    assert words.partition(" (")[0].partition("://")[0] in page.replace("&#x27;", "'")


def test_what_is_not_stuck_is_not_called_so(alice: Any, owner: Any) -> None:
    """The positive control: the same steps by a client that works."""
    client, _tokens = connected(alice)
    attempts.hear_of([fact("accepted", client, alice), fact("answered", client, alice)])
    age(minutes=11)
    page = owner.get(URL).content.decode()
    assert 'class="attempt-state healthy"' in page
    assert 'class="attempt-state stuck"' not in page


def test_an_attempt_that_goes_on_is_no_longer_stuck(alice: Any) -> None:
    other_verifier(alice)
    assert the_attempt().problem
    client = {"client_id": Application.objects.get().client_id}
    connected(alice, client)
    former, latest = ConnectionAttempt.objects.order_by("pk")[:1].get(), ConnectionAttempt.objects.latest("pk")
    attempts.hear_of([fact("accepted", client, alice), fact("answered", client, alice)])
    latest.refresh_from_db()
    assert causes.cause_of(latest).state == "healthy"
    assert former.pk == latest.pk or causes.cause_of(former).state == "retried"


def test_a_new_try_makes_the_one_before_it_history(alice: Any) -> None:
    client, _tokens = connected(alice)  # and its tokens never arrive
    age(minutes=11)
    connected(alice, client)
    first, second = ConnectionAttempt.objects.order_by("pk")
    assert causes.cause_of(first).state == "retried"
    assert second.token_issued_at is not None


def test_a_refusal_at_the_clients_own_address_is_told_of_the_attempt_of_its_person(alice: Any, bob: Any) -> None:
    """A client on the web fetches tokens from its own servers, the browser is elsewhere, and many people use it."""
    client, tokens = connected(alice)
    connected(bob, client)
    ConnectionAttempt.objects.update(ip_address="198.51.100.7", client_address="203.0.113.5")
    attempts.hear_of([fact("accepted", client, alice), fact("answered", client, alice)])
    TokenFamily.objects.filter(user=alice).update(ended_at=timezone.now())
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 400
    assert ConnectionAttempt.objects.get(user=alice).problem == "refresh_refused"
    assert ConnectionAttempt.objects.get(user=bob).problem == ""
    attempts.hear_of([fact("answered", client, alice)])
    assert ConnectionAttempt.objects.get(user=alice).problem == "", "another login of theirs works"


def test_many_calls_without_a_token_cost_one_statement(alice: Any) -> None:
    connected(alice)
    now = timezone.now()
    facts = [Fact("refused", now, ip_address=f"198.51.100.{number}", reason="no_token") for number in range(200)]
    with CaptureQueriesContext(connection) as captured:
        attempts.hear_of(facts)
    assert len([query for query in captured if "UPDATE" in query["sql"]]) == 1
    assert not the_attempt().problem
    attempts.hear_of([*facts, Fact("refused", timezone.now(), ip_address="127.0.0.1", reason="no_token")][-1:])
    assert the_attempt().problem == "authorization_dropped"


def test_behind_a_socket_without_addresses_attempts_are_followed_too(alice: Any) -> None:
    client = registered()
    person = browser(alice)
    url = authorization_url(client["client_id"], PKCE())
    person.get(url, REMOTE_ADDR="")
    person.post(url, {"allow": "true"}, REMOTE_ADDR="")
    assert the_attempt().consented_at is not None


def test_two_people_with_one_client_have_an_attempt_each(alice: Any, bob: Any) -> None:
    client, _tokens = connected(alice)
    connected(bob, client)
    attempts.hear_of([fact("accepted", client, bob)])
    assert ConnectionAttempt.objects.get(user=alice).first_call_at is None
    assert ConnectionAttempt.objects.get(user=bob).first_call_at is not None


def test_strangers_fill_no_table(db: None) -> None:
    for number in range(60):
        browser().get(authorization_url(f"made-up-{number}", PKCE()))
        browser().get("/o/authorize/?client_id=" + "x" * 3000)
    assert ConnectionAttempt.objects.count() == 1
    for number in range(400):
        meta = {"REMOTE_ADDR": f"198.51.{number // 250}.{number % 250 + 1}"}
        browser().get(authorization_url("made-up", PKCE()), **meta)
    assert ConnectionAttempt.objects.count() <= attempts.STRANGERS + 2
    cache.clear()


def test_what_a_stranger_sends_is_shown_as_text(owner: Any) -> None:
    browser().get(authorization_url("<script>alert(1)</script>\n", PKCE()))
    page = owner.get(URL).content.decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_no_secret_is_kept_of_an_attempt(alice: Any) -> None:
    client, pkce = registered(), PKCE()
    code = authorize(alice, client["client_id"], pkce, state="the-secret-state")["code"]
    tokens = redeem(client["client_id"], code, pkce).json()
    refresh(client["client_id"], tokens["refresh_token"] + "x")
    register(redirect_uris=[tokens["access_token"]])
    misplaced = {"redirect_uri": f"https://app.example/{tokens['access_token']}?code={code}", "state": None}
    browser().get(authorization_url(client["client_id"], pkce, **misplaced))
    browser().get(authorization_url(tokens["access_token"], pkce))
    kept = str(list(ConnectionAttempt.objects.values()))
    for secret in (code, pkce.verifier, "the-secret-state", tokens["access_token"], tokens["refresh_token"]):
        assert secret not in kept
    assert client["client_id"] in kept


def test_a_database_that_takes_no_note_stops_nobody(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def fails(*_: Any, **__: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(attempts, "_find", fails)
    assert browser().get("/.well-known/oauth-authorization-server").status_code == 200
    assert browser().get(authorization_url("unknown", PKCE())).status_code == 400


def test_with_no_days_nothing_is_followed(alice: Any, settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "ATTEMPT_DAYS": 0}
    client, _tokens = connected(alice)
    forgotten_client(alice)
    attempts.hear_of([fact("accepted", client, alice)])
    assert not ConnectionAttempt.objects.exists()


def test_old_attempts_are_deleted(alice: Any) -> None:
    connected(alice)
    age(days=29)
    call_command("clear_expired_tokens", verbosity=0)
    assert ConnectionAttempt.objects.count() == 1
    age(days=2)
    call_command("clear_expired_tokens", verbosity=0)
    assert not ConnectionAttempt.objects.exists()


# --- The page ----------------------------------------------------------------------------------------------------


def test_the_funnel_counts_who_came_how_far_and_the_stuck_are_on_top(alice: Any, bob: Any, owner: Any) -> None:
    healthy, _tokens = connected(alice)
    attempts.hear_of([fact("accepted", healthy, alice), fact("answered", healthy, alice)])
    authorize(bob, registered()["client_id"], PKCE(), allow=False)
    response = owner.get(URL)
    counts = [stage["count"] for stage in response.context["funnel"]]
    assert counts == [2, 2, 1, 1, 1, 1, 1, 1]
    shown = [one.user for one in response.context["cl"].result_list]
    assert shown == [bob, alice]
    only = owner.get(f"{URL}?state=healthy")
    assert [one.user for one in only.context["cl"].result_list] == [alice]


def test_the_page_is_there_in_chinese(alice: Any, owner: Any) -> None:
    authorize(alice, registered()["client_id"], PKCE(), allow=False)
    with override("zh-hans"):
        page = owner.get(URL, headers={"accept-language": "zh-hans"}).content.decode()
    assert "用户拒绝了。" in page


def test_who_may_not_see_attempts_sees_none(alice: Any, bob: Any) -> None:
    authorize(alice, registered()["client_id"], PKCE(), allow=False)
    bob.is_staff = True
    bob.save()
    assert browser(bob).get(URL).status_code == 403
    assert "connectionattempt" not in browser(bob).get("/admin/").content.decode()
    bob.user_permissions.add(Permission.objects.get(codename="view_connectionattempt"))
    page = browser(get_user_model().objects.get(pk=bob.pk)).get(URL)
    assert page.status_code == 200
    assert "The person said no." in page.content.decode()


def test_nobody_changes_or_deletes_one(alice: Any, owner: Any) -> None:
    authorize(alice, registered()["client_id"], PKCE(), allow=False)
    pk = the_attempt().pk
    assert owner.get(f"{URL}{pk}/change/").status_code == 200
    assert owner.post(f"{URL}{pk}/change/", {"problem": ""}).status_code == 403
    assert owner.post(f"{URL}{pk}/delete/", {"post": "yes"}).status_code == 403
    assert owner.get(f"{URL}add/").status_code == 403


def test_the_page_asks_the_database_as_often_for_fifty_as_for_one(alice: Any, owner: Any) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert owner.get(URL).status_code == 200
        return len(captured)

    client, _tokens = connected(alice)
    queries()
    few = queries()
    application = Application.objects.get()
    now = timezone.now()
    ConnectionAttempt.objects.bulk_create(
        ConnectionAttempt(
            application=application,
            client_id=client["client_id"],
            user=alice,
            started_at=now,
            last_at=now,
            shown_at=now,
        )
        for _ in range(60)
    )
    assert queries() == few
