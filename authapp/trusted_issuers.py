"""The identity providers whose word about people counts: those of the settings and those of the admin.

Default deny: none, unless the owner lists one. Its identifier and the address of its keys are pinned, compared byte for
byte and never discovered: whoever answers for a name today shall not be able to name other keys.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.utils.module_loading import import_string
from oauth2_provider.scopes import get_scopes_backend

from authapp import assertions, conf, key_sets
from authapp.models import TrustedIssuer

logger = logging.getLogger(__name__)

PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"
RULES = frozenset(TrustedIssuer.Rule.values)
_FIELDS = frozenset({"issuer", "name", "jwks_uri", "jwks", "rule", "email_domains", "scopes", "clients", "tenant"})
_MAXIMUM_ISSUER = 255
_NO_DOMAIN = re.compile(r"[@,;\s]|^\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A trusted issuer. Empty `scopes` and `clients` set no limit of its own."""

    issuer: str
    name: str = ""
    jwks_uri: str = ""
    jwks: tuple[dict[str, Any], ...] = ()
    rule: str = "linked"
    """`linked`, `email`, or the dotted path of a function (`authapp.identities`)."""
    email_domains: frozenset[str] = frozenset()
    """In lower case, each in full."""
    scopes: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()
    tenant: str = ""
    """What the claim `tenant` must be; empty: there must be none."""

    def __str__(self) -> str:
        return self.name or self.issuer

    def keys(self) -> list[dict[str, Any]]:
        """Return the keys its assertions may be signed with, without asking the network."""
        return list(self.jwks) if self.jwks else key_sets.known(self.jwks_uri)


def find(issuer: Any) -> Issuer | None:
    """Return the enabled issuer with exactly this identifier, or None."""
    if not isinstance(issuer, str) or not issuer.isascii() or not issuer.isprintable():
        return None
    row = TrustedIssuer.objects.filter(issuer=issuer).first()
    if row is not None and row.disabled_at is not None:
        return None  # whatever the settings say
    for trusted in _of_settings():
        if trusted.issuer == issuer:
            return trusted
    try:
        return of_row(row) if row is not None else None
    except ImproperlyConfigured as error:
        logger.error("The trusted issuer %r is left out: %s", issuer, error)
        return None


def is_still_trusted(trusted: Issuer) -> bool:
    """Return whether an issuer that was found still counts, and keep it so until the transaction ends.

    Whoever disables one waits for that lock, and then sees what was issued meanwhile.
    """
    row = TrustedIssuer.objects.select_for_update().filter(issuer=trusted.issuer).first()
    if row is not None:
        return row.disabled_at is None
    return any(listed.issuer == trusted.issuer for listed in _of_settings())


def display_name(issuer: str) -> str:
    """Return what people call an issuer, trusted or not any more; its host at least."""
    for trusted in _of_settings():
        if trusted.issuer == issuer:
            return trusted.name or urlsplit(issuer).netloc
    row = TrustedIssuer.objects.filter(issuer=issuer).first()
    return (row.name if row else "") or urlsplit(issuer).netloc


def grant_types() -> tuple[str, ...]:
    """Return the grant that trusted issuers are for, where there is one: else the server has no such grant."""
    return (conf.JWT_BEARER,) if _any() else ()


def _any() -> bool:
    listed = {trusted.issuer for trusted in _of_settings()}
    try:
        rows = list(TrustedIssuer.objects.filter(issuer__in=listed).exclude(disabled_at=None))
        if listed - {row.issuer for row in rows}:
            return True
        return TrustedIssuer.objects.filter(disabled_at=None).exists()
    except DatabaseError:  # what clients discover needs no database otherwise
        return bool(listed)


def refresh_keys(assertion: str) -> None:
    """Fetch the keys of the issuer that an assertion names, if that is due; never raises for what a stranger sends.

    Anybody may make us ask, but only at addresses that the owner listed, and once a minute for a key that is not known.
    """
    try:
        claimed = assertions.read(assertion)
    except assertions.InvalidAssertion:
        return
    trusted = find(claimed.claims.get("iss"))
    if trusted is None or not trusted.jwks_uri:
        return
    kid = claimed.header.get("kid")
    key_sets.refresh(trusted.jwks_uri, kid=kid if isinstance(kid, str) else None)


# --- Reading them --------------------------------------------------------------------------------------------


def of_row(row: TrustedIssuer) -> Issuer:
    """Return the issuer of a row, enabled or not.

    Raises:
        ImproperlyConfigured: what is wrong with it.
    """
    if row.rule not in RULES:
        # Only who can change the code may name code.
        raise ImproperlyConfigured(f"rule must be one of {', '.join(sorted(RULES))}.")
    return parse(
        {
            "issuer": row.issuer,
            "name": row.name,
            "jwks_uri": row.jwks_uri,
            **({} if row.jwks is None else {"jwks": row.jwks}),
            "rule": row.rule,
            "email_domains": row.email_domains.split(),
            "scopes": row.scopes.split(),
            "clients": row.clients.split(),
            "tenant": row.tenant,
        }
    )


