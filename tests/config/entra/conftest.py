"""A site whose people sign in with an Entra tenant that is on this machine, and a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from django.test import Client

from config.entra.settings import EntraSettings
from tests.entra_sign_in import SITE_ID, SITE_SECRET, TENANT, SignInProvider
from tests.oauth import ISSUER, browser

CALLBACK = f"{ISSUER}/accounts/oidc/entra/login/callback/"
LOGIN = "/accounts/oidc/entra/login/"


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SignInProvider]:
    with SignInProvider(tmp_path) as provider:
        monkeypatch.setenv("SSL_CERT_FILE", str(provider.certificate))
        provider.redirect_uris.add(CALLBACK)
        yield provider


@pytest.fixture
def entra(provider: SignInProvider, settings: Any) -> EntraSettings:
    """Sign-in is set up."""
    settings.ENTRA = EntraSettings(
        tenant_id=TENANT, client_id=SITE_ID, client_secret=SITE_SECRET, authority=provider.url, sign_in=True
    )
    settings.AUTHAPP = settings.AUTHAPP | {
        "PRIVATE_KEY_HOSTS": [urlsplit(provider.url).netloc],
        "ACCOUNT_CHECK": "config.entra.accounts.still_counts",
        "ACCOUNT_CHECK_SECONDS": 600,
        "ACCOUNT_CHECK_GRACE_SECONDS": 3600,
    }
    return settings.ENTRA  # type: ignore[no-any-return]


@pytest.fixture
def people_are_created(entra: EntraSettings, settings: Any) -> None:
    settings.ENTRA = replace(entra, create_users=True)


class Visitor:
    """Somebody at a browser, here and at the provider; the forms they send are those of the pages."""

    def __init__(self, provider: SignInProvider, user: Any = None) -> None:
        self.provider = provider
        self.here: Client = browser(user)

    def start(self, page: str = "/accounts/login/", path: str = LOGIN) -> Any:
        """Open a page and press its button for Microsoft; return the redirect."""
        response = self.here.get(page)
        assert response.status_code == 200, response
        text = response.content.decode()
        found = re.search(rf'<form method="post"\s+action="({re.escape(path)}[^"]*)">(.*?)</form>', text, re.DOTALL)
        assert found, text
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', found[2])
        return self.here.post(unescape(found[1]), {name: unescape(value) for name, value in fields})

    def at_microsoft(self, redirect: Any) -> str:
        """Follow a redirect to the provider; return where it sends the browser to."""
        assert redirect.status_code == 302, redirect.content.decode()
        assert redirect["Location"].startswith(self.provider.url)
        answer = httpx2.get(redirect["Location"], trust_env=True)
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    def come_back(self, location: str) -> Any:
        """Bring the provider's answer to the site."""
        parts = urlsplit(location)
        return self.here.get(parts.path, dict(parse_qsl(parts.query)))

    def sign_in(self, page: str = "/accounts/login/") -> Any:
        """Sign in with Microsoft; return the site's answer."""
        return self.come_back(self.at_microsoft(self.start(page)))

    @property
    def user_id(self) -> str | None:
        return self.here.session.get("_auth_user_id")


@pytest.fixture
def visitor(entra: EntraSettings, provider: SignInProvider) -> Visitor:
    return Visitor(provider)
