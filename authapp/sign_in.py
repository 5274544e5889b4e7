"""What a client may ask about the sign-in itself: `prompt`, `max_age` and `login_hint` (OIDC Core §3.1.2.1), and when
a consent given before still counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseRedirect, QueryDict
from django.shortcuts import resolve_url
from django.utils import timezone

from authapp import client_hosts, conf, redirect_uris
from authapp.models import Application, Connection

MAXIMUM_AGE_SECONDS = 10 * 365 * 24 * 3600
PROMPTS = frozenset({"none", "login", "consent", "create", "select_account"})


class InvalidPrompt(ValueError):
    """`prompt` or `max_age` cannot be satisfied; the message is for the client's developer."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request asks of the sign-in."""

    prompt: frozenset[str]
    max_age_seconds: int | None
    login_hint: str

    @property
    def silent(self) -> bool:
        """Whether no page may be shown."""
        return "none" in self.prompt

    @property
    def consent_anew(self) -> bool:
        """Whether a remembered consent does not count."""
        return bool(self.prompt & {"consent", "select_account"})

    def sign_in_anew(self, request: HttpRequest) -> bool:
        """Return whether a person who is signed in has to prove it again."""
        if "login" in self.prompt:
            return True
        if self.max_age_seconds is None:
            return False
        authenticated_at = conf.authenticated_at()(request)
        return authenticated_at is None or authenticated_at + self.max_age_seconds < time.time()


def read(parameters: QueryDict) -> Wishes:
    """Read the wishes of an authorization request.

    Raises:
        InvalidPrompt: `none` beside another value, a value not known here, or a `max_age` that is no number.
    """
    prompt = frozenset(parameters.get("prompt", "").split())
    if "none" in prompt and len(prompt) > 1:
        raise InvalidPrompt("prompt=none stands alone.")
    supported = conf.prompts_supported()
    if not prompt <= supported | {"select_account"}:
        raise InvalidPrompt(f"prompt is one of {', '.join(sorted(supported))}.")
    text = parameters.get("max_age", "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InvalidPrompt("max_age is a number of seconds.")
    max_age = min(int(text), MAXIMUM_AGE_SECONDS) if text else None
    return Wishes(prompt, max_age, parameters.get("login_hint", "")[:150])


def redirect(request: HttpRequest, page: str, wishes: Wishes) -> HttpResponseRedirect:
    """Redirect to a page that signs people in and comes back, without the wishes that it will have satisfied."""
    query = QueryDict(request.META.get("QUERY_STRING", "")).copy()
    for satisfied in ("prompt", "max_age", "login_hint"):
        query.pop(satisfied, None)
    if wishes.consent_anew:
        query["prompt"] = "consent"
    response = redirect_to_login(f"{request.path}?{urlencode(list(query.lists()), doseq=True)}", resolve_url(page))
    if wishes.login_hint:
        response["Location"] += f"&{urlencode({'login_hint': wishes.login_hint})}"
    return response


def consent_is_remembered(user: Any, application: Application, scopes: list[str], credentials: dict[str, Any]) -> bool:
    """Return whether the person allowed just this before, to a client that is proven to be the same.

    Proven is a client whose answers can only reach a host that vouches for it: one with a metadata document on the host
    that it redirects to, or one that an administrator entered, over https. A client that registered itself, or one
    that answers to a program on the person's computer, could be anybody (RFC 8252 §8.6, RFC 9700 §4.14).
    """
    redirect_uri = credentials["redirect_uri"]
    by_hand = application.registration_source == Application.RegistrationSource.MANUAL
    proven = redirect_uri.startswith("https://") and (by_hand or client_hosts.is_verified(application, redirect_uri))
    seconds = conf.consent_remembered_seconds()
    if not proven or not seconds:
        return False
    connection = Connection.objects.filter(
        user=user,
        application=application,
        resource=credentials["resource"][0],
        redirect_destination=redirect_uris.destination(redirect_uri)[:255],
        authorized_at__gt=timezone.now() - timedelta(seconds=seconds),
    ).first()
    return connection is not None and conf.with_implied(connection.scope.split()).issuperset(scopes)
