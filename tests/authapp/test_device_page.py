"""The pages on which a person connects a device (RFC 8628 §3.3, §5.1, §5.4)."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from bs4 import BeautifulSoup
from django.conf import settings as django_settings
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from authapp import user_agents, user_codes
from authapp.models import Application, AuditEvent, Connection, DeviceAuthorization
from tests.authapp.test_device_flow import Clock, clock, still
from tests.devices import (
    DEVICE_CODE,
    PAGE,
    ask,
    asked,
    decide,
    device_client,
    device_connected,
    enter,
    poll,
    sealed,
)
from tests.oauth import HOST, ISSUER, PKCE, RESOURCE, authorization_url, authorize, browser

__all__ = ["clock", "still"]
pytestmark = pytest.mark.django_db
NO_SUCH_CODE = "This code is not valid, or not any more. Check it, or start again on your device."


def text_of(response: Any) -> str:
    return " ".join(BeautifulSoup(response.content, "html.parser").get_text(" ").split())


def waiting() -> tuple[str, dict[str, Any]]:
    client_id = device_client(client_name="Headless box")["client_id"]
    return client_id, asked(client_id)


# --- User codes ---------------------------------------------------------------------------------------------


@pytest.mark.rfc("8628 6.1")
@pytest.mark.parametrize(
    "typed",
    [
        "WDJB-MJHT",
        "WDJBMJHT",
        "wdjb-mjht",
        "  wdjb mjht\n",
        "W D J B M J H T",
        "WDJB\u2013MJHT",
        "wdjb_mjht.",
        "\u201cWDJB-MJHT\u201d",
        "\uff37\uff24\uff2a\uff22\uff0d\uff2d\uff2a\uff28\uff34",
    ],
)
def test_a_code_is_read_in_any_spelling(typed: str) -> None:
    assert user_codes.read(typed) == "WDJBMJHT"
    assert user_codes.shown("WDJBMJHT") == "WDJB-MJHT"


@pytest.mark.parametrize("typed", ["", "WDJBMJH", "WDJBMJHTT", "WDJB-MJH1", "ADJB-MJHT", "-" * 8, "WDJBMJHT" * 20])
def test_what_cannot_be_a_code_is_none(typed: str) -> None:
    assert user_codes.read(typed) is None


@pytest.mark.rfc("8628 6.1")
def test_a_code_is_eight_of_twenty_letters() -> None:
    codes = {user_codes.generate() for _ in range(500)}
    assert len(codes) == 500
    assert {letter for code in codes for letter in code} == set(user_codes.ALPHABET)
    assert len(set(user_codes.ALPHABET)) == 20
    assert {len(code) for code in codes} == {8}


# --- The form -----------------------------------------------------------------------------------------------


def test_who_is_not_signed_in_signs_in_first() -> None:
    response = browser().get(PAGE)
    assert response.status_code == 302
    assert response["Location"] == "/accounts/login/?next=/device/"
    assert browser().post(PAGE, {"user_code": "WDJB-MJHT"})["Location"].startswith("/accounts/login/?next=/device/")
    assert "to connect a client" in text_of(browser().get(response["Location"]))


def test_without_a_slash_it_is_the_same_page(alice: Any) -> None:
    assert "Enter the code" in text_of(browser(alice).get("/device"))


@pytest.mark.rfc("8628 3.3.1")
def test_a_code_in_the_url_fills_the_form_and_does_nothing_else(alice: Any) -> None:
    client_id, answer = waiting()
    response = browser(alice).get(urlsplit(answer["verification_uri_complete"]).path, {"user_code": "wdjb mjht"})
    assert 'value="WDJB-MJHT"' in response.content.decode()
    response = browser(alice).get(answer["verification_uri_complete"].removeprefix(ISSUER))
    assert f'value="{answer["user_code"]}"' in response.content.decode()
    assert "Headless box" not in text_of(response)
    assert poll(client_id, answer["device_code"]).json()["error"] == "authorization_pending"


def test_who_opens_the_complete_link_where_they_are_not_signed_in_gets_a_qr_code_and_a_way_on(alice: Any) -> None:
    _, answer = waiting()
    link = answer["verification_uri_complete"]
    response = browser().get(link.removeprefix(ISSUER))
    assert response.status_code == 200
    page = BeautifulSoup(response.content, "html.parser")
    assert page.select_one(".qr-code svg title").get_text(strip=True) == f"QR code of {link}"
    assert link in text_of(response), "for who has no camera"
    assert answer["user_code"] in text_of(response)
    target = page.find("a", string=re.compile("Sign in to continue"))["href"]
    assert parse_qs(urlsplit(target).query)["next"] == [link.removeprefix(ISSUER)]
    assert "Headless box" not in text_of(response)


def test_the_page_with_the_qr_code_looks_nothing_up() -> None:
    """So that nobody can try codes out there without signing in."""
    _, answer = waiting()
    right = browser().get(answer["verification_uri_complete"].removeprefix(ISSUER))
    wrong = browser().get(f"{PAGE}?user_code=BBBB-BBBB")
    assert right.status_code == wrong.status_code == 200
    assert text_of(right).replace(answer["user_code"], "BBBB-BBBB") == text_of(wrong)


def test_the_qr_code_is_the_complete_link() -> None:
    """Held by drawing it again from the modules that the library makes for the same text."""
    from qrcode.constants import ERROR_CORRECT_M
    from qrcode.main import QRCode

    _, answer = waiting()
    response = browser().get(answer["verification_uri_complete"].removeprefix(ISSUER))
    svg = BeautifulSoup(response.content, "html.parser").select_one(".qr-code svg")
    size = int(svg["viewbox"].split()[2])
    drawn = [[False] * size for _ in range(size)]
    for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1", svg.select("path")[1]["d"]):
        for at in range(int(x), int(x) + int(width)):
            drawn[int(y)][at] = True
    code = QRCode(border=4, error_correction=ERROR_CORRECT_M)
    code.add_data(answer["verification_uri_complete"])
    assert drawn == code.get_matrix()


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><svg onload=alert(1)>', "\x00", "\ud800", "x" * 5000])
def test_an_odd_code_in_the_url_is_text_at_most(alice: Any, text: str) -> None:
    for visitor, status in ((browser(alice), 200), (browser(), 302)):
        response = visitor.get(PAGE, {"user_code": text.encode("utf-8", "surrogatepass")})
        assert response.status_code in {status, 400}
        assert b"<script>alert" not in response.content
        assert b"<svg onload" not in response.content


def test_what_was_typed_wrong_stays_in_the_form_as_text(alice: Any) -> None:
    response = enter(alice, "<script>alert(1)</script>")
    assert html.escape("<script>alert(1)</script>") in response.content.decode()
    assert b"<script>alert" not in response.content


@pytest.mark.rfc("8628 5.1")
def test_a_code_that_is_wrong_over_answered_or_of_a_disabled_client_gets_one_and_the_same_answer(
    alice: Any, bob: Any, clock: Clock
) -> None:
    pages = {}
    _, answer = waiting()
    pages["wrong"] = enter(alice, "BBBB-BBBB")
    pages["no code"] = enter(alice, "WDJB-MJH1")
    pages["empty"] = enter(alice, "")
    decide(alice, answer["user_code"])
    pages["allowed, by somebody else"] = enter(bob, answer["user_code"])
    pages["allowed"] = enter(alice, answer["user_code"])
    client_id, answer = waiting()
    decide(bob, answer["user_code"], allow=False)
    pages["denied"] = enter(alice, answer["user_code"])
    client_id, answer = waiting()
    decide(alice, answer["user_code"])
    assert poll(client_id, answer["device_code"]).status_code == 200
    pages["used"] = enter(alice, answer["user_code"])
    _, answer = waiting()
    assert enter(alice, answer["user_code"]).status_code == 200, "a good one"
    clock.leap(601)
    pages["over"] = enter(alice, answer["user_code"])
    _, answer = waiting()
    Application.objects.update(disabled_at=timezone.now())
    pages["disabled"] = enter(alice, answer["user_code"])
    assert {name: page.status_code for name, page in pages.items()} == dict.fromkeys(pages, 400)
    without_values = {re.sub(r' value="[^"]*"', "", page.content.decode()) for page in pages.values()}
    assert len({text.replace("bob", "alice") for text in without_values}) == 1
    assert NO_SUCH_CODE in text_of(pages["wrong"])


@pytest.mark.rfc("8628 5.1")
def test_a_person_tries_ten_codes_and_then_waits(alice: Any, bob: Any, still: None) -> None:
    _, answer = waiting()
    wrong = [enter(alice, "BBBB-BBBB") for _ in range(10)]
    assert [response.status_code for response in wrong] == [400] * 10
    assert b'aria-invalid="true"' in wrong[-1].content
    refused = enter(alice, answer["user_code"])
    assert b"aria-invalid" not in refused.content, "it was not looked at"
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 60
    assert "Too many codes were entered" in text_of(refused)
    assert "Headless box" not in text_of(refused)
    assert enter(bob, answer["user_code"]).status_code == 200, "another person"


@pytest.mark.rfc("8628 5.1")
def test_an_address_tries_sixty_codes_with_all_its_accounts(alice: Any, django_user_model: Any, still: None) -> None:
    _, answer = waiting()
    people = [django_user_model.objects.create_user(f"person{number}") for number in range(7)]
    for person in people[:6]:
        assert {enter(person, "BBBB-BBBB").status_code for _ in range(10)} == {400}
    assert enter(people[6], answer["user_code"]).status_code == 429
    assert enter(people[6], answer["user_code"], REMOTE_ADDR="198.51.100.9").status_code == 200, "another address"


def test_who_tries_too_many_codes_uses_up_nobody_elses(alice: Any, bob: Any, still: None) -> None:
    _, answer = waiting()
    assert [enter(alice, "BBBB-BBBB").status_code for _ in range(70)] == [400] * 10 + [429] * 60
    assert enter(bob, answer["user_code"]).status_code == 200, "at the same address"


def test_after_a_minute_a_person_may_try_one_more(alice: Any, clock: Clock) -> None:
    _, answer = waiting()
    for _ in range(10):
        enter(alice, "BBBB-BBBB")
    assert enter(alice, answer["user_code"]).status_code == 429
    clock.leap(61)
    assert enter(alice, answer["user_code"]).status_code == 200
    assert enter(alice, answer["user_code"]).status_code == 429


def test_without_a_cache_nobody_can_try_codes_out(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, answer = waiting()
    with monkeypatch.context() as patch:
        patch.setattr(type(cache._connections[cache._alias]), "get", lambda *args, **options: 1 / 0)
        assert enter(alice, answer["user_code"]).status_code == 429
    assert enter(alice, answer["user_code"]).status_code == 200


# --- The question -------------------------------------------------------------------------------------------


@pytest.mark.rfc("8628 5.4")
def test_the_page_says_who_asks_for_what_from_where_as_whom_and_warns(alice: Any, clock: Clock) -> None:
    client_id = device_client(client_name="Headless box", client_uri="https://box.example/")["client_id"]
    response = ask(client_id, {"user-agent": "boxctl/1.2 (linux)"}, scope="mcp:write offline_access")
    code = response.json()["user_code"]
    clock.leap(180)
    page = enter(alice, code.lower())
    text = text_of(page)
    for part in (
        "Connect Headless box to Star?",
        "Did somebody send you this code? Then stop",
        "Unverified: it registered itself under this name",
        f"{code} Compare it with what your device shows.",
        "3\u00a0minutes ago",
        "A program that calls itself boxctl",
        "From 127.0.0.1 , the network you are on now",
        "Signed in as alice",
        "Change your data with the tools of this site mcp:write",
        "Use the tools of this site as you mcp:tools",
        "Stay connected until you disconnect it offline_access",
        "boxctl/1.2 (linux)",
        "https://box.example/",
        client_id,
        RESOURCE,
    ):
        assert part.replace("\u00a0", " ") in text.replace("\u00a0", " "), (part, text)


def test_a_request_from_another_network_is_marked(alice: Any) -> None:
    _, answer = waiting()
    assert "the network you are on now" in text_of(enter(alice, answer["user_code"]))
    elsewhere = text_of(enter(alice, answer["user_code"], REMOTE_ADDR="198.51.100.9"))
    assert "From 127.0.0.1 , not the network you are on now" in elsewhere


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        ("cimd", "public", "Unverified: app.example published this name, but any program anywhere"),
        ("cimd", "confidential", "Verified: it comes from app.example"),
        ("dcr", "public", "Unverified: it registered itself"),
        ("dcr", "confidential", "Unverified: it registered itself"),
        ("manual", "public", "Unverified: an administrator of this site added this name, but"),
        ("manual", "confidential", "It was added by an administrator of this site."),
    ],
)
def test_only_a_client_that_proved_who_it_is_counts_as_known(alice: Any, source: str, kind: str, says: str) -> None:
    _, answer = waiting()
    Application.objects.update(
        registration_source=source,
        client_type=kind,
        client_id="https://app.example/client.json" if source == "cimd" else "client",
    )
    assert says in text_of(enter(alice, answer["user_code"]))


def test_a_hostile_client_name_and_user_agent_are_text_and_nothing_else(alice: Any) -> None:
    client_id = device_client(client_name='<script>alert(1)</script>"')["client_id"]
    response = ask(client_id, {"user-agent": "<script>alert(2)</script>/1"})
    page = enter(alice, response.json()["user_code"]).content
    assert b"<script>" not in page
    assert html.escape("<script>alert(1)</script>").encode() in page
    assert html.escape("<script>alert(2)</script>").encode() in page


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        ("", "A program that does not say what it is"),
        ("curl/8.5.0", "A program that calls itself curl"),
        ("Visual Studio Code/1.119.0", "A program that calls itself Visual Studio Code"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Version/18.6 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0", "A program that does not say what it is"),
        ("<b>/1", "A program that does not say what it is"),
    ],
)
def test_a_user_agent_is_said_in_plain_words(user_agent: str, words: str) -> None:
    assert user_agents.in_words(user_agent) == words


def test_every_page_is_kept_out_of_caches_and_frames_and_loads_nothing_from_elsewhere(alice: Any) -> None:
    _, answer = waiting()
    question = enter(alice, answer["user_code"])
    done = browser(alice).post(PAGE, {"authorization": sealed(question), "allow": "true"})
    wrong = enter(alice, "BBBB-BBBB")
    qr_code = browser().get(f"{PAGE}?user_code=BBBB-BBBB")
    for page in (browser(alice).get(PAGE), question, done, wrong, qr_code, browser().get(PAGE)):
        assert page["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in page["Content-Security-Policy"]
        assert "script-src" not in page["Content-Security-Policy"]
        assert "default-src 'none'" in page["Content-Security-Policy"]
        assert not re.search(rb"<script|style=|\son\w+=", page.content)
        assert {urlsplit(link).netloc for link in re.findall(r'(?:src|href)="([^"]+)"', page.content.decode())} <= {""}


# --- The answer ---------------------------------------------------------------------------------------------


def test_allow_connects_the_client_and_is_written_down(alice: Any) -> None:
    client_id, answer = waiting()
    page = decide(alice, answer["user_code"])
    assert "Your device is connected" in text_of(page)
    assert "You can close this window and go back to your device" in text_of(page)
    connection = Connection.objects.get()
    assert (connection.user, connection.scope, connection.resource) == (alice, "mcp:tools", RESOURCE)
    event = AuditEvent.objects.get(action="consent_given")
    assert (event.user, event.client_id, event.detail["how"]) == (alice, client_id, "device")
    assert event.detail["asked_from"] == "127.0.0.1"
    assert Application.objects.get().last_authorized_at is not None
    assert "A device at 127.0.0.1" in text_of(browser(alice).get("/connected-apps/"))


def test_deny_connects_nothing_and_is_written_down(alice: Any) -> None:
    client_id, answer = waiting()
    page = decide(alice, answer["user_code"], allow=False)
    assert "Nothing was connected" in text_of(page)
    assert not Connection.objects.exists()
    assert Application.objects.get().last_authorized_at is None
    event = AuditEvent.objects.get(action="consent_refused")
    assert (event.user, event.client_id, event.detail["how"]) == (alice, client_id, "device")


def test_anything_but_allow_is_a_no(alice: Any) -> None:
    for value in (None, "", "false", "TRUE", "1", "true "):
        _, answer = waiting()
        form = {"authorization": sealed(enter(alice, answer["user_code"]))}
        browser(alice).post(PAGE, form if value is None else form | {"allow": value})
    assert set(DeviceAuthorization.objects.values_list("status", flat=True)) == {"denied"}
    _, answer = waiting()
    decide(alice, answer["user_code"])
    assert DeviceAuthorization.objects.filter(status="approved").count() == 1


@pytest.mark.parametrize("forge", ["", "x", "another's", "cut", "\x00", "\ud800", "old", "unsigned", "x" * 100_000])
def test_an_answer_that_was_not_sealed_for_this_person_and_request_does_nothing(
    alice: Any, bob: Any, clock: Clock, forge: str
) -> None:
    client_id, answer = waiting()
    good = sealed(enter(alice, answer["user_code"]))
    value = {
        "another's": sealed(enter(bob, answer["user_code"])),
        "cut": good[:-1],
        "old": good,
        "unsigned": f"{DeviceAuthorization.objects.get().pk}",
    }.get(forge, forge)
    if forge == "old":
        clock.leap(601)
    body = urlencode({"authorization": value.encode("utf-8", "surrogatepass"), "allow": "true"})
    response = browser(alice).post(PAGE, body, content_type="application/x-www-form-urlencoded")
    assert response.status_code == 400
    assert DeviceAuthorization.objects.get().status == "pending"
    assert not Connection.objects.exists()
    if forge != "old":
        assert browser(alice).post(PAGE, {"authorization": good, "allow": "true"}).status_code == 200
        assert poll(client_id, answer["device_code"]).status_code == 200


def test_the_first_answer_counts_and_is_shown_again_to_who_gave_it(alice: Any, bob: Any) -> None:
    client_id, answer = waiting()
    form = {"authorization": sealed(enter(alice, answer["user_code"]))}
    of_bob = {"authorization": sealed(enter(bob, answer["user_code"])), "allow": "true"}
    browser(alice).post(PAGE, form)
    again = browser(alice).post(PAGE, form | {"allow": "true"})
    assert "Nothing was connected" in text_of(again)
    assert NO_SUCH_CODE in text_of(browser(bob).post(PAGE, of_bob))
    assert poll(client_id, answer["device_code"]).json()["error"] == "access_denied"
    assert AuditEvent.objects.filter(action__startswith="consent").count() == 1


def test_an_answer_after_the_client_was_deleted_or_disabled_does_nothing(alice: Any) -> None:
    _, answer = waiting()
    form = {"authorization": sealed(enter(alice, answer["user_code"])), "allow": "true"}
    Application.objects.update(disabled_at=timezone.now())
    assert browser(alice).post(PAGE, form).status_code == 400
    assert not Connection.objects.exists()
    Application.objects.update(disabled_at=None)
    assert browser(alice).post(PAGE, form).status_code == 200
    _, answer = waiting()
    form = {"authorization": sealed(enter(alice, answer["user_code"])), "allow": "true"}
    Application.objects.all().delete()
    assert browser(alice).post(PAGE, form).status_code == 400


def test_the_form_needs_the_token_of_the_page(alice: Any) -> None:
    _, answer = waiting()
    page = enter(alice, answer["user_code"])
    stranger = Client(enforce_csrf_checks=True, headers={"host": HOST})
    stranger.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    form = {"authorization": sealed(page), "allow": "true"}
    assert stranger.post(PAGE, form).status_code == 403
    assert stranger.post(PAGE, {"user_code": answer["user_code"]}).status_code == 403
    assert DeviceAuthorization.objects.get().status == "pending"
    token = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', stranger.get(PAGE).content.decode())
    assert token
    assert stranger.post(PAGE, form | {"csrfmiddlewaretoken": token[1]}).status_code == 200


def test_an_answer_in_the_url_does_nothing(alice: Any) -> None:
    _, answer = waiting()
    seal = sealed(enter(alice, answer["user_code"]))
    browser(alice).get(PAGE, {"authorization": seal, "allow": "true", "user_code": answer["user_code"]})
    assert DeviceAuthorization.objects.get().status == "pending"
    assert browser(alice).post(PAGE, {"authorization": seal, "allow": "true"}).status_code == 200
    assert DeviceAuthorization.objects.get().status == "approved"


def test_the_client_is_not_bound_to_the_person(alice: Any) -> None:
    """Our choice: a device could be anybody's, whatever redirect URIs its client has (docs/decisions/0004)."""
    client = device_client(
        grant_types=["authorization_code", DEVICE_CODE], redirect_uris=["http://127.0.0.1/"], response_types=["code"]
    )
    device_connected(alice, client)
    assert Application.objects.get().user is None