def parse(entry: Any) -> Issuer:
    """Return the issuer that an entry of `AUTHAPP["TRUSTED_ISSUERS"]` describes.

    Raises:
        ImproperlyConfigured: what is wrong with it.
    """
    if not isinstance(entry, Mapping):
        raise ImproperlyConfigured("an entry must be a dictionary.")
    if unknown := sorted(str(name) for name in entry if name not in _FIELDS):
        raise ImproperlyConfigured(f"there is no {', '.join(unknown)}; there is {', '.join(sorted(_FIELDS))}.")
    issuer = _text(entry, "issuer")
    _require_issuer(issuer)
    jwks_uri, jwks = _text(entry, "jwks_uri"), entry.get("jwks")
    if bool(jwks_uri) == (jwks is not None):
        raise ImproperlyConfigured("exactly one of jwks_uri and jwks must be given.")
    if jwks_uri:
        _require_fetchable(jwks_uri)
    rule = _text(entry, "rule") or "linked"
    domains = frozenset(domain.lower() for domain in _texts(entry, "email_domains"))
    if rule == "email" and not domains:
        raise ImproperlyConfigured("the rule email needs email_domains.")
    if any(_NO_DOMAIN.search(domain) or "." not in domain.strip(".") for domain in domains):
        raise ImproperlyConfigured("email_domains must be domains in full, like example.com.")
    if rule not in RULES:
        _require_function(rule)
    return Issuer(
        issuer=issuer,
        name=_text(entry, "name"),
        jwks_uri=jwks_uri,
        jwks=_keys(jwks) if jwks is not None else (),
        rule=rule,
        email_domains=domains,
        scopes=frozenset(_texts(entry, "scopes")),
        clients=frozenset(_texts(entry, "clients")),
        tenant=_text(entry, "tenant"),
    )


def require_known_scopes(trusted: Issuer) -> None:
    """Let no misspelt scope pass in silence when somebody writes an issuer down: it would never be granted.

    Raises:
        ImproperlyConfigured: the scopes that this server does not have, and those it has.
    """
    known = get_scopes_backend().get_all_scopes()
    if unknown := sorted(trusted.scopes - set(known)):
        raise ImproperlyConfigured(f"there is no scope {', '.join(unknown)}; there is {', '.join(sorted(known))}.")


def problems_with_settings() -> list[str]:
    """Return what is wrong with the issuers of the settings, each in a sentence."""
    problems, seen = [], set()
    for number, entry in enumerate(conf.trusted_issuers()):
        try:
            trusted = parse(entry)
            require_known_scopes(trusted)
        except ImproperlyConfigured as error:
            problems.append(f"AUTHAPP['TRUSTED_ISSUERS'][{number}]: {error}")
            continue
        if trusted.issuer in seen:
            problems.append(f"AUTHAPP['TRUSTED_ISSUERS'] has {trusted.issuer} twice.")
        seen.add(trusted.issuer)
    return problems


def _of_settings() -> Iterable[Issuer]:
    for number, entry in enumerate(conf.trusted_issuers()):
        try:
            yield parse(entry)
        except ImproperlyConfigured as error:
            # A server does not run `check`: what cannot be understood is not trusted, and nothing else breaks by it.
            logger.error("AUTHAPP['TRUSTED_ISSUERS'][%d] is left out: %s", number, error)


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name, "")
    if not isinstance(value, str):
        raise ImproperlyConfigured(f"{name} must be a text.")
    return value


def _texts(entry: Mapping[str, Any], name: str) -> list[str]:
    values = entry.get(name, ())
    if not isinstance(values, list | tuple | set | frozenset) or not all(
        isinstance(value, str) and value and value.isascii() and value.isprintable() for value in values
    ):
        raise ImproperlyConfigured(f"{name} must be a list of texts.")
    return list(values)


def _require_issuer(issuer: str) -> None:
    """Refuse what is no absolute https URL (RFC 8414 §2); plain http is for hosts that the owner named."""
    wrong = ImproperlyConfigured(
        f"issuer must be an absolute https URL of at most {_MAXIMUM_ISSUER} characters, without query or fragment; "
        "to try one out, http on loopback if PRIVATE_KEY_HOSTS has its host."
    )
    if not issuer.isascii() or not issuer.isprintable() or len(issuer) > _MAXIMUM_ISSUER or set(issuer) & set(" ?#@"):
        raise wrong
    try:
        parts = urlsplit(issuer)
        parts.port  # noqa: B018  (raises for one that is no number)
    except ValueError as error:
        raise wrong from error
    private = parts.scheme == "http" and parts.netloc in conf.private_key_hosts()
    if not (parts.scheme == "https" or private) or not parts.hostname:
        raise wrong


def _require_fetchable(jwks_uri: str) -> None:
    try:
        key_sets.require_fetchable(jwks_uri, is_strangers=False)
    except key_sets.KeySetError as error:
        raise ImproperlyConfigured(str(error)) from error


def _keys(jwks: Any) -> tuple[dict[str, Any], ...]:
    try:
        keys = tuple(key_sets.parse(jwks))
    except key_sets.KeySetError as error:
        raise ImproperlyConfigured(f"jwks: {error}") from error
    if not keys:
        raise ImproperlyConfigured("jwks has no key that could be used.")
    return keys


def _require_function(path: str) -> None:
    try:
        found = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"rule must be linked, email or the path of a function: {error}") from error
    if not callable(found):
        raise ImproperlyConfigured(f"rule {path} is no function.")
