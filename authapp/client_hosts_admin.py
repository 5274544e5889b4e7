"""The admin of the hosts whose metadata documents are accepted or refused; authapp/admin.py registers it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.http.request import validate_host
from django.utils.translation import gettext_lazy as _
from oauth2_provider.models import get_grant_model

from authapp import conf, families
from authapp.models import Application, ClientHostRule, TokenFamily


class ClientHostRuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """Checks the host: one that is never met would refuse nothing, and nobody would notice."""

    def clean_host(self) -> str:
        """Return the host in its one spelling."""
        host = str(self.cleaned_data["host"]).strip().lower().rstrip(".")
        if not conf.is_host_pattern(host):
            raise ValidationError(_("Enter a host like app.example or .example, without https:// and without a port."))
        return host


class ClientHostRuleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Allow and deny lists of hosts, added to those of the settings."""

    form = ClientHostRuleForm
    list_display = ("host", "allowed", "note")
    list_filter = ("allowed",)
    search_fields = ("host", "note")

    def save_model(self, request: HttpRequest, obj: ClientHostRule, form: Any, change: bool) -> None:
        """Let a refusal end what the clients of the host have, at once; say what a first allowed host means."""
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            ended = 0 if obj.allowed else end_access(obj.host, request)
        if obj.allowed:
            self.message_user(request, _("Clients with a document on a host that is not on the list are refused now."))
        else:
            self.message_user(request, _("Logins ended: %d.") % ended)


def end_access(host_pattern: str, request: HttpRequest) -> int:
    """End every code and token of the clients with a document on a host; return how many logins ended."""
    published = Application.objects.filter(registration_source=Application.RegistrationSource.CIMD)
    clients = [
        pk
        for pk, client_id in published.values_list("pk", "client_id")
        if validate_host(urlsplit(client_id).hostname or "", [host_pattern])
    ]
    with transaction.atomic():
        # Codes first: a redemption that is under way holds its code, and its family is there once that is released.
        get_grant_model().objects.filter(application__in=clients).delete()
        return families.revoke_all(TokenFamily.objects.filter(application__in=clients), request)
