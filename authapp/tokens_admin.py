"""The admin of tokens and codes: to look at and to revoke; authapp/admin.py registers it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Exists, F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from oauth2_provider.admin import AccessTokenAdmin as DOTAccessTokenAdmin
from oauth2_provider.admin import GrantAdmin as DOTGrantAdmin
from oauth2_provider.admin import RefreshTokenAdmin as DOTRefreshTokenAdmin
from oauth2_provider.models import get_access_token_model, get_refresh_token_model
from oauth2_provider.settings import oauth2_settings

from authapp import admin_links, audit, conf, confirmation, families, token_life
from authapp.admin_display import NothingSecretLookedFor, PageFacts, all_fields, link, moment
from authapp.models import Connection, TokenFamily
from authapp.transactions import in_transaction

USERNAME = get_user_model().USERNAME_FIELD


class LiveFilter(admin.SimpleListFilter):
    """Tokens that work, and those that do not (any more)."""

    title = _("live")
    parameter_name = "live"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Offer both."""
        self.live = model_admin.live_tokens()
        return [("yes", _("live")), ("no", _("ended"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those."""
        is_live = Exists(self.live.filter(pk=OuterRef("pk")))
        return {"yes": queryset.filter(is_live), "no": queryset.filter(~is_live)}.get(str(self.value()), queryset)


class _CredentialColumns(NothingSecretLookedFor):
    """Columns that identify a credential without showing any of it; who may change them may revoke, not edit."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save nothing: Django would insert anew what was revoked since the page was read."""

    @admin.display(description=_("user"), ordering=f"user__{USERNAME}")
    def user_link(self, token: Any) -> str:
        """Link to the person."""
        return link(token.user) if token.user_id else "–"

    @admin.display(description=_("client"), ordering="application__name")
    def application_link(self, token: Any) -> str:
        """Link to the client."""
        return link(token.application) if token.application_id else "–"

    @admin.display(description=_("resource"))
    def resources(self, token: Any) -> str:
        """Return what the token is good for."""
        return ", ".join(token.resource or ()) or "–"


class _Tokens(PageFacts, _CredentialColumns):
    """What access tokens and refresh tokens have in common."""

    list_filter: tuple[Any, ...] = (
        *(LiveFilter, "created", "application__registration_source"),
        *admin_links.FILTERS,
    )
    date_hierarchy = None  # looks at every row, twice; the filter by date does not
    show_full_result_count = False
    ordering = ("-pk",)  # the latest logins first, for which there is an index; a refresh keeps the row
    exclude = secrets = ("token", "token_checksum")

    live_tokens: Callable[[], QuerySet[Any]]
    """Returns those that live."""
    family_of: Callable[[], Any]
    """Returns an expression for the family of each token."""

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Leave out what nobody counts."""
        without = {"last_used"} if conf.connection_usage() is None else set()
        return tuple(name for name in super().get_list_display(request) if name not in without)  # type: ignore[misc]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show, never edit: the flows make tokens, the action revokes them."""
        return all_fields(self, obj)

    def add_facts(self, rows: list[Any]) -> None:
        """Say when the connections of the tokens were used last; calls are not counted by token."""
        usage = conf.connection_usage()
        if usage is None:
            return
        of_these: dict[str, Any] = {
            "user__in": {token.user_id for token in rows if token.user_id},
            "application__in": {token.application_id for token in rows if token.application_id},
        }
        pairs = Connection.objects.filter(**of_these).values_list("user", "application", "pk")
        connections = {(user, application): pk for user, application, pk in pairs}
        used: Mapping[Any, Any] = usage(list(connections.values())) if connections else {}
        for token in rows:
            token.use = used.get(connections.get((token.user_id, token.application_id)))

    @admin.display(description=_("connection last used"))
    def last_used(self, token: Any) -> str:
        """Return when the last call was that the client made for the person, with whichever token."""
        return moment(token.use.last_call_at if token.use is not None else None)

    @admin.display(description=_("live"), boolean=True)
    def is_live(self, token: Any) -> bool:
        """Return whether it works."""
        return bool(token.lives)

    @admin.action(description=_("Revoke selected tokens and all that belong to them"), permissions=["change"])
    def revoke_tokens(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Ask first; then end the families of the tokens (DOT ends one pair), and by itself what has none.

        What is asked about are the families: a client that refreshes meanwhile has other tokens, of the same family.
        """
        keys = confirmation.confirmed(request)
        if keys is not None:
            self._revoke(request, keys)
            return None
        model: Any = queryset.model
        tokens = model.objects.filter(pk__in=queryset.order_by().values("pk")).order_by("pk")
        chosen = list(tokens.annotate(family=self.family_of())[: confirmation.MAXIMUM + 1])
        if confirmation.is_too_much(self, request, chosen):
            return None
        known = set(
            TokenFamily.objects.filter(family__in={token.family for token in chosen}).values_list("family", flat=True)
        )
        alone = [token for token in chosen if token.family not in known]
        question = confirmation.Question(
            title=_("Revoke tokens"),
            what=_("The logins that these tokens belong to end with all their tokens, from the next call on."),
            after=_("The clients stay connected: they have to ask for an authorization again."),
            chosen=chosen,
            keys=[*map(str, sorted(known)), *(str(token.pk) for token in alone)],
            nothing=_("None of the selected tokens is there any more."),
            ends=_ends(chosen, known, alone),
        )
        return confirmation.ask(self, request, "revoke_tokens", question)

    def _revoke(self, request: HttpRequest, keys: list[str]) -> None:
        by = request.user.get_username()
        found = TokenFamily.objects.filter(family__in=[uuid.UUID(key) for key in keys if not key.isdecimal()])
        alone = self.model.objects.filter(pk__in=confirmation.primary_keys(self.model, keys))  # type: ignore[attr-defined]

        def work() -> tuple[int, int]:
            logins = families.revoke_all(found, request)
            tokens = list(alone.select_related("application", "user").order_by("pk"))
            for token in tokens:
                what = {"application": token.application, "user": token.user}
                audit.record(audit.Action.TOKEN_REVOKED, request.META, **what, by=by)
                token.revoke()
            return logins, len(tokens)

        logins, tokens = in_transaction(work)
        text = _("Logins ended: %(logins)d. Other tokens revoked: %(tokens)d.")
        self.message_user(request, text % {"logins": logins, "tokens": tokens})  # type: ignore[attr-defined]


class AccessTokenAdmin(_Tokens, DOTAccessTokenAdmin):
    """Access tokens; DOT's action revokes them."""

    list_display = (
        *("pk", "user_link", "application_link", "scope", "resources", "created"),
        *("last_used", "expires", "is_live"),
    )

    def live_tokens(self) -> QuerySet[Any]:
        """Return those that have not expired, of clients that are enabled and people who are active."""
        return token_life.live_access_tokens()

    def family_of(self) -> Any:
        """Return the family of its refresh token."""
        owner = get_refresh_token_model().objects.filter(access_token=OuterRef("pk"))
        return Subquery(owner.values("token_family")[:1])

    def add_facts(self, rows: list[Any]) -> None:
        """Say which of them live."""
        super().add_facts(rows)
        keys = [token.pk for token in rows]
        live = set(self.live_tokens().filter(pk__in=keys).values_list("pk", flat=True))
        for token in rows:
            token.lives = token.pk in live


class RefreshTokenAdmin(_Tokens, DOTRefreshTokenAdmin):
    """Refresh tokens; DOT's action revokes them."""

    list_display = (
        *("pk", "user_link", "application_link", "scopes", "resources", "created"),
        *("last_used", "expires", "revoked", "is_live"),
    )

    def live_tokens(self) -> QuerySet[Any]:
        """Return those that can be used."""
        return token_life.live_refresh_tokens()

    def family_of(self) -> Any:
        """Return its own."""
        return F("token_family")

    def add_facts(self, rows: list[Any]) -> None:
        """Say which of them live, until when, and for which scopes, for one statement."""
        super().add_facts(rows)
        granted = TokenFamily.objects.filter(family=OuterRef("token_family")).values("scope")
        told = (
            get_refresh_token_model()
            .objects.filter(pk__in=[token.pk for token in rows])
            .annotate(
                ends=token_life.refreshable_until(),
                granted=Subquery(granted[:1]),
                lives=Exists(self.live_tokens().filter(pk=OuterRef("pk"))),
            )
            .values("pk", "ends", "granted", "lives", "access_token")
        )
        by_key = {row["pk"]: row for row in told}
        for token in rows:
            row = by_key.get(token.pk, {})
            token.granted, token.lives = row.get("granted"), row.get("lives")
            token.is_unused = token.revoked is None and row.get("access_token") is not None
            token.ends = row.get("ends")

    @admin.display(description=_("scope"))
    def scopes(self, token: Any) -> str:
        """Return what the person granted, which the next access token may have."""
        return token.granted or "–"

    @admin.display(description=_("expires"))
    def expires(self, token: Any) -> str:
        """Return until when it can be used; a token that was used or revoked can not."""
        if not token.is_unused:
            return "–"
        return str(_("without end")) if token.ends is None else moment(token.ends)


class GrantAdmin(_CredentialColumns, DOTGrantAdmin):
    """Authorization codes that were not redeemed yet."""

    list_display = ("pk", "user_link", "application_link", "scope", "resources", "redirect_uri", "created", "expires")
    list_select_related = ("application", "user")
    list_filter = ("created", "application__registration_source", *admin_links.FILTERS)
    date_hierarchy = "created"
    ordering = ("-pk",)
    exclude = secrets = ("code", "code_challenge")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show, never edit."""
        return all_fields(self, obj)


def _ends(chosen: list[Any], known: set[uuid.UUID], alone: list[Any]) -> list[tuple[Any, int]]:
    """Count what ends with families, and with tokens that have none."""
    access_tokens, refresh_tokens = get_access_token_model().objects, get_refresh_token_model().objects
    refresh = refresh_tokens.filter(token_family__in=known)
    lost = access_tokens.filter(pk__in=refresh.values("access_token"), expires__gt=timezone.now()).count()
    managing = [token for token in alone if getattr(token, "scope", "") == oauth2_settings.DCR_REGISTRATION_SCOPE]
    return [
        (_("Logins that are alive"), TokenFamily.objects.filter(family__in=known, ended_at=None).count()),
        (_("Refresh tokens that were not used or revoked"), refresh.filter(revoked=None).count()),
        (_("Access tokens that have not expired"), lost),
        (_("Tokens by themselves"), len(alone)),
        (_("of these, registrations that their clients can no longer manage"), len(managing)),
        (_("People"), len({token.user_id for token in chosen if token.user_id})),
        (_("Clients"), len({token.application_id for token in chosen if token.application_id})),
    ]
