"""A filter of the admin's lists by time: from when, before when, to the second; with Django's own choices above it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib.admin import DateFieldListFilter
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

_FORMAT = "%Y-%m-%dT%H:%M:%S"
"""The only one that browsers take as the value of such an input (HTML, local date and time strings)."""


class _Moment(forms.DateTimeField):
    """A moment that every database has: converted to UTC, the first and last of the calendar are none."""

    widget = forms.DateTimeInput(format=_FORMAT, attrs={"type": "datetime-local", "step": "1"})

    def clean(self, value: Any) -> datetime | None:
        """Return it.

        Raises:
            ValidationError: it is none, or its clock was set back over it.
        """
        moment: datetime | None = super().clean(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError as error:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from error


class TimesForm(forms.Form):
    """From when to when; either may be left open."""

    since = _Moment(label=_("From"), required=False)
    before = _Moment(label=_("Before"), required=False)

    def __init__(self, data: dict[str, str], names: tuple[str, str]) -> None:
        """Take the parameters of a page, and the names of the two."""
        self._names = dict(zip(("since", "before"), names, strict=True))
        super().__init__(data, auto_id="filter-%s")

    def add_prefix(self, field_name: str) -> str:
        """Return the name of the parameter."""
        return self._names.get(field_name, field_name)

    def clean(self) -> dict[str, Any]:
        """Compare the two.

        Raises:
            ValidationError: nothing can be between them.
        """
        found: dict[str, Any] = super().clean() or self.cleaned_data
        since, before = found.get("since"), found.get("before")
        if since and before and before <= since:
            raise ValidationError(_("The end must be after the beginning."), code="order")
        return found


class TimeFilter(DateFieldListFilter):
    """Choose by a field from a moment on, and before another one: `("at", TimeFilter)` in `list_filter`.

    The parameters are those of Django's filter by date, whose choices are shown as well and fill the form.
    What is no moment is told beside it, and no row is shown then: others would be taken for those that were asked for.
    """

    template = "mcpapp/admin/time_filter.html"

    def __init__(
        self, field: Any, request: HttpRequest, params: Any, model: Any, model_admin: Any, field_path: str
    ) -> None:
        """Read the parameters of a page."""
        super().__init__(field, request, params, model, model_admin, field_path)
        self.names = (f"{field_path}__gte", f"{field_path}__lt")
        used: dict[str, Any] = self.used_parameters
        self.form = TimesForm({name: _shown(used[name][-1]) for name in self.names if name in used}, self.names)
        self.date_params = {name: value for name, value in self.date_params.items() if value}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows between the two moments."""
        if not self.form.is_valid():
            return queryset.none()
        moments = zip(self.names, map(self.form.cleaned_data.get, ("since", "before")), strict=True)
        return queryset.filter(**{name: moment for name, moment in moments if moment is not None})

    def choices(self, changelist: Any) -> Any:
        """Return Django's choices; what else is searched for, the form carries along."""
        asked = changelist.filter_params.items()
        self.kept = [(name, value) for name, values in asked for value in values if name not in self.names]
        return super().choices(changelist)


def _shown(value: str) -> str:
    """Return a moment as a person here writes it; what is none stays as it is."""
    try:
        moment = datetime.fromisoformat(value)
        return (moment if timezone.is_naive(moment) else timezone.localtime(moment)).strftime(_FORMAT)
    except (ValueError, OverflowError):
        return value
