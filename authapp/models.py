"""Clients, who connected them, and how refresh tokens followed one another.

Codes and tokens themselves are django-oauth-toolkit's models; only the client is ours (docs/decisions/0001).
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from oauth2_provider.models import AbstractApplication, ApplicationManager
from oauth2_provider.settings import oauth2_settings

from authapp import redirect_uris


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
    last_authorized_at = models.DateTimeField(_("last authorized at"), null=True, blank=True, editable=False)

    # RFC 7591 §2, as registered. Empty means not given.
    token_endpoint_auth_method = models.CharField(_("token endpoint auth method"), max_length=32, blank=True)
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

    AS_REGISTERED = (
        "token_endpoint_auth_method",
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
    def is_native(self) -> bool:
        """Whether every redirect URI leads to a program on the person's own machine (RFC 8252)."""
        uris = self.registered_redirect_uris
        return bool(uris) and all(redirect_uris.is_native(uri) for uri in uris)

    def clean(self) -> None:
        """Refuse a redirect URI that no registration would accept, in the admin too."""
        super().clean()
        for uri in self.registered_redirect_uris:
            try:
                redirect_uris.require_registrable(uri)
            except redirect_uris.InvalidRedirectURI as error:
                raise ValidationError({"redirect_uris": f"{uri[:200]}: {error}"}) from error

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


class Connection(models.Model):
    """A person's consent to a client: made when they press Allow, renewed each time they do."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mcp_connections")
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="connections")
    scope = models.CharField(_("scope"), max_length=1000, blank=True)
    resource = models.CharField(_("resource"), max_length=2000, blank=True)
    redirect_destination = models.CharField(_("redirects to"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("connected at"), auto_now_add=True)
    authorized_at = models.DateTimeField(_("last authorized at"), auto_now=True)

    class Meta:
        verbose_name = _("connection")
        verbose_name_plural = _("connections")
        constraints = [
            models.UniqueConstraint(fields=["user", "application"], name="one_connection_per_user_and_client")
        ]

    def __str__(self) -> str:
        return f"{self.user} → {self.application}"


class Rotation(models.Model):
    """Which refresh token was issued for which: one row for each refresh.

    With it a replayed refresh token is told from a parallel refresh (docs/decisions/0005): the token just rotated
    away still works until a successor of it has itself been used.
    """

    source = models.ForeignKey(oauth2_settings.REFRESH_TOKEN_MODEL, on_delete=models.CASCADE, related_name="rotations")
    successor = models.OneToOneField(
        oauth2_settings.REFRESH_TOKEN_MODEL, on_delete=models.CASCADE, related_name="rotation"
    )

    class Meta:
        verbose_name = _("refresh token rotation")

    def __str__(self) -> str:
        return f"Rotation #{self.pk}"


class TokenFamily(models.Model):
    """What one authorization code turned into: the tokens that descend from it, which share DOT's `token_family`.

    With it a replay of the code ends them (RFC 6749 §4.1.2), a refresh that asked for less loses nothing for good
    (§6), and a family ends at a greatest age however often it is refreshed.
    """

    family = models.UUIDField(unique=True)
    code_digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="+")
    scope = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("token family")
        verbose_name_plural = _("token families")

    def __str__(self) -> str:
        return f"Token family #{self.pk}"


class ClientHostRule(models.Model):
    """Whether clients with a metadata document on a host may connect; added to what the settings say."""

    host = models.CharField(
        _("host"), max_length=253, unique=True, help_text=_("Like app.example, or .example for every name under it.")
    )
    allowed = models.BooleanField(_("allowed"), help_text=_("Off refuses the host, whatever else allows it."))
    note = models.CharField(_("note"), max_length=255, blank=True)

    class Meta:
        verbose_name = _("client host rule")
        verbose_name_plural = _("client host rules")
        ordering = ("host",)

    def __str__(self) -> str:
        return self.host


class AuditEvent(models.Model):
    """Something that happened to a client, a consent or a token. Written once, never changed, never with a secret.

    Names are copied, so that the event still says who and what after the user or the client is gone.
    """

    class Action(models.TextChoices):
        """What happened."""

        CLIENT_REGISTERED = "client_registered", _("client registered")
        CLIENT_CHANGED = "client_changed", _("client changed its registration")
        CLIENT_DELETED = "client_deleted", _("client deleted its registration")
        CLIENT_DISABLED = "client_disabled", _("client disabled")
        CLIENT_ENABLED = "client_enabled", _("client enabled")
        CONSENT_GIVEN = "consent_given", _("consent given")
        CONSENT_REFUSED = "consent_refused", _("consent refused")
        CONSENT_REMEMBERED = "consent_remembered", _("consent remembered")
        TOKEN_ISSUED = "token_issued", _("tokens issued")
        TOKEN_REFRESHED = "token_refreshed", _("tokens refreshed")
        CODE_REPLAYED = "code_replayed", _("code replayed")
        REFRESH_REPLAYED = "refresh_replayed", _("refresh token replayed")
        TOKEN_REVOKED = "token_revoked", _("tokens revoked")
        DISCONNECTED = "disconnected", _("client disconnected")

    at = models.DateTimeField(_("at"), auto_now_add=True, db_index=True)
    action = models.CharField(_("action"), max_length=32, choices=Action.choices)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    username = models.CharField(_("user name"), max_length=254, blank=True)
    application = models.ForeignKey(Application, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    client_id = models.CharField(_("client ID"), max_length=255, blank=True)
    client_name = models.CharField(_("client name"), max_length=255, blank=True)
    ip_address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    user_agent = models.CharField(_("user agent"), max_length=255, blank=True)
    detail = models.JSONField(_("detail"), default=dict, blank=True)

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        ordering = ("-at", "-pk")

    def __str__(self) -> str:
        return f"{self.get_action_display()} #{self.pk}"
