"""What devices without a browser ask for (RFC 8628), until they fetch it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from authapp.models.client import Application


class DeviceAuthorization(models.Model):
    """One device authorization request (RFC 8628 §3.1) and what a person said to it.

    Neither code is kept: the device code as its SHA-256, the user code, which is short enough to be tried out, as a
    keyed digest (`authapp.user_codes`).
    """

    class Status(models.TextChoices):
        """How far it has come. What has expired is told by the time alone."""

        PENDING = "pending", _("waits for a person")
        APPROVED = "approved", _("allowed")
        DENIED = "denied", _("denied")
        USED = "used", _("turned into tokens")

    device_code_digest = models.CharField(max_length=64, unique=True)
    user_code_digest = models.CharField(max_length=64, unique=True)
    application = models.ForeignKey(
        Application, on_delete=models.CASCADE, related_name="device_authorizations", verbose_name=_("client")
    )
    scope = models.TextField(_("scope"), blank=True)
    resource = models.JSONField(_("resource"), default=list)
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.PENDING)
    requested_at = models.DateTimeField(_("asked for at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"), db_index=True)
    interval = models.PositiveIntegerField(_("seconds between polls"))
    last_polled_at = models.DateTimeField(_("last polled at"), null=True, blank=True)
    ip_address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    user_agent = models.CharField(_("user agent"), max_length=255, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        verbose_name=_("answered by"),
    )
    decided_at = models.DateTimeField(_("answered at"), null=True, blank=True)

    class Meta:
        verbose_name = _("device authorization")
        verbose_name_plural = _("device authorizations")

    def __str__(self) -> str:
        return f"Device authorization #{self.pk}"

    def is_expired(self) -> bool:
        """Return whether its time is over, whatever became of it."""
        return self.expires_at <= timezone.now()
