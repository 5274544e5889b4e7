"""What pages of the admin show in the same way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html


def link(target: Any) -> str:
    """Return a link to the admin's page of an object, its text alone where there is none."""
    meta = target._meta
    if not admin.site.is_registered(type(target)):  # a site's own user model may not be in the admin
        return str(target)
    return format_html(
        '<a href="{}">{}</a>', reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[target.pk]), target
    )


def all_fields(model_admin: Any, obj: Any) -> tuple[str, ...]:
    """Return the names of all fields that a page shows, none for an object that is being made: nothing is edited."""
    if obj is None:
        return ()
    hidden = {"id", *(model_admin.exclude or ())}
    return tuple(field.name for field in obj._meta.fields if field.name not in hidden)


def moment(at: datetime | None) -> str:
    """Return a time as lists show it, in the time zone of the page."""
    return "–" if at is None else str(localize(timezone.localtime(at)))


class PageFacts:
    """For a ModelAdmin whose list says what is asked for once for all rows of a page."""

    add_facts: Callable[[list[Any]], None]
    """Sets on rows, of which there is at least one, what their columns show."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the page with its facts."""
        changes = super().get_changelist_instance(request)  # type: ignore[misc]
        rows = list(changes.result_list)
        if rows:
            self.add_facts(rows)
        changes.result_list = rows
        return changes


class NothingSecretLookedFor:
    """For a ModelAdmin of rows with secrets: what is not shown is not looked for either.

    Django lets any column of the model stand in a list's URL, by which a secret could be guessed letter by letter.
    """

    secrets: tuple[str, ...] = ()

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Refuse the columns with secrets."""
        if lookup.partition("__")[0] in self.secrets:
            return False
        return bool(super().lookup_allowed(lookup, value, request))  # type: ignore[misc]
