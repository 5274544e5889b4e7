"""The owner of a site whose people sign in with Entra sees in the admin what was asked about their accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import Open
from tests.browser.desk import Client
from tests.browser.test_admin import act, look
from tests.conftest import LiveServer
from tests.entra_sign_in import TENANT, SignInProvider

pytestmark = pytest.mark.live


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[SignInProvider]:
    with SignInProvider(tmp_path) as provider:
        yield provider


@pytest.fixture
def live_server_url(new_server: Callable[[], LiveServer], provider: SignInProvider) -> str:
    server = new_server()
    provider.serve(server)
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    return server.url


def test_checks_and_credentials_are_seen_and_a_check_is_forgotten(
    opened: Open, connecting: Callable[..., Client], provider: SignInProvider
) -> None:
    client = connecting("Works")
    person = opened(client.authorize_path(), ignore_https_errors=True)  # of the provider's certificate
    person.get_by_role("button", name="Sign in with Microsoft").click()
    person.get_by_role("button", name="Allow", exact=True).click()
    tokens = client.tokens()
    page = opened("/admin/authapp/identitycredential/", signed_in="admin", bypass_csp=True, reduced_motion="reduce")
    assert "alice" in page.inner_text("#result_list")
    page.locator("#result_list tbody .field-subject a").click()
    page.wait_for_selector("#identitycredential_form")
    assert f"{provider.url}/{TENANT}/v2.0" in page.content()
    assert page.get_by_role("link", name="Delete", exact=True).count() == 0
    assert page.locator("input[name=_save]").count() == 0
    assert len(provider.given) > 3
    assert not [secret for secret in provider.given if secret in page.content()]
    look(page, "#content-main")
    checks = "/admin/authapp/accountcheck/"
    act(page, checks, "Forget selected checks", "alice")
    look(page, "#content")
    page.get_by_role("button", name="Forget checks").click()
    page.wait_for_selector(".messagelist")
    assert "Checks forgotten: 1." in page.content()
    assert page.locator("#result_list").count() == 0
    asked = provider.refreshes()
    form = {
        "grant_type": "refresh_token",
        "client_id": client.client_id,
        "refresh_token": tokens["refresh_token"],
    }
    assert client.http.post("/o/token/", data=form).status_code == 200
    assert provider.refreshes() == asked + 1
    page.reload()
    page.goto(checks)
    assert "alice" in page.inner_text("#result_list")
