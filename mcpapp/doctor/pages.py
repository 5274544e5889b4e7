"""A browser in small: cookies of one host, forms of a page, and what the page's policy lets its forms do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

from mcpapp.doctor.reading import joined, origin_of
from mcpapp.doctor.web import Answer, Unreachable, Web

USER_AGENT = "Mozilla/5.0 (mcp_doctor)"
MAXIMUM_CHARACTERS = 256 * 1024
"""Of a page; parsing odd HTML can take long."""
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(slots=True)
class Form:
    """A form: what it would send, and its buttons."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """The forms of a page."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.url = answer.url
        self.policy = answer.headers.get("content-security-policy", "")
        self.forms: list[Form] = []
        self._open: Form | None = None
        with suppress(AssertionError):  # of Python 3.11, at `<![x[`: the forms before it are there
            self.feed(answer.text[:MAXIMUM_CHARACTERS])

    def consent(self) -> tuple[Form, tuple[str, str]] | None:
        """Return the form that asks for consent, and its button that gives it."""
        for form in self.forms:
            for name, value in form.buttons:
                if name == "allow" and value and form.method == "post":
                    return form, (name, value)
        return None

    def lets_forms_lead_to(self, url: str) -> bool:
        """Return whether the page's policy lets a form end there; browsers ask it about each redirect (CSP 3 §6.4)."""
        sources = _form_action(self.policy)
        if sources is None:
            return True
        target = urlsplit(url)
        for source in sources:
            if source == "*":
                allowed = target.scheme in ("http", "https")
            elif source == "'self'":
                allowed = origin_of(url) == origin_of(self.url)
            elif source.endswith(":"):
                allowed = f"{target.scheme}:" == source.lower()
            else:
                scheme, _, host = source.lower().rpartition("://")
                name, _, _ = host.partition("/")  # the path counts no more after a redirect
                known = {target.netloc.lower(), f"{(target.hostname or '').lower()}:*"}
                is_below = name.startswith("*.") and (target.hostname or "").endswith(name[1:])
                allowed = scheme in ("", target.scheme) and (name in known or is_below)
            if allowed:
                return True
        return False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a form, or a field of the one that is open."""
        known = {name: value or "" for name, value in attrs}
        name, value, kind = known.get("name", ""), known.get("value", ""), known.get("type", "").lower()
        if tag == "form":
            self._open = Form(known.get("action", ""), known.get("method", "get").lower())
            self.forms.append(self._open)
        elif self._open is None or "disabled" in known or not name:
            return
        elif tag == "button" or (tag == "input" and kind in ("submit", "image")):
            if kind in ("", "submit", "image"):
                self._open.buttons.append((name, value))
        elif tag in ("input", "textarea", "select"):
            if kind not in ("checkbox", "radio"):
                self._open.fields.append((name, value))
            elif "checked" in known:
                self._open.fields.append((name, known.get("value", "on")))

    def handle_endtag(self, tag: str) -> None:
        """Close a form."""
        if tag == "form":
            self._open = None


def _form_action(policy: str) -> list[str] | None:
    for directive in policy.split(";"):
        name, *sources = directive.split() or [""]
        if name.lower() == "form-action":
            return sources
    return None


class Browser:
    """A browser at one origin. Its cookies go nowhere else."""

    def __init__(self, web: Web, origin: str, cookies: Mapping[str, str]) -> None:
        self._web = web
        self._origin = origin.lower()
        self._cookies = dict(cookies)
        web.secrets.add(*self._cookies.values())

    def is_at_home(self, url: str) -> bool:
        """Return whether a URL is at the browser's origin."""
        return origin_of(url) == self._origin

    async def get(self, url: str) -> Answer:
        """Open a page. Raises: Unreachable."""
        return await self._send("GET", url)

    async def submit(self, page: Page, form: Form, button: tuple[str, str]) -> Answer:
        """Press a button. Raises: Unreachable, also where the form leads to another host."""
        url = joined(page.url, form.action) if form.action else page.url
        if not self.is_at_home(url):
            raise Unreachable(f"the form of the page leads to {origin_of(url) or 'no address'}", "url")
        for name, value in form.fields:
            if "token" in name or "csrf" in name:
                self._web.secrets.add(value)
        return await self._send("POST", url, urlencode([*form.fields, button]), page.url)

    async def _send(self, method: str, url: str, body: str | None = None, referrer: str = "") -> Answer:
        headers = {"User-Agent": USER_AGENT, "Accept": "text/html,application/xhtml+xml", "Accept-Language": "en"}
        if self.is_at_home(url) and self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if body is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin_of(referrer)}
            headers["Referer"] = referrer
        answer = await self._web.request(method, url, headers, body)
        if self.is_at_home(url):
            self._keep(answer)
        return answer

    def _keep(self, answer: Answer) -> None:
        for cookie in answer.headers.get_list("set-cookie"):
            first, *attributes = cookie.split(";")
            name, _, value = first.strip().partition("=")
            ends = {attribute.strip().lower() for attribute in attributes}
            if not value.strip('"') or "max-age=0" in ends:
                self._cookies.pop(name, None)
            else:
                self._cookies[name] = value


def leads_to(answer: Answer) -> str:
    """Return where an answer redirects to; "" if it does not."""
    location = answer.headers.get("location", "")
    return joined(answer.url, location) if answer.status in _REDIRECTS and location else ""
