"""System checks: combinations of settings that would fail later, or be unsafe, are named at startup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.utils.module_loading import import_string
from oauth2_provider.settings import oauth2_settings

from authapp import conf, identities, trusted_issuers
from authapp.accounts import is_a_persons, is_powerful

OAUTH_CLASSES = {
    "OAUTH2_VALIDATOR_CLASS": "authapp.validator.Validator",
    "OAUTH2_SERVER_CLASS": "authapp.server.Server",
    "OAUTH2_BACKEND_CLASS": "authapp.oauthlib_core.OAuthLibCore",
}
"""What DOT must be told to use (`OAUTH2_PROVIDER`)."""

_HOST_IN_A_URL = re.compile(r"(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")  # as authapp/key_sets.py reads it


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
def check_oauth_classes(**_: Any) -> list[CheckMessage]:
    """With DOT's own classes a part would work, and the rest fail when first used, or store codes in clear."""
    problems: list[CheckMessage] = []
    for name, path in OAUTH_CLASSES.items():
        try:
            is_ours = issubclass(getattr(oauth2_settings, name), import_string(path))
        except ImportError as error:
            problems.append(Error(f"OAUTH2_PROVIDER['{name}']: {error}", id="authapp.E009"))
            continue
        if not is_ours:
            problems.append(
                Error(
                    f"OAUTH2_PROVIDER['{name}'] is neither {path} nor made from it.",
                    hint="The three belong together; config/settings.py shows them.",
                    id="authapp.E009",
                )
            )
    return problems


@register
def check_limits(**_: Any) -> list[CheckMessage]:
    """A limit that never refills would end for everybody what it limits."""
    problems: list[CheckMessage] = []
    for refill in (
        conf.registration_refill_per_minute,
        conf.document_fetch_refill_per_minute,
        conf.device_authorization_refill_per_minute,
    ):
        try:
            refill()
        except (ImproperlyConfigured, TypeError, ValueError) as error:
            problems.append(Error(str(error), hint="The limit is off where its …_BURST is 0.", id="authapp.E005"))
    return problems


@register
def check_private_key_hosts(**_: Any) -> list[CheckMessage]:
    """A host that stands in no URL in this way would silently let no key set be fetched."""
    return [
        Error(
            f"AUTHAPP['PRIVATE_KEY_HOSTS'] has {host!r}, which is no host as it stands in a URL.",
            hint="List hosts like idp.intranet.example, or 127.0.0.1:8080 where the URL has a port.",
            id="authapp.E010",
        )
        for host in sorted(conf.private_key_hosts())
        if not _HOST_IN_A_URL.fullmatch(host)
    ]


@register
def check_trusted_issuers(**_: Any) -> list[CheckMessage]:
    """An issuer that cannot be understood is not trusted; nobody would know why nothing is accepted."""
    hint = "docs/enterprise.md has an example."
    found: list[CheckMessage] = [
        Error(problem, hint=hint, id="authapp.E006") for problem in trusted_issuers.problems_with_settings()
    ]
    rules = {entry.get("rule") for entry in conf.trusted_issuers() if isinstance(entry, dict)}
    if "email" in rules and identities.email_field() is None:
        found.append(Error("The rule email finds nobody: users have no e-mail address.", hint=hint, id="authapp.E007"))
    if "email" in rules and conf.sign_up_url():
        found.append(
            Warning(
                "With the rule email and SIGN_UP_URL, whoever signs up with somebody else's address gets that person's "
                "clients.",
                hint="Make sure that nobody has an account under an address that is not proven to be theirs.",
                id="authapp.W001",
            )
        )
    return found


@register(Tags.database, deploy=True)
def check_service_users(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """What a service runs as may do little, and nobody signs in as it (`check --deploy --database default`)."""
    from authapp.models import Application  # needs loaded models

    problems: list[CheckMessage] = []
    if not databases or router.db_for_read(Application) not in databases:
        return problems
    for client in Application.objects.exclude(service_user=None).select_related("service_user").order_by("pk"):
        if is_powerful(client.service_user):
            problems.append(
                Warning(
                    f"The service {str(client)!r} runs as {client.service_user}, which is staff or a superuser.",
                    hint="Give it an account of its own, with the permissions that its tools need.",
                    id="authapp.W002",
                )
            )
        if is_a_persons(client.service_user):
            problems.append(
                Warning(
                    f"The service {str(client)!r} runs as {client.service_user}, which is a person's account.",
                    hint="Give it an account that nobody can sign in to: no password, never used.",
                    id="authapp.W003",
                )
            )
    return problems


@register
def check_openid(**_: Any) -> list[CheckMessage]:
    """What a subject is must be said rightly from the start: changed later, people are strangers to their clients."""
    try:
        conf.subject_type()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="Leave it out for public.", id="authapp.E008")]
    return []
