"""The admin of device authorizations: to look at, never to answer for somebody."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest

from authapp.admin_display import NothingSecretLookedFor


class DeviceAuthorizationAdmin(NothingSecretLookedFor, admin.ModelAdmin):  # type: ignore[type-arg]
    """Devices that ask to be connected, and what people said; `clear_expired_tokens` deletes them."""

    list_display = ("pk", "application", "status", "user", "ip_address", "requested_at", "expires_at")
    list_filter = ("status", "requested_at")
    list_select_related = ("application", "user")
    search_fields = (
        "application__name",
        "application__client_id",
        "ip_address",
        f"user__{get_user_model().USERNAME_FIELD}",
    )
    date_hierarchy = "requested_at"
    exclude = secrets = ("device_code_digest", "user_code_digest")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only devices ask."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only the person at the page answers."""
        return False
