"""Fixtures of the resource server's tests."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async

from mcpapp import registry
from tests.mcpapp.both_ways import declare_tools
from tests.mcpapp.helpers import make_token


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> registry.Catalog:
    """An empty registry; what a test declares is all that `serving()` serves."""
    registry.discover()  # what is imported for the first time declares itself now, and not into the empty one
    empty = registry.Catalog({}, {}, {})
    monkeypatch.setattr(registry, "_catalog", empty)
    return empty


@pytest.fixture
def tools(catalog: registry.Catalog) -> None:
    """Tools of every kind, and no others."""
    declare_tools()


@pytest.fixture
async def token(alice: Any) -> str:
    """An access token of alice's."""
    return await sync_to_async(make_token)(alice)