def test_a_device_that_was_allowed_never_makes_a_consent_in_the_browser_be_skipped(alice: Any) -> None:
    uri = "https://app.example/cb"
    application = Application.objects.create(
        name="By hand",
        client_type="public",
        authorization_grant_type="authorization-code",
        grant_types=["authorization_code", DEVICE_CODE],
        redirect_uris=uri,
    )
    url = authorization_url(application.client_id, PKCE(), redirect_uri=uri)
    device_connected(alice, {"client_id": application.client_id})
    assert browser(alice).get(url).status_code == 200, "asked, although a device of this client is connected"
    authorize(alice, application.client_id, PKCE(), redirect_uri=uri)
    assert browser(alice).get(url).status_code == 302, "the positive control: a consent in the browser is remembered"
    device_connected(alice, {"client_id": application.client_id})
    assert browser(alice).get(url).status_code == 200


def test_a_device_is_asked_about_each_time(alice: Any) -> None:
    client, _ = device_connected(alice)
    answer = asked(client["client_id"])
    assert poll(client["client_id"], answer["device_code"]).json()["error"] == "authorization_pending"
    assert enter(alice, answer["user_code"]).status_code == 200


# --- Housekeeping and admin ---------------------------------------------------------------------------------


def test_what_has_expired_is_deleted_and_what_waits_is_not(alice: Any, clock: Clock) -> None:
    waiting()
    clock.leap(601)
    client_id, answer = waiting()
    call_command("clear_expired_tokens")
    assert DeviceAuthorization.objects.count() == 1
    decide(alice, answer["user_code"])
    assert poll(client_id, answer["device_code"]).status_code == 200


