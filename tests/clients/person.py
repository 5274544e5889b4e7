"""A person at a browser: signs in and answers the consent page by filling in the HTML forms of the pages themselves.

Knows the forms by what is on them and nothing else of the server. Scripts on a page do not run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import LWPCookieJar
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import httpx2

MAX_PAGES = 20
TIMEOUT_SECONDS = 30


class Person:
    """Somebody with an account, and a browser that keeps their cookies: with a profile file, after it is closed too.

    `consents` counts the consent pages that they answered.
    """

    def __init__(self, username: str, password: str, profile: Path | None = None) -> None:
        self.username = username
        self.password = password
        self.consents = 0
        self.cookies = LWPCookieJar(profile)
        if profile and profile.exists():
            self.cookies.load(ignore_discard=True)
        # No proxy from the environment: the servers visited here are on this machine.
        self.browser = httpx2.Client(
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            cookies=self.cookies,
            headers={"User-Agent": "Mozilla/5.0 (scripted person)", "Accept": "text/html,application/xhtml+xml"},
        )

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *exception: object) -> None:
        self.browser.close()
        if self.cookies.filename:
            self.cookies.save(ignore_discard=True)

    def approve(self, authorization_url: str, *, deny: bool = False) -> str:
        """Sign in when asked, press Allow (or Deny), and return the first redirect that leaves the server.

        Raises: AssertionError with the text of the page on which the person was stuck.
        """
        home = origin(authorization_url)
        asked_to_sign_in = 0
        pressed_on: Page | None = None
        response = self.browser.get(authorization_url)
        for _ in range(MAX_PAGES):
            if response.has_redirect_location:
                target = urljoin(str(response.url), response.headers["location"])
                if pressed_on and not pressed_on.may_send_forms_to(target):
                    raise AssertionError(pressed_on.says(f"this page's form-action blocks the redirect to {target}"))
                if origin(target) != home:
                    return target
                response = self.browser.get(target)
                continue
            page = Page(response)
            if form := page.form_with_field("login"):
                asked_to_sign_in += 1
                if asked_to_sign_in > 1:
                    raise AssertionError(page.says(f"{self.username} was asked to sign in again after signing in"))
                filled = form.filled(login=self.username, password=self.password)
            elif form := page.form_with_button("allow"):
                self.consents += 1
                filled = form.filled(allow="" if deny else "true")
            else:
                raise AssertionError(page.says("neither a sign-in form nor a consent form is here"))
            pressed_on = page
            response = self._submit(page, form, filled)
        raise AssertionError(f"{MAX_PAGES} pages from {authorization_url}, and still on {response.url}")

    def connect_device(self, uri: str, user_code: str = "", *, deny: bool = False) -> str:
        """Open the page for devices, type the code unless the form has it, press Allow (or Deny).

        Returns: what the last page says.
        Raises: AssertionError with the text of the page on which the person was stuck.
        """
        answered = False
        response = self.browser.get(uri)
        for _ in range(MAX_PAGES):
            if response.has_redirect_location:
                response = self.browser.get(urljoin(str(response.url), response.headers["location"]))
                continue
            page = Page(response)
            if answered or response.is_error:
                return page.says("")
            if form := page.form_with_field("login"):
                filled = form.filled(login=self.username, password=self.password)
            elif form := page.form_with_field("authorization"):
                self.consents += 1
                answered = True
                filled = form.filled(allow="" if deny else "true")
            elif form := page.form_with_field("user_code"):
                filled = form.filled(user_code=user_code) if user_code else form.filled()
            elif sign_in := next((link for link in page.links if "next=" in link), ""):
                response = self.browser.get(urljoin(page.url, sign_in))
                continue
            else:
                raise AssertionError(page.says("neither a form nor a way to sign in is here"))
            response = self._submit(page, form, filled)
        raise AssertionError(f"{MAX_PAGES} pages from {uri}, and still on {response.url}")

    def _submit(self, page: Page, form: Form, filled: list[tuple[str, str]]) -> httpx2.Response:
        action = urljoin(page.url, form.action)
        if form.method != "post":
            return self.browser.get(f"{action.partition('?')[0]}?{urlencode(filled)}")
        # A browser names the page's origin, or "null" when the page asked for no referrer: CSRF checks look at it.
        named = "null" if page.referrer_policy == "no-referrer" else origin(page.url)
        headers = {"Origin": named, "Content-Type": "application/x-www-form-urlencoded"}
        return self.browser.post(action, content=urlencode(filled), headers=headers)


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@dataclass
class Form:
    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def filled(self, **answers: str) -> list[tuple[str, str]]:
        """What a browser would send: the form's own values, and the answers in place of theirs."""
        kept = [(name, value) for name, value in self.fields if name not in answers]
        return kept + list(answers.items())


class Page(HTMLParser):
    """The forms and the readable text of one HTML page."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__()
        self.url = str(response.url)
        self.status = response.status_code
        self.referrer_policy = response.headers.get("referrer-policy", "")
        self.form_action = form_action_sources(response.headers.get("content-security-policy", ""))
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._open: Form | None = None
        self._text: list[str] = []
        self._unread = 0
        self.feed(response.text)

    def form_with_field(self, name: str) -> Form | None:
        return next((form for form in self.forms if any(name == known for known, _ in form.fields)), None)

    def form_with_button(self, name: str) -> Form | None:
        return next((form for form in self.forms if any(name == known for known, _ in form.buttons)), None)

    def says(self, complaint: str) -> str:
        text = " ".join(" ".join(self._text).split())
        return f"{complaint}: {self.url} answered {self.status}: {text[:1000]}"

    def may_send_forms_to(self, url: str) -> bool:
        """CSP form-action, which Chrome applies to every redirect that follows the form as well."""
        if self.form_action is None:
            return True
        target = urlsplit(url)
        for source in self.form_action:
            if source == "'self'":
                allowed = origin(url) == origin(self.url)
            elif source == "*":
                allowed = target.scheme in {"http", "https"}
            elif source.endswith(":"):
                allowed = f"{target.scheme}:" == source
            else:
                scheme, _, host = source.rpartition("://")
                allowed = scheme in {"", target.scheme} and host.split("/")[0] in {
                    target.netloc,
                    f"{target.hostname}:*",
                }
            if allowed:
                return True
        return False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        name, value, kind = known.get("name", ""), known.get("value", ""), known.get("type", "").lower()
        if tag in {"script", "style"}:
            self._unread += 1
        elif tag == "a":
            self.links.append(known.get("href", ""))
        elif tag == "form":
            self._open = Form(known.get("action", ""), known.get("method", "get").lower())
            self.forms.append(self._open)
        elif self._open is None or "disabled" in known:
            return
        elif tag == "button" or kind in {"submit", "image"}:
            if kind in {"", "submit", "image"}:
                self._open.buttons.append((name, value))
        elif tag in {"input", "textarea", "select"} and name:
            if kind not in {"checkbox", "radio"}:
                self._open.fields.append((name, value))
            elif "checked" in known:
                self._open.fields.append((name, known.get("value", "on")))

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self._unread -= 1
        elif tag == "form":
            self._open = None

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self._text.append(data)


def form_action_sources(policy: str) -> list[str] | None:
    """The sources of the form-action directive; None when the policy has none and every form may go anywhere."""
    for directive in policy.split(";"):
        name, *sources = directive.split() or [""]
        if name.lower() == "form-action":
            return sources
    return None
