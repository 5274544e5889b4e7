"""The browser of a client that opens one by itself: `python -m tests.clients.browser URL`.

The person of STAR_PERSON (name:password) approves, and the answer is delivered to the client's loopback callback.
STAR_BROWSER_PROFILE is a file that keeps their cookies. STAR_BROWSER_LOG gets each URL opened, how many consent pages
were answered and each failure, because clients throw away our output.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from tests.clients.person import TIMEOUT_SECONDS, Person

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def deliver(callback: str) -> None:
    """Open the client's callback the way the redirect would."""
    if urlsplit(callback).hostname not in LOOPBACK:
        raise AssertionError(f"the server sent the browser away to {callback}")
    # Some clients open the browser first and listen after: knock again for a while.
    patient = httpx2.HTTPTransport(retries=6)
    with httpx2.Client(transport=patient, timeout=TIMEOUT_SECONDS, follow_redirects=True, trust_env=False) as browser:
        answer = browser.get(callback)
    if answer.is_error:
        raise AssertionError(f"the client's callback {callback} answered {answer.status_code}: {answer.text[:500]}")


def main(url: str) -> int:
    username, _, password = os.environ.get("STAR_PERSON", "demo:demo").partition(":")
    profile = os.environ.get("STAR_BROWSER_PROFILE")
    note(f"OPENED {url}")
    try:
        with Person(username, password, Path(profile) if profile else None) as person:
            if "user_code=" in url:  # nothing comes back: the client polls (RFC 8628)
                note(f"CONNECTED {person.connect_device(url)}")
                note(f"CONSENTS {person.consents}")
            else:
                answer = person.approve(url)
                note(f"CONSENTS {person.consents}")
                deliver(answer)
    except (AssertionError, httpx2.HTTPError) as error:
        note(f"FAILED {error!r}")
        return 1
    return 0


def note(line: str) -> None:
    with Path(os.environ.get("STAR_BROWSER_LOG", os.devnull)).open("a", encoding="utf-8") as log:
        log.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
