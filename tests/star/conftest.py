"""Shared by the tests of the console client: the desk of a person, and the program run on it."""

from __future__ import annotations

import pytest

from tests.clients.conftest import desk, person, profile, url
from tests.clients.desk import Desk
from tests.star.program import Star

__all__ = ["desk", "person", "profile", "url"]


@pytest.fixture
def star(desk: Desk) -> Star:
    return Star(desk)
