"""What pages of the admin show in the same way."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import reverse
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
