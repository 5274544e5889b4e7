"""Which hosts of client metadata documents the administrator allows."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


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
