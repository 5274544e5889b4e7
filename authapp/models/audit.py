"""The audit trail."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from authapp.models.client import Application


class AuditEvent(models.Model):
    """Something that happened to a client, a consent or a token. Written once, never changed, never with a secret.

    Names are copied, so that the event still says who and what after the user or the client is gone.
    """

    class Action(models.TextChoices):
        """What happened."""

        CLIENT_REGISTERED = "client_registered", _("client registered")
        CLIENT_CHANGED = "client_changed", _("client changed")
        CLIENT_DELETED = "client_deleted", _("client deleted")
        CLIENT_DISABLED = "client_disabled", _("client disabled")
        CLIENT_ENABLED = "client_enabled", _("client enabled")
        SECRET_REPLACED = "secret_replaced", _("client secret replaced")
        CONSENT_GIVEN = "consent_given", _("consent given")
        CONSENT_REFUSED = "consent_refused", _("consent refused")
        CONSENT_REMEMBERED = "consent_remembered", _("consent remembered")
        TOKEN_ISSUED = "token_issued", _("tokens issued")
        TOKEN_REFRESHED = "token_refreshed", _("tokens refreshed")
        CODE_REPLAYED = "code_replayed", _("code replayed")
        REFRESH_REPLAYED = "refresh_replayed", _("refresh token replayed")
        TOKEN_REVOKED = "token_revoked", _("tokens revoked")
        DISCONNECTED = "disconnected", _("client disconnected")
        ASSERTION_REFUSED = "assertion_refused", _("identity assertion refused")
        IDENTITY_LINKED = "identity_linked", _("identity linked")
        IDENTITY_ENDED = "identity_ended", _("identity disabled or unlinked")
        ACCOUNT_ENDED = "account_ended", _("account ended at its provider")
        SEEN_AS = "seen_as", _("looked at what a person sees")
        ISSUER_ENDED = "issuer_ended", _("trusted issuer disabled or removed")

    at = models.DateTimeField(_("at"), auto_now_add=True, db_index=True)
    action = models.CharField(_("action"), max_length=32, choices=Action.choices)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("user"),
    )
    username = models.CharField(_("user name"), max_length=254, blank=True)
    application = models.ForeignKey(
        Application, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", verbose_name=_("client")
    )
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
