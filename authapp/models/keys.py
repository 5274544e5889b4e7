"""Public keys that were fetched, and the assertions signed with them that were used."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class KeySet(models.Model):
    """The JWK set (RFC 7517 §5) behind a `jwks_uri`, as it was last had. `keys` has public keys only."""

    url = models.CharField(_("URL"), max_length=500, unique=True)
    keys = models.JSONField(_("keys"), default=list)
    fresh_until = models.DateTimeField(_("fresh until"), null=True, blank=True)
    tried_at = models.DateTimeField(_("last tried at"), null=True, blank=True)
    busy_until = models.DateTimeField(null=True, blank=True)
    """Until when somebody who fetches may still be at it; empty when they are done."""

    class Meta:
        verbose_name = _("key set")
        verbose_name_plural = _("key sets")
        ordering = ("url",)

    def __str__(self) -> str:
        return self.url


class UsedAssertion(models.Model):
    """An assertion that proves nothing any more, because it was used (RFC 7523 §3 item 7)."""

    digest = models.CharField(max_length=64, unique=True)
    """SHA-256 of issuer and `jti`."""
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("used assertion")
        verbose_name_plural = _("used assertions")

    def __str__(self) -> str:
        return f"Used assertion #{self.pk}"
