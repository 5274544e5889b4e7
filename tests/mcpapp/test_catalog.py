"""The tools that a consent would open, as a page lists them: those that the person may use, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission

from mcpapp.catalog import tools_by_effect, tools_for
from mcpapp.identity import current_identity
from mcpapp.registry import Catalog, tool
from tests.oauth import RESOURCE

pytestmark = pytest.mark.django_db


def names(user: Any, *scopes: str) -> list[str]:
    return [one.name for one in tools_for(user, scopes, RESOURCE)]


@pytest.fixture
def declared(catalog: Catalog) -> None:
    @tool("b-read", read_only=True)
    def read() -> str:
        """Read something.

        And more, which is for models.
        """
        return ""

    @tool("open", public=True, read_only=True)
    def open_to_all() -> str:
        return ""

    @tool("change", scopes=["mcp:write"], destructive=False)
    def change() -> str:
        return ""

    @tool("a-delete", scopes=["mcp:write"], destructive=True)
    def delete() -> str:
        return ""

    @tool("for-owners", groups=["Owners"])
    def for_owners() -> str:
        return ""

    @tool("for-adders", permissions=["auth.add_user"])
    def for_adders() -> str:
        return ""

    @tool("by-rule", allowed=lambda identity: identity.user.get_username() == "bob")
    def by_rule() -> str:
        return ""

    async def by_waiting(identity: Any) -> bool:
        return current_identity() is identity and identity.user.get_username() == "bob"

    @tool("by-a-rule-that-waits", allowed=by_waiting)
    def waits() -> str:
        return ""

    @tool("rule-fails", allowed=lambda identity: 1 / 0)
    def fails() -> str:
        return ""


def test_what_the_scopes_open_is_listed_the_harmless_first(declared: None, charlie: Any) -> None:
    assert names(charlie, "mcp:tools") == ["b-read", "open"]
    assert names(charlie, "mcp:write") == ["b-read", "open", "change", "a-delete"]
    assert names(charlie) == ["open"]


def test_permissions_groups_and_rules_decide_as_in_a_call(declared: None, alice: Any, bob: Any) -> None:
    """Also about what this very transaction has changed: nothing here is committed."""
    assert names(alice, "mcp:tools") == ["b-read", "open", "for-owners"]
    assert names(bob, "mcp:tools") == ["b-read", "open", "by-a-rule-that-waits", "by-rule"]
    bob.groups.add(Group.objects.get(name="Owners"))
    bob.user_permissions.add(Permission.objects.get(codename="add_user"))
    assert {"for-owners", "for-adders"} <= set(names(type(bob).objects.get(pk=bob.pk), "mcp:tools"))


def test_a_tool_is_told_of_by_its_first_paragraph(declared: None, charlie: Any) -> None:
    read = next(one for one in tools_for(charlie, ["mcp:tools"], RESOURCE) if one.name == "b-read")
    assert read.description == "Read something."
    assert read.effect == "read"
    assert read.scopes == {"mcp:tools"}


def test_a_visitor_sees_what_is_public_and_the_rest_where_the_settings_say(declared: None, settings: Any) -> None:
    def seen() -> list[str]:
        return [one.name for group in tools_by_effect(AnonymousUser(), RESOURCE) for one in group["tools"]]

    assert seen() == ["open"]
    settings.MCPAPP = {**settings.MCPAPP, "ANONYMOUS_SEES_PROTECTED": True}
    assert set(seen()) >= {"open", "b-read", "for-owners"}
