"""What the admin does to clients: disable, enable, revoke everything, forget; first a page says what that ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from oauth2_provider.models import get_access_token_model, get_grant_model
from oauth2_provider.settings import oauth2_settings

from authapp import audit, confirmation, families
from authapp.models import Application, Connection, DeviceAuthorization, TokenFamily
from authapp.transactions import in_transaction


@dataclass(frozen=True, slots=True)
class Texts:
    """What is said of an action: before it what it does and what comes after, and at the end that it is done."""

    title: Any
    what: Any
    after: Any
    done: Any


def access_tokens() -> QuerySet[Any]:
    """Return the access tokens but those that only manage a registration (RFC 7592 §3): they open no tool."""
    tokens: QuerySet[Any] = get_access_token_model().objects.exclude(scope=oauth2_settings.DCR_REGISTRATION_SCOPE)
    return tokens


def ends(applications: QuerySet[Application]) -> list[tuple[Any, int]]:
    """Count what clients have now, and would lose."""
    of_these: dict[str, Any] = {"application__in": applications.values("pk")}
    now = timezone.now()
    codes = get_grant_model().objects.filter(**of_these, expires__gt=now).count()
    codes += DeviceAuthorization.objects.filter(**of_these, expires_at__gt=now).count()
    return [
        (_("People who connected them"), Connection.objects.filter(**of_these).values("user").distinct().count()),
        (_("Logins that are alive"), TokenFamily.objects.filter(**of_these, ended_at=None).count()),
        (
            _("Access tokens that have not expired"),
            access_tokens().filter(**of_these, expires__gt=now).count(),
        ),
        (_("Codes that wait to be redeemed"), codes),
    ]


class ClientActions(confirmation.DeletedByAction):
    """The actions, for a ModelAdmin of clients."""

    deleting = "forget"

    @admin.action(description=_("Disable selected clients"), permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Application]) -> HttpResponse | None:
        """End the access of clients; their rows and consents stay, so that they can be enabled again."""
        texts = Texts(
            _("Disable clients"),
            _("They get no more tokens, and those they have are refused from the next call on, in every worker."),
            _("Enabling them lets them back in with what they have, as far as it has not expired meanwhile."),
            _("Disabled clients: %d."),
        )
        return self._confirmed(request, queryset.filter(disabled_at=None), "disable", texts, _disable)

    @admin.action(description=_("Enable selected clients"), permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Application]) -> HttpResponse | None:
        """Let disabled clients back in."""
        texts = Texts(
            _("Enable clients"),
            _("They may get and use tokens again."),
            _("Nobody has to consent anew; tokens that have not expired work again at once."),
            _("Enabled clients: %d."),
        )
        return self._confirmed(request, queryset.exclude(disabled_at=None), "enable", texts, _enable)

    @admin.action(description=_("Revoke everything of selected clients"), permissions=["change"])
    def revoke_everything(self, request: HttpRequest, queryset: QuerySet[Application]) -> HttpResponse | None:
        """End all that clients were given; the clients themselves stay, and people may connect them again."""
        texts = Texts(
            _("Revoke everything"),
            _("Codes, tokens and connections of all people end, from the next call on, in every worker."),
            _("The clients stay registered: people can connect them again, and are asked for consent."),
            _("Clients that everything was revoked of: %d."),
        )
        return self._confirmed(request, queryset, "revoke_everything", texts, _revoke_everything)

    @admin.action(description=_("Forget selected clients"), permissions=["delete"])
    def forget(self, request: HttpRequest, queryset: QuerySet[Application]) -> HttpResponse | None:
        """Remove clients and all that they were given, as one that deletes its registration (RFC 7592 §2.3)."""
        texts = Texts(
            _("Forget clients"),
            _("Their registrations end with all that they were given. The audit trail keeps their names."),
            _("This cannot be undone: a client that comes back must register anew, and its people must consent."),
            _("Forgotten clients: %d."),
        )
        return self._confirmed(request, queryset, "forget", texts, _forget)

    def _confirmed(
        self,
        request: HttpRequest,
        queryset: QuerySet[Application],
        action: str,
        texts: Texts,
        work: Callable[[Application, HttpRequest], None],
    ) -> HttpResponse | None:
        """Ask first; then do it, one client in a transaction."""
        chosen_before = confirmation.confirmed(request)
        applications = Application.objects.filter(pk__in=queryset.values("pk")).order_by("pk")
        if chosen_before is None:
            chosen = list(applications.only("pk", "name", "client_id")[: confirmation.MAXIMUM + 1])
            if confirmation.is_too_much(self, request, chosen):
                return None
            question = confirmation.Question(
                title=texts.title,
                what=texts.what,
                after=texts.after,
                chosen=chosen,
                keys=[str(application.pk) for application in chosen],
                nothing=_("None of the selected clients is concerned."),
                ends=ends(applications) if action != "enable" else (),
            )
            return confirmation.ask(self, request, action, question)
        chosen = list(applications.filter(pk__in=confirmation.primary_keys(Application, chosen_before)))
        for application in chosen:
            in_transaction(partial(work, application, request))
        self.message_user(request, texts.done % len(chosen))  # type: ignore[attr-defined]
        return None


def _disable(application: Application, request: HttpRequest) -> None:
    Application.objects.filter(pk=application.pk).update(disabled_at=timezone.now())
    audit.record(audit.Action.CLIENT_DISABLED, request.META, application=application, user=request.user)


def _enable(application: Application, request: HttpRequest) -> None:
    Application.objects.filter(pk=application.pk).update(disabled_at=None)
    audit.record(audit.Action.CLIENT_ENABLED, request.META, application=application, user=request.user)


def _revoke_everything(application: Application, request: HttpRequest) -> None:
    """End all in the order of `authapp.connected_apps.end_connection`: connections, codes, families, other tokens."""
    owned: dict[str, Any] = {"application": application}
    list(Connection.objects.select_for_update(of=("self",)).filter(**owned).order_by("pk"))
    get_grant_model().objects.filter(**owned).delete()
    DeviceAuthorization.objects.filter(**owned).delete()
    families.end_all(TokenFamily.objects.filter(**owned))
    access_tokens().filter(**owned).delete()
    Connection.objects.filter(**owned).delete()
    by = request.user.get_username()
    audit.record(audit.Action.TOKEN_REVOKED, request.META, application=application, user=request.user, by=by)


def _forget(application: Application, request: HttpRequest) -> None:
    # Families before the client, in the order of a refresh: the other way round the two would wait for each other.
    families.end_all(TokenFamily.objects.filter(application=application))
    locked = Application.objects.select_for_update(of=("self",)).filter(pk=application.pk).first()
    if locked is None:
        return
    by = request.user.get_username()
    audit.record(audit.Action.CLIENT_DELETED, request.META, application=locked, user=request.user, by=by)
    locked.delete()
