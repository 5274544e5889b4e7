"""The admin of what was asked about people's accounts, and what with; authapp/admin.py registers it.

Nothing here is edited. A check is forgotten only where that takes nothing back; a credential not at all, for of a
person without one nobody asks any more.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from authapp import account_checks, admin_links, confirmation
from authapp.admin_display import NothingSecretLookedFor, link
from authapp.models import AccountCheck, IdentityCredential

_USERNAME = get_user_model().USERNAME_FIELD


class _OnlyLookedAt(confirmation.DeletedByAction, admin.ModelAdmin):  # type: ignore[type-arg]
    """Nobody makes or changes one."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Sign-ins make them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Sign-ins and answers change them."""
        return False


class AccountCheckAdmin(_OnlyLookedAt):
    """What the site was told of people's accounts, and when it asks again."""

    list_display = ("user_link", "next_at", "unknown_since", "ended_at")
    list_display_links = ("next_at",)
    list_filter = (
        *(("ended_at", admin.EmptyFieldListFilter), ("unknown_since", admin.EmptyFieldListFilter)),
        admin_links.OfPerson,
    )
    list_select_related = ("user",)
    search_fields = (f"user__{_USERNAME}",)
    ordering = ("pk",)
    actions = ("forget",)
    deleting = "forget"

    @admin.action(description=_("Forget selected checks"), permissions=["delete"])
    def forget(self, request: HttpRequest, queryset: QuerySet[AccountCheck]) -> HttpResponse | None:
        """Ask first; then forget what was said, so that the next refresh asks anew."""
        keys = confirmation.confirmed(request)
        if keys is not None:
            gone = account_checks.forget(confirmation.primary_keys(AccountCheck, keys))
            self.message_user(request, _("Checks forgotten: %d.") % gone)
            return None
        rows = AccountCheck.objects.filter(pk__in=queryset.order_by().values("pk")).select_related("user")
        chosen = list(account_checks.forgettable(rows).order_by("pk")[: confirmation.MAXIMUM + 1])
        if confirmation.is_too_much(self, request, chosen):
            return None
        question = confirmation.Question(
            title=_("Forget checks"),
            what=_("What was said of these accounts is forgotten. Nothing ends, and nobody has to sign in again."),
            after=_("Before the next refresh of each person it is asked anew whether the account still counts."),
            chosen=[check.user for check in chosen],
            keys=[str(check.pk) for check in chosen],
            nothing=_("None can be forgotten: accounts that ended, are not known of, or are asked about now stay."),
            ends=((_("Checks"), len(chosen)), (_("Checks that stay"), rows.count() - len(chosen))),
        )
        return confirmation.ask(self, request, "forget", question)

    @admin.display(description=_("user"), ordering=f"user__{_USERNAME}")
    def user_link(self, check: AccountCheck) -> str:
        """Link to the person."""
        return link(check.user)


class IdentityCredentialAdmin(NothingSecretLookedFor, _OnlyLookedAt):
    """Of which identities the site can ask the provider; never what with."""

    list_display = ("person", "issuer", "subject", "kept_at")
    list_display_links = ("subject",)
    list_filter = ("kept_at",)
    list_select_related = ("identity__user",)
    search_fields = ("identity__subject", "identity__issuer", f"identity__user__{_USERNAME}")
    ordering = ("pk",)
    fields = readonly_fields = ("identity", "person", "issuer", "subject", "kept_at")
    secrets = ("sealed",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[IdentityCredential]:
        """Leave in the database what nobody shall see."""
        return super().get_queryset(request).defer("sealed")

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        """Offer to look and nothing else."""
        return {**super().get_model_perms(request), "delete": False}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let it go with its identity, whose own page asks this too; here there is no way to delete it."""
        return bool(request.user.has_perm("authapp.delete_linkedidentity"))

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show no button that deletes."""
        return super().render_change_form(request, {**context, "show_delete": False}, *args, **kwargs)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Refuse.

        Raises:
            PermissionDenied: always.
        """
        raise PermissionDenied

    @admin.display(description=_("user"), ordering=f"identity__user__{_USERNAME}")
    def person(self, credential: IdentityCredential) -> str:
        """Link to the person."""
        return link(credential.identity.user)

    @admin.display(description=_("issuer"), ordering="identity__issuer")
    def issuer(self, credential: IdentityCredential) -> str:
        """Name who gave it."""
        return credential.identity.issuer

    @admin.display(description=_("subject"), ordering="identity__subject")
    def subject(self, credential: IdentityCredential) -> str:
        """Return whom the issuer means."""
        return credential.identity.subject
