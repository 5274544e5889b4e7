"""The admin of trusted issuers and linked identities; authapp/admin.py registers it.

Whoever may change these decides who is whom: give the permissions to those who might as well reset passwords.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from authapp import asserted_access
from authapp.models import LinkedIdentity, TrustedIssuer
from authapp.services_admin import OptionalJSONField

_USERNAME = get_user_model().USERNAME_FIELD


class TrustedIssuerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Identity providers whose word counts; those of the settings are not here, but for one that is to be disabled."""

    list_display = ("issuer", "name", "rule", "is_enabled")
    list_filter = (("disabled_at", admin.EmptyFieldListFilter), "rule")
    search_fields = ("issuer", "name")
    fieldsets = (
        (None, {"fields": ("issuer", "name", "jwks_uri", "jwks", "disabled_at")}),
        (_("Access"), {"fields": ("rule", "email_domains", "scopes", "clients", "tenant")}),
    )
    actions = ("disable", "enable")
    formfield_overrides = {models.JSONField: {"form_class": OptionalJSONField}}

    def get_readonly_fields(self, request: HttpRequest, obj: TrustedIssuer | None = None) -> tuple[str, ...]:
        """Let nobody rename one: what was issued on its word is found by its identifier."""
        return ("issuer",) if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: TrustedIssuer, form: Any, change: bool) -> None:
        """End what was issued on the word of one that is disabled."""
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            if obj.disabled_at is not None and "disabled_at" in form.changed_data:
                self._end([obj.issuer], request)

    def delete_model(self, request: HttpRequest, obj: TrustedIssuer) -> None:
        """End what was issued on its word, too."""
        with transaction.atomic():
            super().delete_model(request, obj)
            self._end([obj.issuer], request)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[TrustedIssuer]) -> None:
        """End what was issued on their word, too."""
        issuers = list(queryset.values_list("issuer", flat=True))
        with transaction.atomic():
            super().delete_queryset(request, queryset)
            self._end(issuers, request)

    @admin.display(description=_("enabled"), boolean=True)
    def is_enabled(self, issuer: TrustedIssuer) -> bool:
        """Return whether its word counts."""
        return issuer.disabled_at is None

    @admin.action(description=_("Disable selected issuers"), permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[TrustedIssuer]) -> None:
        """Accept nothing more of them, and end what was issued on their word."""
        issuers = list(queryset.filter(disabled_at=None).values_list("issuer", flat=True))
        with transaction.atomic():
            TrustedIssuer.objects.filter(issuer__in=issuers).update(disabled_at=timezone.now())
            self._end(issuers, request)

    @admin.action(description=_("Enable selected issuers"), permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[TrustedIssuer]) -> None:
        """Let their word count again."""
        _enable(self, request, queryset)

    def _end(self, issuers: list[str], request: HttpRequest) -> None:
        ended = sum(asserted_access.end_issuer(issuer, request.META, by=request.user) for issuer in issuers)
        self.message_user(request, _("Tokens ended: %d.") % ended)


def _enable(model_admin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Enable what is disabled, and say in the admin's history of each who did it."""
    with transaction.atomic():
        for disabled in queryset.exclude(disabled_at=None):
            model_admin.log_change(request, disabled, [{"changed": {"fields": ["disabled at"]}}])
        queryset.update(disabled_at=None)


class LinkedIdentityAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Which user a subject of an issuer is: one link for each, made here, by a command or by the issuer's rule."""

    list_display = ("subject", "issuer", "user", "linked_by", "created_at", "is_enabled")
    list_filter = (("disabled_at", admin.EmptyFieldListFilter), "issuer")
    list_select_related = ("user",)
    search_fields = ("subject", "issuer", f"user__{_USERNAME}")
    fields = ("issuer", "subject", "user", "disabled_at", "linked_by", "created_at")
    raw_id_fields = ("user",)
    actions = ("disable", "enable")

    def get_readonly_fields(self, request: HttpRequest, obj: LinkedIdentity | None = None) -> tuple[str, ...]:
        """Let nobody move a link, under which tokens were issued, to another person."""
        made = ("linked_by", "created_at")
        return made if obj is None else ("issuer", "subject", "user", *made)

    def save_model(self, request: HttpRequest, obj: LinkedIdentity, form: Any, change: bool) -> None:
        """Note who made the link; end the tokens of one that is disabled."""
        with transaction.atomic():
            if not change:
                obj.linked_by = request.user.get_username()
            super().save_model(request, obj, form, change)
            if not change:
                asserted_access.record_link(obj, request.META, by=obj.linked_by)
            if change and obj.disabled_at is not None and "disabled_at" in form.changed_data:
                self._end(LinkedIdentity.objects.filter(pk=obj.pk), request, unlink=False)

    def delete_model(self, request: HttpRequest, obj: LinkedIdentity) -> None:
        """End what was issued on it, too."""
        self._end(LinkedIdentity.objects.filter(pk=obj.pk), request, unlink=True)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[LinkedIdentity]) -> None:
        """End what was issued on them, too."""
        self._end(queryset, request, unlink=True)

    @admin.display(description=_("enabled"), boolean=True)
    def is_enabled(self, identity: LinkedIdentity) -> bool:
        """Return whether tokens are issued on it."""
        return identity.disabled_at is None

    @admin.action(description=_("Disable selected links"), permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[LinkedIdentity]) -> None:
        """Issue nothing more on them, and end what was issued; no rule makes them again."""
        self._end(queryset.filter(disabled_at=None), request, unlink=False)

    @admin.action(description=_("Enable selected links"), permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[LinkedIdentity]) -> None:
        """Let them count again."""
        _enable(self, request, queryset)

    def _end(self, identities: QuerySet[LinkedIdentity], request: HttpRequest, *, unlink: bool) -> None:
        ended = asserted_access.end_identities(identities, request.META, by=request.user, unlink=unlink)
        self.message_user(request, _("Tokens ended: %d.") % ended)
