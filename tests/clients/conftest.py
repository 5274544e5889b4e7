"""Shared by the client tests: the URL a person pastes, and that person with a browser that stays signed in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.desk import Desk
from tests.clients.person import Person


@pytest.fixture
def url(live_server_url: str) -> str:
    return f"{live_server_url}/star"


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One browser profile for the whole run, as on a real machine: sign-ins per address and minute are limited."""
    return tmp_path_factory.mktemp("browser") / "cookies"


@pytest.fixture
def person(profile: Path) -> Iterator[Person]:
    with Person("demo", "demo", profile) as person:
        yield person


@pytest.fixture
def desk(tmp_path: Path, profile: Path) -> Desk:
    return Desk(tmp_path, profile)
