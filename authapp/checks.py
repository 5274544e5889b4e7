"""System checks: combinations of settings that would fail later, or be unsafe, are named at startup."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from authapp import conf


@register
def check_issuers_and_resources(**_: Any) -> list[CheckMessage]:
    """An issuer and a resource must be given, absolute, and without a trailing slash."""
    problems: list[CheckMessage] = []
    for name, urls in (("ISSUERS", conf.issuers()), ("RESOURCES", conf.resources())):
        if not urls:
            problems.append(Error(f"AUTHAPP['{name}'] is empty.", hint="List at least one URL.", id="authapp.E001"))
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.netloc or url.endswith("/") or parts.query:
                problems.append(
                    Error(
                        f"AUTHAPP['{name}'] has {url!r}, which is not an absolute URL without a trailing slash.",
                        hint="Clients compare it byte for byte with what people paste.",
                        id="authapp.E002",
                    )
                )
    return problems


@register
def check_application_model(**_: Any) -> list[CheckMessage]:
    """DOT must use our application model, which must be chosen before the first migration."""
    if getattr(settings, "OAUTH2_PROVIDER_APPLICATION_MODEL", "") != "authapp.Application":
        return [
            Error(
                "OAUTH2_PROVIDER_APPLICATION_MODEL is not 'authapp.Application'.",
                hint="Set it before the first migrate; changing it later needs a data migration.",
                id="authapp.E003",
            )
        ]
    return []


@register
def check_client_hosts(**_: Any) -> list[CheckMessage]:
    """A host that could never be met would silently allow or deny nobody."""
    try:
        conf.client_hosts_allowed()
        conf.client_hosts_denied()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="List hosts like app.example, or .example for all under it.", id="authapp.E004")]
    return []


@register
def check_registration_limit(**_: Any) -> list[CheckMessage]:
    """A limit that never refills would end registration for everybody."""
    try:
        conf.registration_refill_per_minute()
    except (ImproperlyConfigured, TypeError, ValueError) as error:
        return [Error(str(error), hint="REGISTRATION_BURST = 0 switches the limit off.", id="authapp.E005")]
    return []


@register
def check_openid(**_: Any) -> list[CheckMessage]:
    """What a subject is must be said rightly from the start: changed later, people are strangers to their clients."""
    try:
        conf.subject_type()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="Leave it out for public.", id="authapp.E019")]
    return []
