"""The page "See as" of the admin: what a client is answered that a person connects with some scopes.

It only reads, and each look is in the audit trail. Who may look has a permission of its own, for the page shows what
another person may do; and who may not see people or clients may not see this of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth import get_permission_codename, get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from oauth2_provider.exceptions import OAuthToolkitError
from oauth2_provider.scopes import get_scopes_backend

from authapp import audit, conf
from authapp.consent import ConsentView
from authapp.models import Application, Connection

PERMISSION = "authapp.see_as"
_ANY_CHALLENGE = "A" * 43
"""For the consent page to be shown; nothing is redeemed with it."""


def may_see_as(request: HttpRequest) -> bool:
    """Return whether somebody may look: who has the permission, and may view people, clients and connections."""
    user: Any = request.user
    models: tuple[Any, ...] = (get_user_model(), Application, Connection)
    views = [f"{model._meta.app_label}.{get_permission_codename('view', model._meta)}" for model in models]
    changes = [f"{model._meta.app_label}.{get_permission_codename('change', model._meta)}" for model in models]
    sees = all(user.has_perm(view) or user.has_perm(change) for view, change in zip(views, changes, strict=True))
    return bool(conf.see_as() and sees and user.has_perm(PERMISSION))


class _Searched(AutocompleteSelect):
    """Searches; what cannot be a key is nothing to it, where Django's would crash."""

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        """Return what is chosen."""
        key = self.field.remote_field.model._meta.pk
        return super().optgroups(name, [one for one in value if _is_key(key, one)], attr)


def _people(by: Any) -> QuerySet[Any]:
    """Return whom somebody may see: only one who may do everything sees another who may."""
    people: QuerySet[Any] = get_user_model()._default_manager.all()
    has_superusers = any(field.name == "is_superuser" for field in get_user_model()._meta.get_fields())
    return people.filter(is_superuser=False) if has_superusers and not getattr(by, "is_superuser", False) else people


class SeeAsForm(forms.Form):
    """Whom to see, with which client, and what that person let it do."""

    user = forms.ModelChoiceField(get_user_model()._default_manager.none(), label=_("User"))
    application = forms.ModelChoiceField(Application.objects.none(), label=_("Client"))
    scopes = forms.MultipleChoiceField(label=_("Scopes"), widget=forms.CheckboxSelectMultiple, required=False)

    def __init__(self, *args: Any, by: Any, admin_site: admin.AdminSite, **kwargs: Any) -> None:
        """Offer whom `by` may see."""
        super().__init__(*args, **kwargs)
        self.fields["user"].queryset = _people(by)  # type: ignore[attr-defined]
        self.fields["application"].queryset = Application.objects.all()  # type: ignore[attr-defined]
        scopes = get_scopes_backend().get_all_scopes().items()
        self.fields["scopes"].choices = [(name, f"{name}: {what}") for name, what in scopes]  # type: ignore[attr-defined]
        for name in ("user", "application"):
            relation: Any = Connection._meta.get_field(name)
            # A list of thousands is none to choose from; the admin of the model searches it.
            searches = getattr(admin_site._registry.get(relation.remote_field.model), "search_fields", None)
            field: Any = self.fields[name]
            field.widget = _Searched(relation, admin_site) if searches else forms.NumberInput()
            field.widget.choices = field.choices


class SeeAs:
    """The page, for the ModelAdmin of connections."""

    def get_urls(self) -> list[URLPattern]:
        """Add it."""
        view = self.admin_site.admin_view(self.see_as_view)  # type: ignore[attr-defined]
        return [path("see-as/", view, name="authapp_see_as"), *super().get_urls()]  # type: ignore[misc]

    def see_as_view(self, request: HttpRequest) -> HttpResponse:
        """GET asks whom to see, filled in with `connection`, `user` and `application` of the query; POST shows it.

        Raises:
            PermissionDenied: of who may not look.
        """
        if not may_see_as(request):
            raise PermissionDenied
        site: admin.AdminSite = self.admin_site  # type: ignore[attr-defined]
        seen: dict[str, Any] = {}
        if request.method == "POST":
            form = SeeAsForm(request.POST, by=request.user, admin_site=site)
            if form.is_valid():
                seen = _look(request, **form.cleaned_data)
        else:
            form = SeeAsForm(initial=_initial(request), by=request.user, admin_site=site)
        context = {
            **site.each_context(request),
            "title": gettext("See as"),
            "opts": Connection._meta,
            "form": form,
            "media": form.media,
            **seen,
        }
        return TemplateResponse(request, "authapp/admin/see_as.html", context)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Link to it."""
        extra = {"may_see_as": may_see_as(request), **(extra_context or {})}
        return super().changelist_view(request, extra)  # type: ignore[misc,no-any-return]

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Link to it, filled in with this connection."""
        extra = {"may_see_as": may_see_as(request), **(kwargs.pop("extra_context", None) or {})}
        return super().change_view(  # type: ignore[misc,no-any-return]
            request, object_id, *args, extra_context=extra, **kwargs
        )


