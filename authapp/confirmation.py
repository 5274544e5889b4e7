"""The page between an action of the admin and what it does: it says in numbers what ends, and keeps what was chosen.

What has come since is not touched, and what went in between is not missed: the keys of what was chosen come back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

MAXIMUM = 10_000
"""How many rows one action is for at most."""
_SHOWN = 20
"""How many names a confirmation has."""
_KEY = re.compile(r"[0-9]{1,18}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before an action."""

    title: Any
    what: Any
    """What it does."""
    after: Any
    """What comes after."""
    chosen: Sequence[Any]
    """What it is done to: objects whose texts are names."""
    keys: Sequence[str]
    """By which that is found again: whole numbers, or UUIDs."""
    nothing: Any
    """What is said where nothing is chosen that the action is for."""
    ends: Sequence[tuple[Any, int]] = field(default=())
    """What it ends, and how many."""


def confirmed(request: HttpRequest) -> list[str] | None:
    """Return the keys that were asked about, None where it was not confirmed yet."""
    if request.POST.get("confirmed") != "yes":
        return None
    keys = request.POST.get("chosen", "").split(",")[:MAXIMUM]
    return [key for key in keys if _KEY.fullmatch(key)]


def primary_keys(model: type[Model], keys: list[str]) -> list[Any]:
    """Return the keys that are primary keys of a model."""
    found = []
    for key in keys:
        with suppress(ValidationError):
            found.append(model._meta.pk.to_python(key))
    return found


def is_too_much(model_admin: Any, request: HttpRequest, chosen: Sequence[Any]) -> bool:
    """Return whether more is chosen than one action is for, and say so; `chosen` is cut off after that."""
    if len(chosen) <= MAXIMUM:
        return False
    model_admin.message_user(request, _("Choose at most %d at once.") % MAXIMUM, messages.ERROR)
    return True


def list_url(model_admin: Any) -> str:
    """Return where the list of a ModelAdmin is."""
    return reverse(f"admin:{model_admin.opts.app_label}_{model_admin.opts.model_name}_changelist")


def ask(model_admin: Any, request: HttpRequest, action: str, question: Question) -> HttpResponse:
    """Return the page that asks."""
    opts = model_admin.opts
    first = question.chosen[0].pk if question.chosen else ""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": question.title,
        "opts": opts,
        "question": question,
        "action": action,
        "shown": question.chosen[:_SHOWN],
        "more": max(len(question.chosen) - _SHOWN, 0),
        # In one field, for there may be thousands.
        "chosen": ",".join(question.keys),
        "first": first,
        "list_url": list_url(model_admin),
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "authapp/admin/confirm.html", context)


class DeletedByAction:
    """For a ModelAdmin: to delete one row or many is an action that asks first, and Django's own way is not there.

    That one says nothing in numbers, lists every row that goes, and locks in another order than the flows.
    """

    deleting = ""
    """The name of the action; it needs the delete permission."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave Django's own way to delete many out."""
        actions: dict[str, Any] = super().get_actions(request)  # type: ignore[misc]
        actions.pop("delete_selected", None)
        return actions

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Do to one row what the action does.

        Raises:
            PermissionDenied: of who may not delete.
        """
        model_admin: Any = self
        if not model_admin.has_delete_permission(request):
            raise PermissionDenied
        found = model_admin.get_object(request, unquote(object_id))
        rows = model_admin.model._default_manager.filter(pk__in=[found.pk] if found is not None else [])
        answer: HttpResponse | None = getattr(self, self.deleting)(request, rows)
        return answer or HttpResponseRedirect(list_url(model_admin))
