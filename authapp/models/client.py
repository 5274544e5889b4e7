"""The OAuth client, with the metadata of RFC 7591 §2 (docs/decisions/0001)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from oauth2_provider.models import AbstractApplication, ApplicationManager

from authapp import conf, redirect_uris
from authapp.accounts import is_a_persons

PRIVATE_KEY_JWT = "private_key_jwt"

# DOT's names of grants, where they are not the RFCs'.
_RFC_NAMES = {
    AbstractApplication.GRANT_AUTHORIZATION_CODE: "authorization_code",
    AbstractApplication.GRANT_CLIENT_CREDENTIALS: "client_credentials",
}


def dot_grant_type(grant_types: list[str]) -> str:
    """Return the one grant that DOT shall know of a client: it is what counts at the authorization endpoint."""
    if "authorization_code" in grant_types:
        return str(AbstractApplication.GRANT_AUTHORIZATION_CODE)
    return str(AbstractApplication.GRANT_DEVICE_CODE)


class Application(AbstractApplication):
    """An OAuth client with the metadata of RFC 7591 §2.

    `user` is the person on whose machine a native client runs, where that is known (docs/decisions/0004). It gives
    no right to anyone and may be empty.
    """

    # DOT deletes a client with the user; a client may serve others, so ours stays.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        related_name="%(app_label)s_%(class)s",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        verbose_name=_("bound to user"),
        help_text=_("The person on whose machine this client runs, where that is known. Gives no rights."),
    )
    disabled_at = models.DateTimeField(
        _("disabled at"), null=True, blank=True, help_text=_("A disabled client gets no token, and its tokens end.")
    )
    service_user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        related_name="+",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        verbose_name=_("service user"),
        help_text=_("What the tools run as that this client calls without a person. Not a person's account."),
    )
    # A secret is replaced while its programs run; until then the one before works too.
    previous_client_secret = models.CharField(max_length=255, blank=True, editable=False)
    previous_client_secret_expires_at = models.DateTimeField(
        _("previous secret works until"), null=True, blank=True, editable=False
    )
    last_authorized_at = models.DateTimeField(_("last authorized at"), null=True, blank=True, editable=False)

    # RFC 7591 §2, as registered. Empty means not given.
    token_endpoint_auth_method = models.CharField(_("token endpoint auth method"), max_length=32, blank=True)
    token_endpoint_auth_signing_alg = models.CharField(_("token endpoint auth signing alg"), max_length=16, blank=True)
    jwks = models.JSONField(_("public keys"), null=True, blank=True)
    jwks_uri = models.CharField(_("address of public keys"), max_length=500, blank=True)
    grant_types = models.JSONField(_("grant types"), default=list, blank=True)
    response_types = models.JSONField(_("response types"), default=list, blank=True)
    scope = models.CharField(_("scope"), max_length=1000, blank=True)
    application_type = models.CharField(_("application type"), max_length=10, blank=True)
    client_uri = models.CharField(_("client URI"), max_length=2000, blank=True)
    logo_uri = models.CharField(_("logo URI"), max_length=2000, blank=True)
    tos_uri = models.CharField(_("terms of service URI"), max_length=2000, blank=True)
    policy_uri = models.CharField(_("policy URI"), max_length=2000, blank=True)
    contacts = models.JSONField(_("contacts"), default=list, blank=True)
    software_id = models.CharField(_("software ID"), max_length=255, blank=True)
    software_version = models.CharField(_("software version"), max_length=255, blank=True)
    # OpenID Connect Dynamic Client Registration §2.
    id_token_signed_response_alg = models.CharField(_("ID token signed response alg"), max_length=8, blank=True)

    AS_REGISTERED = (
        "token_endpoint_auth_method",
        "token_endpoint_auth_signing_alg",
        "jwks",
        "jwks_uri",
        "grant_types",
        "response_types",
        "scope",
        "application_type",
        "client_uri",
        "logo_uri",
        "tos_uri",
        "policy_uri",
        "contacts",
        "software_id",
        "software_version",
        "id_token_signed_response_alg",
    )

    objects = ApplicationManager()

    class Meta(AbstractApplication.Meta):
        verbose_name = _("client")
        verbose_name_plural = _("clients")

    def natural_key(self) -> tuple[str]:
        """Return the key that fixtures refer to."""
        return (self.client_id,)

    def get_absolute_url(self) -> str:
        """Return the admin's page: there is no other page about a client."""
        return reverse("admin:authapp_application_change", args=[self.pk])

    @property
    def registered_redirect_uris(self) -> list[str]:
        """The redirect URIs as a list."""
        return list(self.redirect_uris.split())

    @property
    def registered_post_logout_redirect_uris(self) -> list[str]:
        """Where a person may be sent after signing out (OIDC RP-Initiated Logout §3.1), as a list."""
        return list(self.post_logout_redirect_uris.split())

    @property
    def is_native(self) -> bool:
        """Whether every redirect URI leads to a program on the person's own machine (RFC 8252)."""
        uris = self.registered_redirect_uris
        return bool(uris) and all(redirect_uris.is_native(uri) for uri in uris)

    @property
    def may_authenticate_by_key(self) -> bool:
        """Whether its assertions count (RFC 7523 §2.2): it registered for them, or its document offers the choice."""
        has_keys = self.jwks is not None or bool(self.jwks_uri)
        return has_keys and self.token_endpoint_auth_method in {PRIVATE_KEY_JWT, "none"}

    def may_use(self, grant_type: str) -> bool:
        """Return whether the client has a grant; `grant_type` is a value of RFC 7591 §2.

        Refresh tokens come with every grant that a person takes part in, asked for or not. A grant without a person is
        only ever for a client that the site's owner made.
        """
        own = {*self.grant_types, _RFC_NAMES.get(self.authorization_grant_type, self.authorization_grant_type)}
        if grant_type == "refresh_token":
            return not own.isdisjoint(conf.GRANT_TYPES_WITH_A_PERSON)
        if grant_type in conf.GRANT_TYPES_OF_THE_OWNER:
            return grant_type in own and self.registration_source == self.RegistrationSource.MANUAL
        return grant_type in own

    @property
    def is_service(self) -> bool:
        """Whether the client may act without a person: it has the grant, and can prove who it is (RFC 6749 §4.4)."""
        return self.may_use("client_credentials") and self.client_type == self.CLIENT_CONFIDENTIAL

    def clean(self) -> None:
        """Refuse a redirect URI that no registration would accept, and a person as a service user; in the admin too.

        A client that a document names is completed from it before.
        """
        if self.registration_source == self.RegistrationSource.CIMD:
            from authapp import client_id_metadata  # which needs this model

            client_id_metadata.complete(self)
        super().clean()
        if self.service_user is not None and is_a_persons(self.service_user):
            raise ValidationError({"service_user": _("This account is a person's. Make one that cannot sign in.")})
        for field in ("redirect_uris", "post_logout_redirect_uris"):
            for uri in getattr(self, field).split():
                try:
                    redirect_uris.require_registrable(uri)
                except redirect_uris.InvalidRedirectURI as error:
                    raise ValidationError({field: f"{uri[:200]}: {error}"}) from error

    def get_allowed_schemes(self) -> list[str]:
        """Return the schemes a redirect to this client may have: those of its registered URIs."""
        return sorted({uri.partition(":")[0] for uri in self.registered_redirect_uris} | {"http", "https"})

    def redirect_uri_allowed(self, uri: str) -> bool:
        """Return whether a requested redirect URI is registered (RFC 9700 §2.1, RFC 8252 §7.3)."""
        return any(redirect_uris.matches(registered, uri) for registered in self.registered_redirect_uris)

    def is_usable(self, request: Any) -> bool:
        """Return whether the client is enabled, and its document, if it has one, stands (DOT asks before every use)."""
        from authapp import client_hosts  # which needs this model

        return self.disabled_at is None and client_hosts.may_be_used(self)
