"""Turn the text of environment variables into checked values.

Nothing here reads the environment: `config.settings` does, and hands the text over. Every function
raises `ImproperlyConfigured` with one sentence that names the variable and says what it should be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
MINIMUM_SECRET_KEY_LENGTH = 50


def read(reader: Callable[..., T], name: str, wanted: str, **options: Any) -> T:
    """Read one variable with a django-environ reader, e.g. `read(env.int, "PORT", "a whole number", default=8000)`."""
    try:
        return reader(name, **options)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be {wanted}.") from error


def boolean(text: str, name: str) -> bool:
    """Return True or False; anything but the usual spellings is refused, so that a typo never means "off"."""
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return known[text.strip().lower()]
    except KeyError:
        raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.") from None


def choice(text: str, name: str, choices: tuple[str, ...]) -> str:
    """Return one of a few words."""
    if text not in choices:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(choices)}, not {text!r}.")
    return text


def bearer_secret(text: str, name: str) -> str:
    """Return a secret that programs send as a bearer token (RFC 6750 §2.1), or nothing."""
    if text and not re.fullmatch(r"[A-Za-z0-9._~+/-]{32,200}=*", text):
        raise ImproperlyConfigured(f"{name} must be 32 or more random letters, digits and -._~+/.")
    return text


def header_name(text: str, name: str) -> str:
    """Return the name of an HTTP header (RFC 9110 §5.1) in lower case, or nothing."""
    if text and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text):
        raise ImproperlyConfigured(f"{name} must be the name of a header, like X-Request-ID, not {text!r}.")
    return text.lower()


def port(number: int) -> int:
    """Return a TCP port."""
    if not 1 <= number <= 65535:
        raise ImproperlyConfigured(f"PORT must be between 1 and 65535, not {number}.")
    return number


def public_url(text: str, *, debug: bool) -> str:
    """Return the one URL under which people reach this site, without a trailing slash.

    It is the issuer (RFC 8414 §2) and the prefix of the resource (RFC 8707 §2), so it has a host and no
    query, fragment or user; plain http is for loopback and for development only.
    """
    url = text.strip().rstrip("/")
    problem = f"PUBLIC_URL must look like https://star.example (or https://host.example/prefix), not {text!r}."
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ImproperlyConfigured(problem) from error
    plain = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
    if not plain or "?" in url or "#" in url or not url.isascii() or any(c.isspace() for c in url):
        raise ImproperlyConfigured(problem)
    if url != url.lower() and (parts.scheme != parts.scheme.lower() or parts.netloc != parts.netloc.lower()):
        raise ImproperlyConfigured("PUBLIC_URL must spell its scheme and host in lower case: clients compare bytes.")
    if parts.netloc.endswith({"https": ":443", "http": ":80"}[parts.scheme]):
        raise ImproperlyConfigured("PUBLIC_URL must leave out the port that browsers leave out: clients compare bytes.")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS and not debug:
        raise ImproperlyConfigured("PUBLIC_URL must use https outside development: OAuth sends secrets over it.")
    return url


def secret_key(text: str, *, debug: bool) -> str:
    """Return a secret key; development has a fixed one, everything else must bring its own long one."""
    if text:
        if not debug and (len(text) < MINIMUM_SECRET_KEY_LENGTH or len(set(text)) < 5):
            raise ImproperlyConfigured(
                f"SECRET_KEY must be at least {MINIMUM_SECRET_KEY_LENGTH} random characters, for example from: "
                'python -c "import secrets; print(secrets.token_urlsafe(64))"'
            )
        return text
    if debug:
        return "django-insecure-only-for-development-with-DEBUG-on-never-in-production"
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set it to a long random text, or set DEBUG=true to try Star on this machine."
    )


def database(text: str, *, parse: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return Django's settings of the database that a URL names; SQLite and PostgreSQL are what Star is tested on."""
    if text.partition("://")[0] not in {"sqlite", "postgres", "postgresql"}:
        raise ImproperlyConfigured(
            "DATABASE_URL must start with sqlite:/// or postgres://, like postgres://user:password@host:5432/name."
        )
    try:
        return dict(parse(text))
    except ValueError as error:
        raise ImproperlyConfigured("DATABASE_URL must look like postgres://user:password@host:5432/name.") from error


def cache(redis_url: str) -> dict[str, Any]:
    """Return Django's settings of the cache: Redis, which all workers share, or the memory of each."""
    if not redis_url:
        # Limits on guessing and registering are counted here, and strangers can make entries: of Django's 300 one could
        # push another's count out.
        options = {"MAX_ENTRIES": 100_000}
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": options}
    if redis_url.partition("://")[0] not in {"redis", "rediss", "unix"}:
        raise ImproperlyConfigured("REDIS_URL must look like redis://host:6379/0.")
    return {"BACKEND": "config.caches.RedisOrMemory", "LOCATION": redis_url}


def mail(text: str, *, parse: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return Django's mail settings for a URL."""
    problem = "EMAIL_URL must look like smtp+tls://user:password@mail.example:587."
    if "://" not in text:
        raise ImproperlyConfigured(problem)
    try:
        return dict(parse(text))
    except (ValueError, KeyError, ImproperlyConfigured) as error:
        raise ImproperlyConfigured(problem) from error
