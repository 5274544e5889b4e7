"""The admin of clients, connections and the audit trail: searchable, linked both ways, never a secret.

What else the admin has of authapp is registered here too. The classes of DOT's models replace DOT's, which are their
bases; DOT's own settings for this would import in a circle.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from oauth2_provider.admin import ApplicationAdmin as DOTApplicationAdmin
from oauth2_provider.models import (
    get_access_token_model,
    get_grant_model,
    get_id_token_model,
    get_refresh_token_model,
)

from authapp import admin_links, audit
from authapp.accounts_admin import AccountCheckAdmin, IdentityCredentialAdmin
from authapp.admin_display import NothingSecretLookedFor, link
from authapp.attempts_admin import ConnectionAttemptAdmin
from authapp.client_actions import ClientActions
from authapp.client_columns import ClientColumns
from authapp.client_hosts_admin import ClientHostRuleAdmin
from authapp.connections_admin import ConnectionAdmin, ConnectionInline
from authapp.device_admin import DeviceAuthorizationAdmin
from authapp.issuers_admin import LinkedIdentityAdmin, TrustedIssuerAdmin
from authapp.models import (
    AccountCheck,
    Application,
    AuditEvent,
    ClientHostRule,
    Connection,
    ConnectionAttempt,
    DeviceAuthorization,
    IdentityCredential,
    LinkedIdentity,
    TrustedIssuer,
)
from authapp.redirect_uris import destination
from authapp.services_admin import ServicesAdmin
from authapp.tokens_admin import AccessTokenAdmin, GrantAdmin, RefreshTokenAdmin

USERNAME = get_user_model().USERNAME_FIELD
REGISTERED = (*Application.AS_REGISTERED, "cimd_expires_at")


class ApplicationAdmin(NothingSecretLookedFor, ClientColumns, ClientActions, ServicesAdmin, DOTApplicationAdmin):
    """Clients: how they came here, where they redirect to, who uses them."""

    list_display = (
        "name_or_id",
        "registration_source",
        "is_verified",
        "redirect_hosts",
        "people",
        "tokens",
        "calls",
        "last_used",
        "bound_to",
        "created",
        "last_authorized_at",
        "is_enabled",
    )
    list_filter = (
        "registration_source",
        "client_type",
        ("disabled_at", admin.EmptyFieldListFilter),
        "created",
        "last_authorized_at",
    )
    search_fields = (
        "name",
        "client_id",
        "redirect_uris",
        "software_id",
        f"user__{USERNAME}",
    )
    search_help_text = _("Search by name, client ID, redirect URI, software ID or user name.")
    list_select_related = ("user",)
    date_hierarchy = "created"
    ordering = ("-created",)
    actions = ("disable", "enable", "revoke_everything", "forget", "new_secret")
    inlines = (ConnectionInline,)
    secrets = ("client_secret", "previous_client_secret")
    view_on_site = False

    def get_fieldsets(self, request: HttpRequest, obj: Application | None = None) -> Any:
        """Show a secret only while it is being made, afterwards not even its hash; what was registered, folded away."""
        made = ("client_secret", "hash_client_secret") if obj is None else ()
        kind = ("kind",) if obj is None else ()
        kept = () if obj is None else ("registration_source", "created", "last_authorized_at")
        fieldsets: list[Any] = [
            (
                None,
                {
                    "fields": (
                        *kind,
                        *("name", "client_id", "client_type"),
                        *made,
                        *("redirect_uris", "post_logout_redirect_uris"),
                    )
                },
            ),
            *self.service_fieldsets(obj),
            (_("Access"), {"fields": ("disabled_at", "user", *kept)}),
        ]
        if obj is not None:
            fieldsets.append((_("As the client registered itself"), {"fields": REGISTERED, "classes": ("collapse",)}))
        return [*fieldsets, *admin_links.fieldset(request, obj)]

    def get_readonly_fields(self, request: HttpRequest, obj: Application | None = None) -> tuple[str, ...]:
        """Let nobody change what identifies a client, or what it said of itself.

        Actions disable and enable: a form that was opened before one is saved after it, and would undo it.
        """
        if obj is None:
            return ()
        kept = ("registration_source", "created", "last_authorized_at", "previous_client_secret_expires_at")
        return ("client_id", "client_type", "disabled_at", *kept, *REGISTERED)

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        """Give a client made by hand its one grant; write down who made or changed it, of fields the names alone."""
        if not change and not obj.is_service:
            obj.authorization_grant_type = Application.GRANT_AUTHORIZATION_CODE
        super().save_model(request, obj, form, change)
        by: dict[str, Any] = {"application": obj, "user": request.user, "by": request.user.get_username()}
        if change and form.changed_data:
            audit.record(audit.Action.CLIENT_CHANGED, request.META, **by, fields=list(form.changed_data))
        elif not change and not obj.is_service:  # `services.record_made` says it of those
            audit.record(audit.Action.CLIENT_REGISTERED, request.META, **by)

    @admin.display(description=_("client"), ordering="name")
    def name_or_id(self, application: Application) -> str:
        """Return the name, or the identifier of a nameless client."""
        return str(application)

    @admin.display(description=_("redirects to"))
    def redirect_hosts(self, application: Application) -> str:
        """Return the hosts or programs its redirect URIs lead to."""
        return ", ".join(dict.fromkeys(destination(uri) for uri in application.registered_redirect_uris)) or "–"

    @admin.display(description=_("bound to"), ordering=f"user__{USERNAME}")
    def bound_to(self, application: Application) -> str:
        """Link to the person on whose machine it runs."""
        return link(application.user) if application.user else "–"

    @admin.display(description=_("enabled"), boolean=True)
    def is_enabled(self, application: Application) -> bool:
        """Return whether it may get and use tokens."""
        return application.disabled_at is None


@admin.register(AuditEvent)
class AuditEventAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What happened to clients, consents and tokens; nobody adds, changes or removes a line."""

    list_display = ("at", "action", "user_link", "client", "ip_address", "summary")
    list_filter = ("action", "at", *admin_links.FILTERS)
    list_select_related = ("user", "application")
    search_fields = ("username", "client_id", "client_name", "ip_address")
    search_help_text = _("Search by user name, client ID, client name or address.")
    date_hierarchy = "at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only events make lines."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What happened stays as it happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Lines end by age alone."""
        return False

    @admin.display(description=_("user"), ordering="username")
    def user_link(self, event: AuditEvent) -> str:
        """Link to the person, or name one who is gone."""
        return link(event.user) if event.user else event.username or "–"

    @admin.display(description=_("client"), ordering="client_name")
    def client(self, event: AuditEvent) -> str:
        """Link to the client, or name one that is gone."""
        return link(event.application) if event.application else event.client_name or event.client_id or "–"

    @admin.display(description=_("detail"))
    def summary(self, event: AuditEvent) -> str:
        """Say the detail in one line."""
        return "; ".join(f"{name}: {value}" for name, value in event.detail.items())[:200]


def _register() -> None:
    """Put these classes in the place of DOT's, and a person's clients on the page of the person."""
    for model, admin_class in (
        (Application, ApplicationAdmin),
        (get_access_token_model(), AccessTokenAdmin),
        (get_refresh_token_model(), RefreshTokenAdmin),
        (get_grant_model(), GrantAdmin),
    ):
        admin.site.unregister(model)
        admin.site.register(model, admin_class)
    admin.site.register(AccountCheck, AccountCheckAdmin)
    admin.site.register(ClientHostRule, ClientHostRuleAdmin)
    admin.site.register(Connection, ConnectionAdmin)
    admin.site.register(ConnectionAttempt, ConnectionAttemptAdmin)
    admin.site.register(TrustedIssuer, TrustedIssuerAdmin)
    admin.site.register(IdentityCredential, IdentityCredentialAdmin)
    admin.site.register(LinkedIdentity, LinkedIdentityAdmin)
    admin.site.register(DeviceAuthorization, DeviceAuthorizationAdmin)
    # No ID token is ever stored (authapp.openid.id_tokens).
    admin.site.unregister(get_id_token_model())
    user_model = get_user_model()
    user_admin = admin.site.get_model_admin(user_model) if admin.site.is_registered(user_model) else None
    if isinstance(user_admin, UserAdmin):
        found = type(user_admin)
        ours = {"inlines": [*user_admin.inlines, ConnectionInline], "__doc__": found.__doc__}
        admin.site.unregister(user_model)
        admin.site.register(user_model, type(found.__name__, (admin_links.PersonLinks, found), ours))


_register()
