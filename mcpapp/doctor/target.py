"""What is examined: one MCP endpoint, and what is known of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Target:
    """The endpoint at `url`. The walk fills in what discovery tells, and a token while it has one."""

    url: str
    is_own_site: bool = False
    """Whether this checkout's settings say that it serves the URL: then it may make a person and sign in."""
    resource: str = ""
    """The URL until the protected resource metadata (RFC 9728) names it."""
    issuer: str | None = None
    access_token: str | None = field(default=None, repr=False)
    """A live access token for the resource, as long as the walk has one."""

    def __post_init__(self) -> None:
        self.resource = self.resource or self.url

    @property
    def origin(self) -> str:
        """The scheme and the host of the URL (RFC 6454 §6.2), without a path."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path(self) -> str:
        """The path of the URL."""
        return urlsplit(self.url).path
