"""The page of one call says all that was kept of it, leads to whom it names, and says why something is missing."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission

from authapp.models import Application, Connection
from mcpapp.models import ToolCall
from tests.mcpapp.call_log.made import LIST, made
from tests.oauth import browser

pytestmark = pytest.mark.django_db


def page_of(call: ToolCall, who: Any, **more: Any) -> str:
    response = browser(who).get(f"{LIST}{call.pk}/change/", **more)
    assert response.status_code == 200
    return response.content.decode()  # type: ignore[no-any-return]


def field(page: str, name: str) -> str:
    """The text and links of a field."""
    found = re.search(rf'field-{name}">.*?<div class="readonly">(.*?)</div>', page, re.DOTALL)
    assert found, name
    return html.unescape(found.group(1)).strip()


def test_it_shows_every_column(admin_user: Any) -> None:
    values = {
        "user_key": "987654",
        "username": "alice-name",
        "client_id": "client-id",
        "client_name": "Client name",
        "connection_key": "4711",
        "tool": "tool-name",
        "outcome": "timed_out",
        "duration_us": 123457,
        "request_bytes": 3001,
        "response_bytes": 3002,
        "protocol_version": "2025-11-25",
        "request_id": "request-7",
        "arguments": '{"argument":"value-of-it"}',
    }
    page = page_of(made(**values), admin_user)
    shown = {*values} | {"at"}
    assert shown == {one.name for one in ToolCall._meta.fields} - {"id"}, "none is missing here"
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for name, value in values.items():
        expected = {"outcome": "took too long", "arguments": '"argument": "value-of-it"'}.get(name, str(value))
        assert expected in text or f"{value:,}" in text, name
    for group in ("Who called", "Arguments", "The request"):
        assert group in text


def test_it_leads_to_the_person_the_client_and_the_connection(admin_user: Any, alice: Any) -> None:
    client = Application.objects.create(name="Cursor", client_id="c-1", redirect_uris="http://127.0.0.1/callback")
    connection = Connection.objects.create(user=alice, application=client)
    call = made(user_key=str(alice.pk), client_id="c-1", connection_key=str(connection.pk))
    owner = browser(admin_user)
    page = page_of(call, admin_user)
    for name, path in (
        ("person", f"/admin/auth/user/{alice.pk}/change/"),
        ("linked_client", f"/admin/authapp/application/{client.pk}/change/"),
        ("linked_connection", f"/admin/authapp/connection/{connection.pk}/change/"),
    ):
        assert f'<a href="{path}">' in field(page, name)
        assert owner.get(path).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"user_key": "999999999", "client_id": "gone", "connection_key": "999999999"},
        {"user_key": "9" * 64, "client_id": "x" * 255, "connection_key": "9" * 64},
        {"user_key": "no number", "client_id": "<b>", "connection_key": "no number"},
        {"user_key": "", "username": "", "client_id": "", "client_name": "", "connection_key": ""},
    ],
)
def test_what_is_gone_is_named_without_a_link(admin_user: Any, changes: dict[str, str]) -> None:
    page = page_of(made(**changes), admin_user)
    for name in ("person", "linked_client", "linked_connection"):
        assert "<a " not in field(page, name)
    assert field(page, "person") == ("alice" if changes["user_key"] else "nobody had signed in")
    assert field(page, "linked_client") == (changes["client_id"] or "–")


def test_without_the_permission_to_see_them_there_are_no_links(alice: Any, django_user_model: Any) -> None:
    client = Application.objects.create(name="Cursor", client_id="c-1", redirect_uris="http://127.0.0.1/callback")
    call = made(user_key=str(alice.pk), client_id="c-1")
    staff = django_user_model.objects.create_user("staff", password="x", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_toolcall"))
    page = page_of(call, django_user_model.objects.get(pk=staff.pk))
    assert field(page, "linked_client") == "c-1"
    assert field(page, "person") == "alice"
    staff.user_permissions.add(Permission.objects.get(codename="view_application"))
    page = page_of(call, django_user_model.objects.get(pk=staff.pk))
    assert f"/application/{client.pk}/" in field(page, "linked_client")
    assert field(page, "person") == "alice"


def test_a_site_without_that_authorization_server_has_a_page_too(admin_user: Any, settings: Any) -> None:
    settings.MCPAPP = {name: value for name, value in settings.MCPAPP.items() if name != "CALL_LINKS"}
    assert field(page_of(made(), admin_user), "linked_client") == "client-1"


@pytest.mark.parametrize(
    ("policy", "arguments", "shown", "said"),
    [
        ("off", "", "–", "Nothing: the call had none, or CALL_LOG_ARGUMENTS was off. For this tool it is off now."),
        (
            {"my-orders": "full", "*": "off"},
            '["limit"]',
            '[\n  "limit"\n]',
            "Their names alone: CALL_LOG_ARGUMENTS was names, or full and they were too long. "
            "For this tool it is full now.",
        ),
        (
            "full",
            '{"limit":10,"password":"•••"}',
            '{\n  "limit": 10,\n  "password": "•••"\n}',
            "All of them: CALL_LOG_ARGUMENTS was full. What looks like a secret is masked as •••.",
        ),
    ],
)
def test_it_says_what_was_kept_of_the_arguments_and_which_setting_decides(
    admin_user: Any, settings: Any, policy: Any, arguments: str, shown: str, said: str
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_LOG_ARGUMENTS": policy}
    page = page_of(made(arguments=arguments), admin_user)
    assert re.sub(r"</?pre[^>]*>", "", field(page, "readable_arguments")) == shown
    assert field(page, "what_was_kept") == said


def test_arguments_are_text_and_cannot_hide_anything(admin_user: Any) -> None:
    page = page_of(made(arguments='{"a":"</pre><script>alert(1)</script>","b":"x\u202ey\u200bz"}'), admin_user)
    assert "<script>alert" not in page
    assert r"x\u202ey\u200bz" in page
    assert "\u202e" not in page


@pytest.mark.parametrize("arguments", ['["cut of', "{" * 4000, "[" * 4000, '{"n":' + "9" * 4000 + "}", "null"])
def test_a_page_is_there_whatever_was_kept(admin_user: Any, arguments: str) -> None:
    assert field(page_of(made(arguments=arguments), admin_user), "readable_arguments")


def test_it_is_there_in_chinese(admin_user: Any) -> None:
    page = page_of(made(arguments=""), admin_user, headers={"accept-language": "zh-hans"})
    assert "CALL_LOG_ARGUMENTS" in field(page, "what_was_kept")
    assert "Nothing" not in page
    assert "调用者" in page
