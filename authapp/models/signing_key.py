"""Keys of the authorization server itself: those that sign ID tokens, and the secret of pairwise subjects."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class SigningKey(models.Model):
    """A key pair that signs ID tokens (OIDC Core §10.1); its private half is sealed (`authapp.openid.sealing`).

    Its life: published → `signs_from` → `retired_at` → `published_until`.
    """

    class Algorithm(models.TextChoices):
        """Algorithms of RFC 7518 §3.1."""

        RS256 = "RS256"
        ES256 = "ES256"

    algorithm = models.CharField(_("algorithm"), max_length=8, choices=Algorithm.choices)
    number = models.PositiveIntegerField(_("number"), help_text=_("Counts the keys of one algorithm."))
    kid = models.CharField(_("key ID"), max_length=64, unique=True)  # the thumbprint of RFC 7638
    public_jwk = models.JSONField(_("public key"))
    sealed_private_key = models.TextField(blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    signs_from = models.DateTimeField(_("signs from"))
    retired_at = models.DateTimeField(_("retired at"), null=True, blank=True)
    published_until = models.DateTimeField(_("published until"), null=True, blank=True)

    class Meta:
        verbose_name = _("signing key")
        verbose_name_plural = _("signing keys")
        ordering = ("algorithm", "number")
        constraints = [
            # Of several workers that find no key, one makes it: the others' insert is refused, and they read again.
            models.UniqueConstraint(fields=["algorithm", "number"], name="one_signing_key_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.algorithm} #{self.number}"


class PairwiseSecret(models.Model):
    """The secret that pairwise subjects are made with (OIDC Core §8.1), sealed.

    The oldest one that can be read counts: with another, every person would be somebody else to every client.
    """

    number = models.PositiveIntegerField(unique=True)
    sealed = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("secret of pairwise subjects")

    def __str__(self) -> str:
        return f"Pairwise secret #{self.number}"