def _initial(request: HttpRequest) -> dict[str, Any]:
    """Return what the form is filled in with; what cannot be a key is nothing."""
    keys_of: dict[str, Any] = {"connection": Connection, "user": get_user_model(), "application": Application}
    asked = {name: request.GET.get(name, "") for name in keys_of}
    keys: dict[str, Any] = {name: key for name, key in asked.items() if _is_key(keys_of[name]._meta.pk, key)}
    found, connections = None, Connection.objects.filter(user__in=_people(request.user))
    if "connection" in keys:
        found = connections.filter(pk=keys["connection"]).first()
    elif "user" in keys and "application" in keys:
        found = connections.filter(user=keys["user"], application=keys["application"]).first()
    if found is not None:
        return {"user": found.user_id, "application": found.application_id, "scopes": found.scopes}
    scopes = get_scopes_backend().get_default_scopes()
    return {"user": keys.get("user"), "application": keys.get("application"), "scopes": scopes}


def _is_key(field: Any, value: Any) -> bool:
    try:
        field.run_validators(key := field.to_python(value))
    except ValidationError:
        return False
    return key is not None and "\x00" not in str(key)


@dataclass(frozen=True, slots=True)
class ConsentPage:
    """The page of consent, or why there is none."""

    html: str = ""
    problem: str = ""


def _look(request: HttpRequest, *, user: Any, application: Application, scopes: list[str]) -> dict[str, Any]:
    """Return what the page shows, and write down who looked."""
    audit.record(
        audit.Action.SEEN_AS,
        request.META,
        application=application,
        user=request.user,
        seen=user.get_username(),
        scope=" ".join(scopes),
    )
    look = conf.see_as()
    assert look is not None  # noqa: S101  (may_see_as asked)
    return {
        "seen": look(user, application.client_id, application.name, conf.with_implied(scopes)),
        "person": user,
        "client": application,
        "is_disabled": application.disabled_at is not None,
        "consent": _consent_page(request, user, application, scopes),
    }


def _consent_page(request: HttpRequest, user: Any, application: Application, scopes: list[str]) -> ConsentPage:
    """Return the page that the client's first request would lead this person to."""
    uris = application.registered_redirect_uris
    if not uris:
        return ConsentPage(problem=gettext("This client has no redirect URI: nobody is ever asked for consent to it."))
    query = {
        "response_type": "code",
        "client_id": application.client_id,
        "redirect_uri": uris[0],
        "scope": " ".join(scopes),
        "code_challenge": _ANY_CHALLENGE,
        "code_challenge_method": "S256",
    }
    asked = _request(request, reverse("oauth2_provider:authorize"), urlencode(query))
    asked.user, asked.session = user, SessionBase()
    try:
        with transaction.atomic():
            html = ConsentView.page_for(asked)
            transaction.set_rollback(True)  # a metadata document that was fetched for it is not kept
    except OAuthToolkitError as error:
        reason = error.oauthlib_error.description or error.oauthlib_error.error
        return ConsentPage(problem=gettext("No page: the request is refused (%s).") % reason)
    return ConsentPage(html=html)


def _request(like: HttpRequest, path: str, query: str) -> HttpRequest:
    """Return a request that came the way that another did, without its cookies."""
    request = HttpRequest()
    request.method, request.path, request.path_info, request.GET = "GET", path, path, QueryDict(query)
    kept = ("HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "STAR_PUBLIC_SCHEME")
    request.META = {name: like.META[name] for name in kept if name in like.META}
    request.META |= {"REQUEST_METHOD": "GET", "QUERY_STRING": query}
    return request
