"""What production must not lose."""

from __future__ import annotations

import pytest

from tests.config.test_settings import PRODUCTION, value
from tests.oauth import browser


def test_only_development_has_a_second_spelling_of_its_address() -> None:
    assert value("PUBLIC_URLS", **PRODUCTION | {"PUBLIC_URL": "https://127.0.0.1"}) == ["https://127.0.0.1"]


@pytest.mark.django_db
def test_no_script_reads_a_cookie_and_no_other_site_learns_an_address() -> None:
    response = browser().get("/accounts/login/")
    assert response.cookies["csrftoken"]["httponly"]
    assert response["Referrer-Policy"] == "same-origin"
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
