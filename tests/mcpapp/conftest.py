"""Fixtures of the resource server's tests."""

from __future__ import annotations

import pytest

from mcpapp import registry


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> registry.Catalog:
    """An empty registry; what a test declares is all that `serving()` serves."""
    registry.discover()  # what is imported for the first time declares itself now, and not into the empty one
    empty = registry.Catalog({}, {}, {})
    monkeypatch.setattr(registry, "_catalog", empty)
    return empty
