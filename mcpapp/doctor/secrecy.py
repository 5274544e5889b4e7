"""What the doctor must never show: codes, tokens, secrets and cookies, which servers repeat when they are sent them."""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote_plus

HIDDEN = "[hidden]"
MINIMUM_CHARACTERS = 8
"""A shorter value is no secret, and hiding it would tear words apart."""

# Secrets that were not announced, in the forms in which servers write them: JSON, forms, URLs and headers.
_NAMES = (
    r"access_token|refresh_token|id_token|client_secret|registration_access_token|code_verifier|code|token|assertion"
    r"|password|sessionid|csrftoken|csrfmiddlewaretoken|device_code"
)
_PATTERNS = (
    re.compile(rf"""(["']?\b(?:{_NAMES})["']?\s*[:=]\s*["']?)([A-Za-z0-9._~+/%-]{{12,}}=*)"""),
    re.compile(r"(\b(?:Bearer|Basic|DPoP)\s+)([A-Za-z0-9._~+/-]{20,}=*)", re.IGNORECASE),
    re.compile(r"()(\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?)"),
)


class Secrets:
    """Values that are hidden wherever they turn up, in the spellings of URLs as well."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def add(self, *values: object) -> None:
        """Hide what is text among these values from now on."""
        for value in values:
            if isinstance(value, str) and len(value) >= MINIMUM_CHARACTERS:
                self._known |= {value, quote(value), quote(value, safe=""), quote_plus(value)}

    def add_query_of(self, url: str) -> None:
        """Hide the values of a URL's query, as of one that was pasted with a key in it."""
        for part in url.partition("#")[0].partition("?")[2].split("&"):
            value = part.partition("=")[2]
            self.add(value, unquote_plus(value))

    def hide(self, text: str) -> str:
        """Return a text without them, and without what looks like one."""
        for value in sorted(self._known, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\g<1>{HIDDEN}", text)
        return text
