"""The whole way in one process: from the pasted URL to a tool call that runs as the person, on the final ASGI stack."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from tests.clients.person import Page
from tests.mcpapp.helpers import MODERN, call, is_refused, payload, send
from tests.oauth import CALLBACK, ISSUER, PKCE, RESOURCE

pytestmark = pytest.mark.anyio


async def press(browser: httpx2.AsyncClient, page: httpx2.Response, name: str, **answers: str) -> httpx2.Response:
    """Fill in the form with this field or button, as it is on the page, and post it."""
    read = Page(page)
    form = read.form_with_field(name) or read.form_with_button(name)
    assert form is not None, read.says(f"no form with {name}")
    content = urlencode(form.filled(**answers))
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": ISSUER, "Referer": str(page.url)}
    return await browser.post(form.action or str(page.url), content=content, headers=headers)


@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_from_the_pasted_url_to_a_tool_that_runs_as_the_person(
    endpoint: httpx2.AsyncClient, alice: Any, era: str
) -> None:
    # The client has the URL and nothing else.
    challenge = (await endpoint.post(RESOURCE)).headers["www-authenticate"]
    metadata_url = re.search(r'resource_metadata="([^"]+)"', challenge)[1]  # type: ignore[index]
    scope = re.search(r'scope="([^"]+)"', challenge)[1]  # type: ignore[index]
    resource = (await endpoint.get(metadata_url)).json()
    assert resource["resource"] == RESOURCE
    issuer = resource["authorization_servers"][0]
    metadata = (await endpoint.get(f"{issuer}/.well-known/oauth-authorization-server")).json()
    assert metadata["issuer"] == issuer

    # It registers itself.
    body = {"client_name": "Newcomer", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    client = (await endpoint.post(metadata["registration_endpoint"], json=body)).json()

    # The person signs in and consents.
    pkce = PKCE()
    query = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": CALLBACK,
        "scope": f"{scope} offline_access",
        "state": "s",
        "code_challenge": pkce.challenge,
        "code_challenge_method": "S256",
        "resource": RESOURCE,
    }
    async with httpx2.AsyncClient(transport=endpoint._transport, base_url=ISSUER) as browser:
        sign_in = await browser.get(f"{metadata['authorization_endpoint']}?{urlencode(query)}", follow_redirects=True)
        signed_in = await press(browser, sign_in, "login", login="alice", password="alice-password")
        consent = await browser.get(signed_in.headers["location"])
        assert "Newcomer" in consent.text
        answer = await press(browser, consent, "allow", allow="true")
    redirect = urlsplit(answer.headers["location"])
    returned = {name: values[0] for name, values in parse_qs(redirect.query).items()}
    assert f"{redirect.scheme}://{redirect.netloc}{redirect.path}" == CALLBACK
    assert (returned["state"], returned["iss"]) == ("s", issuer)

    # The client gets its tokens and calls.
    form = {
        "grant_type": "authorization_code",
        "client_id": client["client_id"],
        "code": returned["code"],
        "redirect_uri": CALLBACK,
        "code_verifier": pkce.verifier,
        "resource": RESOURCE,
    }
    tokens = (await endpoint.post(metadata["token_endpoint"], data=form)).json()
    listed = payload(await send(endpoint, tokens["access_token"], "tools/list", era=era))["result"]["tools"]
    assert {"public-info", "protected-data"} <= {tool["name"] for tool in listed}
    data = (await call(endpoint, tokens["access_token"], "protected-data", era))["structuredContent"]
    assert (data["username"], data["groups"], data["client"]) == ("alice", ["Owners"], "Newcomer")

    # An hour later it refreshes, and then it is sent away.
    form = {"grant_type": "refresh_token", "client_id": client["client_id"], "refresh_token": tokens["refresh_token"]}
    renewed = (await endpoint.post(metadata["token_endpoint"], data=form)).json()
    assert (await call(endpoint, renewed["access_token"], "protected-data", era))["structuredContent"] == data
    form = {"client_id": client["client_id"], "token": renewed["refresh_token"]}
    assert (await endpoint.post(metadata["revocation_endpoint"], data=form)).status_code == 200
    assert await is_refused(endpoint, renewed["access_token"], era=era)
