"""The JWT bearer grant (RFC 7523 §2.1) for ID-JAGs: an identity provider says which of its people a client acts for.

"The extension" is MCP's enterprise-managed authorization, "the draft" draft-ietf-oauth-identity-assertion-authz-grant.
Why an assertion is refused is said in the log and in the audit trail; the client hears `invalid_grant` and no more,
since it would learn from it who is known here.
"""

from __future__ import annotations

import json
import logging
from typing import Any, NoReturn

from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.scopes import get_scopes_backend
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors
from oauthlib.oauth2.rfc6749.grant_types.base import GrantTypeBase
from oauthlib.oauth2.rfc6749.utils import scope_to_list

from authapp import asserted_access, assertions, audit, conf, identities, trusted_issuers
from authapp.grants.issuing import kept
from authapp.models import AssertedToken
from authapp.trusted_issuers import Issuer

logger = logging.getLogger(__name__)

TYP = "oauth-id-jag+jwt"
_NOT_UNDERSTOOD = ("cnf", "authorization_details", "aud_tenant")
"""Claims that narrow what an assertion is good for. Who cannot do what they ask must not do less (RFC 9396 §5)."""


class IdentityAssertionGrant(GrantTypeBase):
    """oauthlib's side of it; the validator is asked for everything that matters."""

    refresh_token = False

    def create_token_response(self, request: Request, token_handler: Any) -> tuple[dict[str, str], str, int]:
        """Return headers, body and status of the answer: an access token, never a refresh token (the draft, §4.4.3)."""
        headers: dict[str, str] = self._get_default_headers()
        try:
            self._authenticate(request)
            self.validate_grant_type(request)
            if not getattr(request, "assertion", ""):
                raise errors.InvalidRequestError(description="assertion is missing.", request=request)
            self.request_validator.validate_identity_assertion(request)
            token = token_handler.create_token(request, refresh_token=False)
            token["expires_in"] = min(int(token["expires_in"]), conf.asserted_token_seconds())
            [token["resource"]] = request.resource  # the draft, §4.4.1: what was granted is told
            self.request_validator.save_token(token, request)
        except errors.OAuth2Error as error:
            return headers | error.headers, error.json, error.status_code
        return headers, json.dumps(token), 200

    def _authenticate(self, request: Request) -> None:
        """Let confidential clients alone in (the draft, §8.1)."""
        if not self.request_validator.authenticate_client(request):
            raise errors.InvalidClientError(request=request)
        client = request.client
        if request.client_id and request.client_id != client.client_id:
            raise errors.InvalidClientError(description="client_id is another client's.", request=request)
        request.client_id = client.client_id
        if client.client_type != client.CLIENT_CONFIDENTIAL:
            raise errors.UnauthorizedClientError(request=request)


