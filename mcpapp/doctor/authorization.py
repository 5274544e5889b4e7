"""The authorization endpoint as a client and a person's browser meet it (RFC 6749 §4.1, RFC 7636, RFC 9207)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from mcpapp.doctor.clients import OFFLINE_ACCESS
from mcpapp.doctor.pages import Browser, Page, leads_to
from mcpapp.doctor.reading import described, is_page, query_of
from mcpapp.doctor.registration import Client
from mcpapp.doctor.report import Level
from mcpapp.doctor.walk import Walk
from mcpapp.doctor.web import Answer, Unreachable

MAXIMUM_PAGES = 6
_PLAIN_CODE = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(slots=True)
class Code:
    """An authorization code, with what redeems it."""

    code: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str
    scope: str


@dataclass(slots=True)
class Request:
    """One authorization request."""

    client: Client
    redirect_uri: str
    scope: str
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def url(self, walk: Walk) -> str:
        """Return where the client sends the person's browser."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": self.redirect_uri,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "state": self.state,
            "resource": walk.target.resource,
        }
        if self.scope:
            query["scope"] = self.scope
            if self.client.profile.asks_for_consent and OFFLINE_ACCESS in self.scope.split():
                query["prompt"] = "consent"
        endpoint = walk.found.endpoint("authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    def is_answered_at(self, url: str) -> bool:
        """Return whether a redirect goes back to the client."""
        return url == self.redirect_uri or url.startswith((f"{self.redirect_uri}?", f"{self.redirect_uri}&"))


async def authorize(walk: Walk, client: Client, redirect_uri: str = "", *, check: str = "") -> Code | None:
    """Ask for a code as the client does, and have the person allow it; None where that does not end with a code.

    `check` is what a refusal is about, if not the request as such.
    """
    request = Request(client, redirect_uri or client.redirect_uri, walk.found.scope_of(client.profile))
    walk.report.secrets.add(request.verifier, request.state)
    browser = Browser(walk.web, walk.target.origin, walk.site.cookies if walk.site else {})
    refusal = check or ("registration.document-not-usable" if client.is_document else "authorization.refused")
    try:
        location = await _passed(walk, request, browser, refusal)
    except Unreachable as error:
        walk.wrong("authorization.unreachable", f"{error}.", client.profile.title)
        return None
    return _code(walk, request, location, check or "authorization.error-returned") if location else None


async def _passed(walk: Walk, request: Request, browser: Browser, refusal: str) -> str:
    """Go through the pages to the redirect that leads back to the client; "" if that does not come."""
    title = request.client.profile.title
    url = request.url(walk)
    answer = await browser.get(url)
    page: Page | None = None
    presses = 0
    for _ in range(MAXIMUM_PAGES):
        if location := leads_to(answer):
            if page is not None:
                walk.judge("authorization.form-action", _blocked(page, location), title)
            if request.is_answered_at(location) or not browser.is_at_home(location):
                return _left(walk, request, location, presses)
            answer = await browser.get(location)
            continue
        if answer.status >= 400:
            walk.wrong(refusal, f"The request is answered {described(answer)}.", title)
            return ""
        walk.well(refusal, title)
        if _is_elsewhere(answer, url) or not (walk.site and browser.is_at_home(url)):
            _no_way_in(walk, browser, url)
            return ""
        page = Page(answer) if is_page(answer) else None
        found = page.consent() if page else None
        if page is None or found is None:
            walk.wrong("authorization.no-consent-form", f"The page is {described(answer)}, without it.", title)
            return ""
        walk.well("site.session-not-taken")
        walk.well("authorization.no-consent-form", title)
        presses += 1
        if presses == 2:
            walk.wrong("authorization.asked-twice", "After Allow the person is asked again.", title)
        answer = await browser.submit(page, *found)
    walk.wrong("authorization.no-consent-form", f"After {MAXIMUM_PAGES} pages there is no end.", title)
    return ""


def _left(walk: Walk, request: Request, location: str, presses: int) -> str:
    """Return the redirect that left the site, if it went to the client."""
    title = request.client.profile.title
    if not request.is_answered_at(location):
        if not presses and not walk.site:
            _no_way_in(walk, None, location)  # people sign in somewhere else
        else:
            where = f"{urlsplit(location).scheme}://{urlsplit(location).netloc}"
            walk.wrong("authorization.wrong-place", f"The person is sent to {where}.", title)
        return ""
    walk.well("authorization.wrong-place", title)
    if presses == 1:
        walk.well("authorization.asked-twice", title)
    if not walk.site and "code" in query_of(location):
        saw = "A code came back though nobody has signed in."
        walk.wrong("authorization.nobody-asked", saw, level=Level.WARNING)  # others may mean it
    return location


def _no_way_in(walk: Walk, browser: Browser | None, url: str) -> None:
    if walk.site is None:
        walk.wrong("site.no-access", "The person is asked to sign in, which ends what can be seen from outside.")
    elif browser is not None and not browser.is_at_home(url):
        host = urlsplit(url).netloc
        walk.wrong("site.no-access", f"People sign in at {host}, where a session of this site means nothing.")
    else:
        walk.wrong("site.session-not-taken", "The person is asked to sign in although a session was made for them.")


def _is_elsewhere(answer: Answer, url: str) -> bool:
    return urlsplit(answer.url).path != urlsplit(url).path


def _blocked(page: Page, location: str) -> str:
    if page.lets_forms_lead_to(location):
        return ""
    parts = urlsplit(location)
    return f"form-action of the page does not allow {parts.scheme}://{parts.netloc}."


def _code(walk: Walk, request: Request, location: str, refusal: str) -> Code | None:
    """Judge the authorization response as the client does; `refusal` is what an error in it is about."""
    title = request.client.profile.title
    returned = query_of(location)
    code = returned.get("code", "")
    walk.report.secrets.add(code)
    same = returned.get("state") == request.state
    walk.judge("authorization.state-changed", "" if same else "state came back as another.", title)
    _judge_issuer(walk, returned.get("iss", ""), title)
    if error := returned.get("error"):
        said = f"{error} ({returned['error_description']})" if returned.get("error_description") else error
        # What is about the redirect URI is an invalid_request; other errors a client would meet at any port.
        check = refusal if error == "invalid_request" else "authorization.error-returned"
        walk.wrong(check, f"The client is sent back with {said}.", title)
        return None
    walk.judge("authorization.error-returned", "" if code else "The client is sent back without a code.", title)
    if not code:
        return None
    raw = location.partition("code=")[2].partition("&")[0]
    walk.judge(
        "authorization.code-needs-decoding",
        "" if _PLAIN_CODE.fullmatch(raw) else "The code has characters that are encoded in a URL.",
    )
    return Code(code, request.verifier, request.redirect_uri, request.scope)


def _judge_issuer(walk: Walk, iss: str, title: str) -> None:
    metadata = walk.found.server_metadata
    expected = metadata.get("issuer")
    announced = metadata.get("authorization_response_iss_parameter_supported") is True
    needed = announced or title in walk.needing_iss
    if iss or not needed:
        walk.well("authorization.iss-missing", *([title] if needed else []))
    else:
        walk.wrong("authorization.iss-missing", "The response has no iss.", title)
    wrong = f"iss is {iss}, the metadata says {expected}." if iss and iss != expected else ""
    walk.judge("authorization.iss-wrong", wrong, title)