def test_a_replay_is_recognised_after_the_row_is_gone(alice: Any, clock: Clock) -> None:
    client_id, answer = waiting()
    decide(alice, answer["user_code"])
    tokens = poll(client_id, answer["device_code"]).json()
    clock.leap(601)
    call_command("clear_expired_tokens")
    assert not DeviceAuthorization.objects.exists()
    assert poll(client_id, answer["device_code"]).json()["error"] == "invalid_grant"
    assert AuditEvent.objects.filter(action="code_replayed").count() == 1
    assert tokens["access_token"]


def test_a_client_that_was_connected_by_a_device_or_waits_for_it_is_not_unused(alice: Any) -> None:
    long_ago = timezone.now() - timedelta(days=100)
    unused = device_client()["client_id"]
    connected_client = device_connected(alice)[0]["client_id"]
    waits = device_client()["client_id"]
    asked(waits)
    Application.objects.update(updated=long_ago, created=long_ago)
    call_command("clear_unused_clients")
    left = set(Application.objects.values_list("client_id", flat=True))
    assert left == {connected_client, waits}
    assert unused not in left


def test_the_admin_shows_devices_and_changes_none(admin_client: Any, alice: Any) -> None:
    _, answer = waiting()
    decide(alice, answer["user_code"])
    row = DeviceAuthorization.objects.get()
    pages = [
        admin_client.get(path, headers={"host": HOST})
        for path in ("/admin/authapp/deviceauthorization/", f"/admin/authapp/deviceauthorization/{row.pk}/change/")
    ]
    for page in pages:
        assert page.status_code == 200
        assert "alice" in text_of(page)
        for secret in (row.device_code_digest, row.user_code_digest, answer["user_code"]):
            assert secret not in page.content.decode()
    assert admin_client.get("/admin/authapp/deviceauthorization/add/", headers={"host": HOST}).status_code == 403
    refused = admin_client.post(
        f"/admin/authapp/deviceauthorization/{row.pk}/change/", {"status": "denied"}, headers={"host": HOST}
    )
    assert refused.status_code == 403
    row.refresh_from_db()
    assert row.status == "approved"


def test_the_settings_of_other_sites_need_not_name_it(settings: Any) -> None:
    settings.AUTHAPP = {name: value for name, value in django_settings.AUTHAPP.items() if "DEVICE" not in name}
    assert ask(device_client()["client_id"]).status_code == 200