class IdentityAssertion(OAuth2Validator):
    """The ID-JAG's part of the validator."""

    def validate_identity_assertion(self, request: Request) -> None:
        """Accept the assertion of a request from an authenticated client, once, and put on the request what it grants.

        Raises:
            oauthlib.oauth2.rfc6749.errors.OAuth2Error: `invalid_grant`, `invalid_scope` or `invalid_target`.
        """
        issuer, assertion = self._verified(request)
        claims = assertion.claims
        if problem := _problem_with_claims(claims, issuer, request.client):
            _refuse(request, problem, issuer)
        request.granted_resource = [_resource(claims)]
        request.scopes = self._grantable_scopes(request, issuer, claims)
        self._check_and_set_request_resource(request)
        try:
            identity = identities.identify(issuer, claims, request.client, request.headers)
        except identities.UnknownPerson as error:
            _refuse(request, f"{error}", issuer, subject=claims["sub"])
        request.user, request.identity = identity.user, identity
        if not trusted_issuers.is_still_trusted(issuer):
            _refuse(request, "iss was disabled a moment ago", issuer)
        # Last, so that only what was accepted counts as used; and in the transaction that stores the token.
        if not assertions.use_once(assertion):
            _refuse(request, "it was used before", issuer, subject=identity.subject)
        actor = claims.get("act")
        request.audit_detail = {"issuer": issuer.issuer, "subject": identity.subject} | (
            {"actor": _short(actor.get("sub"))} if isinstance(actor, dict) else {}
        )

    def _create_access_token(self, expires: Any, request: Request, token: Any, source_refresh_token: Any = None) -> Any:
        """Note on whose word a token was issued, and show it to the person among their connected apps."""
        access_token = super()._create_access_token(expires, request, token, source_refresh_token)
        if identity := kept(request, "identity"):
            asserted_access.connect(identity, request.client, scope=token["scope"], resource=request.resource[0])
            AssertedToken.objects.create(access_token=access_token, identity=identity)
        return access_token

    def _verified(self, request: Request) -> tuple[Issuer, assertions.Assertion]:
        """Return an assertion, and the trusted issuer that signed it for this server (RFC 7523 §3)."""
        try:
            issuer = trusted_issuers.find(assertions.read(request.assertion).claims.get("iss"))
            if issuer is None:
                raise assertions.InvalidAssertion("iss is not trusted")
            return issuer, assertions.verify(
                request.assertion,
                issuer.keys(),
                audiences={conf.issuer_at(request.headers)},
                issuer=issuer.issuer,
                typ=TYP,
                maximum_lifetime=conf.identity_assertion_maximum_seconds(),
            )
        except assertions.InvalidAssertion as error:
            _refuse(request, f"{error}", None)

    def _grantable_scopes(self, request: Request, issuer: Issuer, claims: dict[str, Any]) -> list[str]:
        """Return what the assertion, the request, the issuer and the client all allow (the extension, §7.2.1).

        Without a claim `scope` the assertion leaves it to this server's policy (the draft, §4.4.1): what the owner
        listed for the issuer, and nothing where nothing is listed.
        """
        known = set(get_scopes_backend().get_available_scopes(application=request.client, request=request))
        if "scope" in claims:
            asserted = claims["scope"].split(" ") if isinstance(claims["scope"], str) and claims["scope"] else []
            if not set(asserted) <= known:
                _refuse(request, "scope has one that this server does not have", issuer)  # the extension, §7.6.2
        else:
            asserted = sorted(issuer.scopes)
        # On another's word there is no refresh token and no ID token, nor what goes with one.
        allowed = conf.with_implied(asserted) & known - conf.SCOPES_OF_PEOPLE
        for limit in (issuer.scopes, request.client.scope.split()):
            if limit:
                allowed &= conf.with_implied(limit)
        asked = scope_to_list(request.scope)
        granted = [scope for scope in dict.fromkeys(asked or [*asserted, *sorted(allowed)]) if scope in allowed]
        if not asked:  # said once: mcp:write says mcp:tools as well
            granted = [one for one in granted if not any(one in conf.with_implied([o]) for o in granted if o != one)]
        if not granted:
            _refuse(
                request, "no scope is left that assertion, request, issuer and client all allow", issuer, scope=True
            )
        return granted


def _problem_with_claims(claims: dict[str, Any], issuer: Issuer, client: Any) -> str:
    """Return why verified claims do not make a grant for this client, or nothing."""
    if "iat" not in claims:
        return "iat is missing"
    # Not by their difference: of a fraction and an endless whole number there is none.
    if claims["iat"] < claims["exp"] - conf.identity_assertion_maximum_seconds():
        return "it is good for longer than it may be"
    if claims.get("client_id") != client.client_id:
        return "client_id is another client's"
    if issuer.clients and client.client_id not in issuer.clients:
        return "the issuer does not speak for this client"
    if claims.get("tenant", "") != issuer.tenant:
        return "tenant is another one"  # the draft, §6.3: the same sub may be somebody else there
    if found := [name for name in _NOT_UNDERSTOOD if name in claims]:
        return f"{found[0]} is not understood here"
    if not _resource(claims):
        return "resource is not one of this server's"
    return ""


def _resource(claims: dict[str, Any]) -> str:
    """Return the one resource of ours that an assertion is for, or nothing (the extension, §7.6.2)."""
    resource = claims.get("resource")
    if isinstance(resource, list) and len(resource) == 1:
        [resource] = resource
    return (conf.canonical_resource(resource) or "") if isinstance(resource, str) else ""


def _refuse(
    request: Request, reason: str, issuer: Issuer | None, *, subject: str = "", scope: bool = False
) -> NoReturn:
    """Write down why, tell the client no more than that.

    Raises:
        oauthlib.oauth2.rfc6749.errors.OAuth2Error: always.
    """
    name = issuer.issuer if issuer else ""
    logger.warning("An assertion of client %s was refused (issuer %r): %s.", request.client.client_id, name, reason)
    audit.record(
        audit.Action.ASSERTION_REFUSED,
        request.headers,
        application=request.client,
        reason=reason,
        **({"issuer": name} if name else {}),
        **({"subject": _short(subject)} if subject else {}),
    )
    if scope:
        raise errors.InvalidScopeError(request=request)
    raise errors.InvalidGrantError(description="The assertion is not accepted.", request=request)


def _short(text: Any) -> str:
    return "".join(one for one in str(text)[:255] if one.isprintable())
