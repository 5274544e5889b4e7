"""How far somebody came who tried to connect a client."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from authapp.models.client import Application


class ConnectionAttempt(models.Model):
    """One attempt to connect a client: when it reached each stage, and what went wrong last.

    Its requests come from several places, the client's and the browser's, and so are joined by what they have in
    common (`authapp.attempts`). Kept for a while only, and without what was asked for beyond what explains a failure.
    """

    STAGES = (
        ("discovered_at", _("discovered")),
        ("registered_at", _("registered")),
        ("shown_at", _("authorization shown")),
        ("signed_in_at", _("signed in")),
        ("consented_at", _("consented")),
        ("token_issued_at", _("token issued")),
        ("first_call_at", _("first call")),
        ("healthy_at", _("healthy")),
    )

    application = models.ForeignKey(
        Application, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", verbose_name=_("client")
    )
    client_id = models.CharField(_("client ID"), max_length=255, blank=True)
    client_name = models.CharField(_("client name"), max_length=255, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("user"),
    )
    username = models.CharField(_("user name"), max_length=254, blank=True)
    ip_address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    """Of the client until a browser takes part, then of the browser."""
    client_address = models.GenericIPAddressField(_("address of the client"), null=True, blank=True)
    """That fetched the tokens."""
    user_agent = models.CharField(_("user agent"), max_length=255, blank=True)

    started_at = models.DateTimeField(_("started at"))
    last_at = models.DateTimeField(_("last seen"))
    discovered_at = models.DateTimeField(_("discovered at"), null=True, blank=True)
    registered_at = models.DateTimeField(_("registered at"), null=True, blank=True)
    shown_at = models.DateTimeField(_("authorization shown at"), null=True, blank=True)
    signed_in_at = models.DateTimeField(_("signed in at"), null=True, blank=True)
    consented_at = models.DateTimeField(_("consented at"), null=True, blank=True)
    token_issued_at = models.DateTimeField(_("token issued at"), null=True, blank=True)
    first_call_at = models.DateTimeField(_("first call at"), null=True, blank=True)
    healthy_at = models.DateTimeField(_("healthy since"), null=True, blank=True)

    problem = models.CharField(_("problem"), max_length=40, blank=True)
    """What went wrong since the last stage that it reached, as `authapp.causes` names it; empty when nothing did."""
    detail = models.JSONField(_("detail"), default=dict, blank=True)
    problem_at = models.DateTimeField(_("problem at"), null=True, blank=True)
    was_retried = models.BooleanField(_("tried again later"), default=False)
    """Whether the same client came again, so that this one tells of the past."""
    problems = models.PositiveIntegerField(_("problems"), default=0)
    """How often something went wrong in all."""

    class Meta:
        verbose_name = _("connection attempt")
        verbose_name_plural = _("connection attempts")
        ordering = ("-last_at",)
        indexes = (
            models.Index(fields=["last_at"], name="authapp_attempt_last"),
            models.Index(fields=["client_id", "last_at"], name="authapp_attempt_client"),
            models.Index(fields=["ip_address", "last_at"], name="authapp_attempt_address"),
            models.Index(
                fields=["client_address"],
                condition=models.Q(token_issued_at__isnull=False, first_call_at__isnull=True),
                name="authapp_attempt_unused",
            ),
        )

    def __str__(self) -> str:
        return f"{self.client_name or self.client_id or self.ip_address} #{self.pk}"
