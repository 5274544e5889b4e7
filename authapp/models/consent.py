"""Who connected which client, and what their authorizations turned into."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _
from oauth2_provider.settings import oauth2_settings

from authapp.models.client import Application


class Connection(models.Model):
    """A person's consent to a client: made when they press Allow, renewed each time they do.

    Or their organisation's: then `issuer` says whose word it was, and what that allowed stands apart in
    `asserted_scope`, so that it never counts as what the person consented to.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mcp_connections", verbose_name=_("user")
    )
    application = models.ForeignKey(
        Application, on_delete=models.CASCADE, related_name="connections", verbose_name=_("client")
    )
    scope = models.CharField(_("scope"), max_length=1000, blank=True)
    resource = models.CharField(_("resource"), max_length=2000, blank=True)
    redirect_destination = models.CharField(_("redirects to"), max_length=255, blank=True)
    issuer = models.CharField(_("through the organisation"), max_length=255, blank=True)
    asserted_scope = models.CharField(_("scope through the organisation"), max_length=1000, blank=True)
    created_at = models.DateTimeField(_("connected at"), auto_now_add=True)
    authorized_at = models.DateTimeField(_("last authorized at"), auto_now=True)

    _DEVICE = "device "

    class Meta:
        verbose_name = _("connection")
        verbose_name_plural = _("connections")
        permissions = [("see_as", "Can see what a client is answered for a person")]
        constraints = [
            models.UniqueConstraint(fields=["user", "application"], name="one_connection_per_user_and_client")
        ]

    def __str__(self) -> str:
        return f"{self.user} → {self.application}"

    @property
    def scopes(self) -> list[str]:
        """What the client may do, by the person's consent or by the organisation's."""
        return list(dict.fromkeys([*self.scope.split(), *self.asserted_scope.split()]))

    @classmethod
    def device_destination(cls, ip_address: str | None) -> str:
        """Return what stands for a device in `redirect_destination`: no redirect leads to a name with a space."""
        return cls._DEVICE + (ip_address or "")

    @property
    def is_device(self) -> bool:
        """Whether it was last made for a device that has no redirect (RFC 8628)."""
        return self.redirect_destination.startswith(self._DEVICE)

    @property
    def device_address(self) -> str:
        """The address that device asked from, empty where it is not known."""
        return self.redirect_destination.removeprefix(self._DEVICE) if self.is_device else ""


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
    # When the person had proved who they are, if the site knows: `auth_time` of ID tokens (OIDC Core §12.2).
    authenticated_at = models.BigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("token family")
        verbose_name_plural = _("token families")

    def __str__(self) -> str:
        return f"Token family #{self.pk}"
