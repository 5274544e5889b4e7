"""What the pages about connecting a client have in common."""

from __future__ import annotations

from authapp.errors import ResponseT

_SCRIPT = "script-src 'self'; "


def private(response: ResponseT, *, script: bool = False) -> ResponseT:
    """Keep the pages and redirects out of caches and frames; `script` lets a page run the site's own files.

    No `form-action`: browsers apply it to the redirect after the form too, and an IPv6 loopback cannot be named in it.
    """
    response["Cache-Control"] = "no-store"
    # Not "no-referrer": browsers then post the form with `Origin: null`, which the CSRF check refuses.
    response["Referrer-Policy"] = "same-origin"
    response["Content-Security-Policy"] = (
        f"default-src 'none'; {_SCRIPT if script else ''}style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return response
