"""The admin of tokens and codes: to look at and to revoke; authapp/admin.py registers it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from oauth2_provider.admin import AccessTokenAdmin as DOTAccessTokenAdmin
from oauth2_provider.admin import GrantAdmin as DOTGrantAdmin
from oauth2_provider.admin import RefreshTokenAdmin as DOTRefreshTokenAdmin
from oauth2_provider.models import get_refresh_token_model

from authapp import families
from authapp.admin_display import all_fields, link
from authapp.models import TokenFamily

USERNAME = get_user_model().USERNAME_FIELD


class _TokenColumns:
    """Columns that identify a credential without showing any of it."""

    list_filter: tuple[Any, ...] = ("created", "application__registration_source")
    date_hierarchy = "created"
    ordering = ("-created",)

    @admin.display(description=_("user"), ordering=f"user__{USERNAME}")
    def user_link(self, token: Any) -> str:
        """Link to the person."""
        return link(token.user) if token.user_id else "–"

    @admin.display(description=_("client"), ordering="application__name")
    def application_link(self, token: Any) -> str:
        """Link to the client."""
        return link(token.application) if token.application_id else "–"

    def _revoke(self, request: HttpRequest, queryset: QuerySet[Any], family_ids: QuerySet[Any]) -> None:
        """End the families of tokens; tokens without one, such as those that manage a registration, by themselves."""
        with transaction.atomic():
            families.revoke_all(TokenFamily.objects.filter(family__in=family_ids), request)
            for token in queryset.all():
                token.revoke()
        self.message_user(request, _("The selected tokens and all that belong to them are revoked."))  # type: ignore[attr-defined]

    @admin.display(description=_("resource"))
    def resources(self, token: Any) -> str:
        """Return what the token is good for."""
        return ", ".join(token.resource or ()) or "–"


class AccessTokenAdmin(_TokenColumns, DOTAccessTokenAdmin):
    """Access tokens; DOT's action revokes them."""

    list_display = ("pk", "user_link", "application_link", "scope", "resources", "created", "expires", "is_live")
    exclude = ("token", "token_checksum")

    @admin.action(description=_("Revoke selected tokens and all that belong to them"), permissions=["change"])
    def revoke_tokens(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """End the families of the selected tokens (DOT ends one pair)."""
        owners = get_refresh_token_model().objects.filter(access_token__in=queryset)
        self._revoke(request, queryset, owners.values("token_family"))

    @admin.display(description=_("live"), boolean=True)
    def is_live(self, token: Any) -> bool:
        """Return whether it has not expired."""
        return not token.is_expired()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show, never edit: the flows make tokens, the action revokes them."""
        return all_fields(self, obj)


class RefreshTokenAdmin(_TokenColumns, DOTRefreshTokenAdmin):
    """Refresh tokens; DOT's action revokes them."""

    list_display = ("pk", "user_link", "application_link", "resources", "created", "revoked")
    list_filter = (("revoked", admin.EmptyFieldListFilter), "created", "application__registration_source")
    exclude = ("token", "token_checksum")

    @admin.action(description=_("Revoke selected tokens and all that belong to them"), permissions=["change"])
    def revoke_tokens(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """End the families of the selected tokens (DOT ends one pair)."""
        self._revoke(request, queryset, queryset.values("token_family"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show, never edit."""
        return all_fields(self, obj)


class GrantAdmin(_TokenColumns, DOTGrantAdmin):
    """Authorization codes that were not redeemed yet."""

    list_display = ("pk", "user_link", "application_link", "scope", "resources", "redirect_uri", "created", "expires")
    list_select_related = ("application", "user")
    exclude = ("code", "code_challenge")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show, never edit."""
        return all_fields(self, obj)
