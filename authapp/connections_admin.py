"""The admin of connections: who connected which client, how it is used and until when it lasts; and to end it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from oauth2_provider.models import get_access_token_model, get_grant_model

from authapp import admin_links, conf, confirmation, token_life
from authapp.admin_display import PageFacts, link, moment
from authapp.connected_apps import end_connection
from authapp.models import Application, Connection, DeviceAuthorization, TokenFamily
from authapp.see_as_admin import SeeAs

USERNAME = get_user_model().USERNAME_FIELD
SHOWN_BESIDE = 50
"""How many connections the page of a client or a person has."""


class LatestConnections(BaseInlineFormSet):  # type: ignore[type-arg]
    """The latest connections; a client may have more people than a page can hold."""

    def get_queryset(self) -> QuerySet[Connection]:
        """Stop after some."""
        if not hasattr(self, "_queryset"):
            self._queryset = super().get_queryset().order_by("-pk")[:SHOWN_BESIDE]
        return self._queryset

    @cached_property
    def total(self) -> int:
        """How many there are."""
        return int(Connection.objects.filter(**{self.fk.name: self.instance}).count())

    @property
    def more_url(self) -> str:
        """Where all of them are; empty where all are here."""
        if self.instance.pk is None or self.total <= SHOWN_BESIDE:
            return ""
        of = admin_links.OfClient if isinstance(self.instance, Application) else admin_links.OfPerson
        return admin_links.list_of(Connection, of.parameter_name, self.instance)


class ConnectionInline(admin.TabularInline):  # type: ignore[type-arg]
    """The people who connected a client, or the clients a person connected."""

    model = Connection
    formset = LatestConnections
    template = "authapp/admin/connections.html"
    extra = 0
    can_delete = False
    show_change_link = True
    fields = readonly_fields = ("other_side", "scope", "resource", "created_at", "authorized_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only consent makes a connection."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only consent changes one."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Connection]:
        """Load both sides at once."""
        return super().get_queryset(request).select_related("user", "application")

    @admin.display(description=_("connected with"))
    def other_side(self, connection: Connection) -> str:
        """Link to the client from a user's page, and to the user from a client's."""
        if self.parent_model is Application:
            return link(connection.user)
        return link(connection.application)


class ConnectionAdmin(SeeAs, confirmation.DeletedByAction, PageFacts, admin.ModelAdmin):  # type: ignore[type-arg]
    """Who connected which client."""

    list_display = (
        *("pk", "user_link", "application_link", "all_scopes", "resource", "last_used", "calls"),
        *("live_tokens", "until", "created_at", "authorized_at"),
    )
    list_select_related = ("user", "application")
    list_filter = ("authorized_at", "application__registration_source", *admin_links.FILTERS)
    search_fields = (f"user__{USERNAME}", "application__name", "application__client_id")
    show_full_result_count = False
    ordering = ("-pk",)
    actions = ("disconnect",)
    deleting = "disconnect"
    readonly_fields = (
        *("user", "application", "scope", "resource", "issuer", "asserted_scope"),
        *("redirect_destination", "created_at", "authorized_at"),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only consent makes a connection."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only consent changes one."""
        return False

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        """Leave out what nobody counts."""
        without = {"calls", "last_used"} if conf.connection_usage() is None else set()
        return tuple(name for name in super().get_list_display(request) if name not in without)

    def add_facts(self, rows: list[Any]) -> None:
        """Say how the connections are used, and what they have: for three statements."""
        usage = conf.connection_usage()
        used = usage([connection.pk for connection in rows]) if usage is not None else {}
        lives = token_life.lives_of(rows)
        for connection in rows:
            connection.use = used.get(connection.pk)
            connection.life = lives.get(connection.pk, token_life.Life())

    @admin.action(description=_("Disconnect selected connections"), permissions=["delete"])
    def disconnect(self, request: HttpRequest, queryset: QuerySet[Connection]) -> HttpResponse | None:
        """Ask first; then end all that the people gave the clients, one connection in a transaction."""
        keys = confirmation.confirmed(request)
        connections = Connection.objects.select_related("user", "application").order_by("pk")
        if keys is None:
            found = connections.filter(pk__in=queryset.order_by().values("pk"))
            chosen = list(found[: confirmation.MAXIMUM + 1])
            if confirmation.is_too_much(self, request, chosen):
                return None
            question = confirmation.Question(
                title=_("Disconnect"),
                what=_("Consents end with their codes and tokens, from the next call on, in every worker."),
                after=_("The clients stay registered: these people can connect them again, and are asked for consent."),
                chosen=chosen,
                keys=[str(connection.pk) for connection in chosen],
                nothing=_("None of the selected connections is there any more."),
                ends=ends(chosen),
            )
            return confirmation.ask(self, request, "disconnect", question)
        ended = 0
        for connection in connections.filter(pk__in=confirmation.primary_keys(Connection, keys)):
            end_connection(connection, request.META, by=request.user.get_username())
            ended += 1
        self.message_user(request, _("Connections ended: %d.") % ended)
        return None

    @admin.display(description=_("user"), ordering=f"user__{USERNAME}")
    def user_link(self, connection: Connection) -> str:
        """Link to the person."""
        return link(connection.user)

    @admin.display(description=_("client"), ordering="application__name")
    def application_link(self, connection: Connection) -> str:
        """Link to the client."""
        return link(connection.application)

    @admin.display(description=_("scope"), ordering="scope")
    def all_scopes(self, connection: Connection) -> str:
        """Return what the client may do, by the person's consent or by the organisation's."""
        return " ".join(connection.scopes) or "–"

    @admin.display(description=_("last used"))
    def last_used(self, connection: Any) -> str:
        """Return when its last call was."""
        return moment(connection.use.last_call_at if connection.use is not None else None)

    @admin.display(description=_("calls"))
    def calls(self, connection: Any) -> int:
        """Return how many calls of tools were made with it."""
        return int(connection.use.calls) if connection.use is not None else 0

    @admin.display(description=_("live tokens"))
    def live_tokens(self, connection: Any) -> str:
        """Return how many access tokens and refresh tokens live."""
        life = connection.life
        if not life.access_tokens and not life.refresh_tokens:
            return "–"
        return _("%(access)d access, %(refresh)d refresh") % {
            "access": life.access_tokens,
            "refresh": life.refresh_tokens,
        }

    @admin.display(description=_("lasts until"))
    def until(self, connection: Any) -> str:
        """Return when its last token ends, if the client does not refresh until then."""
        life = connection.life
        return str(_("without end")) if life.refresh_tokens and life.until is None else moment(life.until)


def ends(connections: list[Connection]) -> list[tuple[Any, int]]:
    """Count what connections have now, and would lose."""
    now = timezone.now()
    these = Connection.objects.filter(pk__in=[connection.pk for connection in connections])
    # By the person first, for which each table has an index, and of those by the client too.
    pair = Exists(these.filter(user=OuterRef("user"), application=OuterRef("application")))
    of_people: dict[str, Any] = {"user__in": these.values("user")}
    codes = get_grant_model().objects.filter(pair, **of_people, expires__gt=now).count()
    codes += DeviceAuthorization.objects.filter(pair, **of_people, expires_at__gt=now).count()
    access_tokens = get_access_token_model().objects.filter(pair, **of_people, expires__gt=now).count()
    logins = TokenFamily.objects.filter(pair, **of_people, ended_at=None).count()
    return [
        (_("Connections"), len(connections)),
        (_("People"), len({connection.user_id for connection in connections})),
        (_("Clients"), len({connection.application_id for connection in connections})),
        (_("Logins that are alive"), logins),
        (_("Access tokens that have not expired"), access_tokens),
        (_("Codes that wait to be redeemed"), codes),
    ]
