"""From the page of a client or a person to the lists of what they have, and the filters of those lists.

Each link is there for who may view the list it leads to.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp import conf
from authapp.models import Application, AuditEvent, Connection
from authapp.see_as_admin import may_see_as


class _Of(admin.SimpleListFilter):
    """Rows of one client, or of one person. It is beside the list only while it is in the URL."""

    column = ""
    model: type[Model]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """Name whom the list is cut down to.

        Raises:
            IncorrectLookupParameters: that is no key.
        """
        value = self.value()
        if not value:
            return []
        try:
            key = self.model._meta.pk.to_python(value)
        except ValidationError as error:
            raise IncorrectLookupParameters from error
        self.target = self.model._default_manager.filter(pk=key).first()
        is_named = self.target is not None and may_view(request, self.model)
        return [(value, str(self.target) if is_named else value)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those rows; of who is gone there are none."""
        if not self.value():
            return queryset
        return queryset.none() if self.target is None else queryset.filter(**{self.column: self.target})


class OfClient(_Of):
    """Rows of one client."""

    title = _("client")
    parameter_name = "client"
    column = "application"
    model = Application


class OfPerson(_Of):
    """Rows of one person."""

    title = _("user")
    parameter_name = "person"
    column = "user"
    model = get_user_model()


FILTERS = (OfClient, OfPerson)


def list_of(model: type[Model], parameter: str, target: Model) -> str:
    """Return the URL of a list that is cut down to one client or person."""
    meta = model._meta
    address = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return f"{address}?{urlencode({parameter: target.pk})}"


def may_view(request: HttpRequest, model: type[Model]) -> bool:
    """Return whether a model is in the admin, and who asks may view its list."""
    site = admin.site
    return site.is_registered(model) and bool(site.get_model_admin(model).has_view_permission(request))


def links(request: HttpRequest, target: Any) -> str:
    """Return the links from a client, or else a person, as HTML; empty where there are none."""
    is_client = isinstance(target, Application)
    models = (Connection, get_access_token_model(), get_refresh_token_model(), AuditEvent)
    parameter = (OfClient if is_client else OfPerson).parameter_name
    found = [
        (list_of(model, parameter, target), capfirst(model._meta.verbose_name_plural))
        for model in models
        if may_view(request, model)
    ]
    calls_url = conf.calls_url()
    if calls_url is not None:
        of_whom = {"client_id": target.client_id} if is_client else {"user": target}
        if address := calls_url(request, **of_whom):
            found.append((address, _("Tool calls")))
    if may_see_as(request):
        query = urlencode({"application" if is_client else "user": target.pk})
        found.append((f"{reverse('admin:authapp_see_as')}?{query}", _("See as")))
    if not found:
        return ""
    return format_html("<ul>{}</ul>", format_html_join("", '<li><a href="{}">{}</a></li>', found))


def fieldset(request: HttpRequest, target: Any) -> list[Any]:
    """Return the part of a page with the links, for `get_fieldsets`; none for what is being made."""
    shown = links(request, target) if target is not None else ""
    return [(_("See also"), {"fields": (), "description": shown})] if shown else []


class PersonLinks:
    """For the ModelAdmin of users: the clients a person connected, and the links."""

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Add the links."""
        return [*super().get_fieldsets(request, obj), *fieldset(request, obj)]  # type: ignore[misc]
