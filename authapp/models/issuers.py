"""Whose word about people counts (enterprise-managed authorization), for whom, and what was issued on it."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _
from oauth2_provider.settings import oauth2_settings


class TrustedIssuer(models.Model):
    """An identity provider whose ID-JAGs are accepted; lists are separated by white space, and empty means any.

    The settings (`AUTHAPP["TRUSTED_ISSUERS"]`) win over a row with the same issuer, but for a row that is disabled.
    """

    class Rule(models.TextChoices):
        """How a subject that nobody has linked yet becomes a user."""

        LINKED = "linked", _("not at all: subjects are linked beforehand")
        EMAIL = "email", _("by verified e-mail address, at first use")

    issuer = models.CharField(
        _("issuer"), max_length=255, unique=True, help_text=_("Exactly as the provider's assertions have it in iss.")
    )
    name = models.CharField(_("name"), max_length=100, blank=True, help_text=_("What people call the organisation."))
    jwks_uri = models.CharField(
        _("JWKS URI"), max_length=500, blank=True, help_text=_("Where the provider publishes its keys; https.")
    )
    jwks = models.JSONField(
        _("JWK set"), null=True, blank=True, help_text=_("The public keys themselves, in the place of a JWKS URI.")
    )
    rule = models.CharField(_("people are found"), max_length=16, choices=Rule.choices, default=Rule.LINKED)
    email_domains = models.TextField(
        _("e-mail domains"), blank=True, help_text=_("Of which addresses the provider's word counts, each in full.")
    )
    scopes = models.TextField(
        _("scopes"), blank=True, help_text=_("What is granted at most. Needed where its assertions name no scope.")
    )
    clients = models.TextField(
        _("clients"), blank=True, help_text=_("Identifiers of the clients it speaks for; none means all that may.")
    )
    tenant = models.CharField(
        _("tenant"),
        max_length=255,
        blank=True,
        help_text=_("Of a provider of many organisations: which is meant."),
    )
    disabled_at = models.DateTimeField(
        _("disabled at"),
        null=True,
        blank=True,
        help_text=_("Of a disabled issuer nothing is accepted, also if the settings list it, and its tokens end."),
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("trusted issuer")
        verbose_name_plural = _("trusted issuers")
        ordering = ("issuer",)

    def __str__(self) -> str:
        return self.name or self.issuer

    def clean(self) -> None:
        """Refuse what `manage.py check` would refuse in the settings."""
        from authapp import trusted_issuers  # which needs this model

        super().clean()
        try:
            trusted_issuers.require_known_scopes(trusted_issuers.of_row(self))
        except ImproperlyConfigured as error:
            raise ValidationError(str(error)) from error


class LinkedIdentity(models.Model):
    """Which user a subject of an issuer is (`iss` and `sub` of its assertions)."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="linked_identities", verbose_name=_("user")
    )
    issuer = models.CharField(_("issuer"), max_length=255)
    subject = models.CharField(_("subject"), max_length=255)
    linked_by = models.CharField(
        _("linked by"), max_length=254, blank=True, help_text=_("The rule or the person that made the link.")
    )
    created_at = models.DateTimeField(_("linked at"), auto_now_add=True)
    disabled_at = models.DateTimeField(
        _("disabled at"),
        null=True,
        blank=True,
        help_text=_("A disabled link stays, so that no rule makes it again; nothing is issued on it."),
    )

    class Meta:
        verbose_name = _("linked identity")
        verbose_name_plural = _("linked identities")
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="one_user_per_issuer_and_subject")]

    def __str__(self) -> str:
        return f"{self.subject} → {self.user}"

    def clean(self) -> None:
        """Refuse a subject that no assertion can have here (`authapp.identities`)."""
        super().clean()
        if not self.subject.isascii() or not self.subject.isprintable():
            raise ValidationError({"subject": _("Enter the subject exactly as the provider has it, in ASCII.")})


class AssertedToken(models.Model):
    """An access token that was issued on an issuer's word: so it can be found when that word no longer counts."""

    access_token = models.OneToOneField(
        oauth2_settings.ACCESS_TOKEN_MODEL, on_delete=models.CASCADE, related_name="asserted"
    )
    identity = models.ForeignKey(LinkedIdentity, on_delete=models.CASCADE, related_name="tokens")

    class Meta:
        verbose_name = _("asserted token")

    def __str__(self) -> str:
        return f"Asserted token #{self.pk}"
