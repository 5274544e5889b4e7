"""Whether people's accounts still count where they come from, and what the provider is asked with."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from authapp.models.issuers import LinkedIdentity


class AccountCheck(models.Model):
    """What `AUTHAPP["ACCOUNT_CHECK"]` said of a person, and when it is asked again (`authapp.account_checks`)."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="account_check",
        verbose_name=_("user"),
    )
    next_at = models.DateTimeField(_("asked again at"))
    unknown_since = models.DateTimeField(_("no answer since"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    """Sign-ins up to this moment count no more; a later one does."""

    class Meta:
        verbose_name = _("account check")
        verbose_name_plural = _("account checks")

    def __str__(self) -> str:
        return f"Account check #{self.pk}"


class IdentityCredential(models.Model):
    """What a provider gave us to ask about an identity with, such as its refresh token; never in clear."""

    identity = models.OneToOneField(
        LinkedIdentity, on_delete=models.CASCADE, primary_key=True, related_name="credential"
    )
    sealed = models.TextField()
    """By `authapp.openid.sealing`."""
    kept_at = models.DateTimeField(_("kept at"), auto_now=True)

    class Meta:
        verbose_name = _("credential of an identity")
        verbose_name_plural = _("credentials of identities")

    def __str__(self) -> str:
        return f"Credential #{self.pk}"
