"""The part of the clients' admin that is about services: making one, what it may do, and a new secret for it.

A secret is in the answer to the form that made it and nowhere else: not in a message, which would be stored.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from oauth2_provider.forms import ApplicationForm
from oauth2_provider.generators import generate_client_secret

from authapp import client_secrets, conf, services
from authapp.accounts import is_powerful
from authapp.errors import no_store
from authapp.models import Application
from authapp.models.client import PRIVATE_KEY_JWT

PEOPLE, SERVICE = "people", "service"
SERVICE_FIELDS = ("service_user", "scopes", "keys", "keys_uri")


class OptionalJSONField(forms.JSONField):
    """JSON, or nothing: an empty field where Django would show `null`."""

    def prepare_value(self, value: Any) -> Any:
        """Return what the field shows."""
        return "" if value is None else super().prepare_value(value)


class ClientForm(ApplicationForm):
    """A client for people, or for a service; what only one of them has is left out of the other."""

    kind = forms.ChoiceField(
        label=capfirst(_("made for")),
        choices=[(PEOPLE, _("an app that people connect")), (SERVICE, _("a service that acts without a person"))],
        widget=forms.RadioSelect,
        required=False,
        initial=PEOPLE,
    )
    scopes = forms.MultipleChoiceField(
        label=capfirst(_("scopes")),
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=_("What the service may do. Its account needs the permissions for it as well."),
    )

    keys = OptionalJSONField(
        label=capfirst(_("its public keys")),
        required=False,
        help_text=_("A JWK Set, where the service proves by a key who it is; it then has no secret."),
    )
    keys_uri = forms.CharField(
        label=capfirst(_("where it publishes its public keys")),
        required=False,
        max_length=500,
        help_text=_("Or where it publishes them: they may change there."),
    )
    owner: Any = None
    """Who fills the form in; the admin sets it on a form class of the request's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scopes"].choices = [
            (scope, f"{scope}: {text}") for scope, text in services.scopes_to_give().items()
        ]
        self.fields["scopes"].initial = self.instance.scope.split()
        self.fields["keys"].initial, self.fields["keys_uri"].initial = self.instance.jwks, self.instance.jwks_uri
        if "client_type" in self.fields:
            self.fields["client_type"].required = False  # of a service it is known
        if self.instance.pk is not None:
            # What the page does not show would count as emptied.
            for name in ("kind",) if self.instance.is_service else ("kind", "scopes", "keys", "keys_uri"):
                del self.fields[name]

    @property
    def is_for_a_service(self) -> bool:
        """Whether the form makes a service, or changes one."""
        if self.instance.pk is not None:
            return bool(self.instance.is_service)
        return bool(self.cleaned_data.get("kind") == SERVICE)

    def clean(self) -> Any:
        """Make a service what it has to be, and leave what is a service's out of other clients."""
        cleaned = super().clean()
        client: Application = self.instance
        if self.is_for_a_service:
            client.scope = " ".join(self.cleaned_data.get("scopes", ()))
            client.service_user = self.cleaned_data.get("service_user")
            client.name = self.cleaned_data.get("name", client.name)
            if client.pk is None:
                self._make_a_service(client)
            self._use_keys(client)
            try:
                services.require_complete(client)
            except ValidationError as error:
                self._tell(error)
            if is_powerful(client.service_user) and not self.owner.is_superuser:
                self.add_error("service_user", _("Only a superuser can let a service run as staff or a superuser."))
        elif client.pk is None:
            if self.cleaned_data.get("service_user") or self.cleaned_data.get("scopes") or self._keys():
                self.add_error("kind", _("Only a service has scopes, keys and an account here."))
            if not self.cleaned_data.get("client_type"):
                self.add_error("client_type", _("Choose one."))
        return cleaned

    def _make_a_service(self, client: Application) -> None:
        if self.cleaned_data.get("redirect_uris"):
            self.add_error("redirect_uris", _("A service has no redirect URI: nobody signs in to it."))
        client.authorization_grant_type = Application.GRANT_CLIENT_CREDENTIALS
        # `construct_instance` copies what was entered onto the client after this.
        self.cleaned_data["client_type"] = Application.CLIENT_CONFIDENTIAL
        secret = "" if self._keys() else generate_client_secret()
        self.cleaned_data["client_secret"], self.cleaned_data["hash_client_secret"] = secret, bool(secret)

    def _use_keys(self, client: Application) -> None:
        """Take the keys of a service that has some or gets some; one with a secret keeps that."""
        keys = self._keys()
        try:
            if keys and (client.pk is None or client.token_endpoint_auth_method == PRIVATE_KEY_JWT):
                services.use_keys(client, keys)
            elif keys:
                self.add_error("keys", _("This service proves by a secret who it is. Make another one for a key."))
            elif client.token_endpoint_auth_method == PRIVATE_KEY_JWT:
                self.add_error("keys", _("Without a key this service could not prove who it is."))
        except ValidationError as error:
            self._tell(error)

    def _keys(self) -> dict[str, Any]:
        entered = {"jwks": self.cleaned_data.get("keys"), "jwks_uri": self.cleaned_data.get("keys_uri")}
        return {name: value for name, value in entered.items() if value not in (None, "")}

    def _tell(self, error: ValidationError) -> None:
        names = {"scope": "scopes", "jwks": "keys", "jwks_uri": "keys_uri"}
        for field, texts in error.message_dict.items():
            self.add_error(names.get(field, field), texts)


class ServicesAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What the admin of clients does for services."""

    form = ClientForm
    raw_id_fields = ("user", "service_user")

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the form, which knows who fills it in."""
        form: Any = super().get_form(request, *args, **kwargs)
        form.owner = request.user
        return form

    def service_fieldsets(self, obj: Application | None) -> list[Any]:
        """Return what to show of a service, or where one can be made."""
        if obj is None:
            text = _("The secret is made when you save, and shown once. Type, secret and URIs above are not used.")
            return [(_("For a service"), {"fields": SERVICE_FIELDS, "description": text})]
        if not obj.is_service:
            return []
        return [(_("Service"), {"fields": (*SERVICE_FIELDS, "previous_client_secret_expires_at")})]

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        """Save; keep the secret of a new service for the page that shows it once."""
        is_service = obj.is_service
        secret = obj.client_secret
        super().save_model(request, obj, form, change)
        if is_service and not change:
            request.service_secret = secret or None  # type: ignore[attr-defined]
            services.record_made(obj, request.META, by=request.user.get_username())
        if is_service and is_powerful(obj.service_user):
            text = _("%(user)s is staff or a superuser: the service may do all that the account may.")
            self.message_user(request, text % {"user": obj.service_user}, messages.WARNING)
        if is_service and not conf.client_credentials():
            self.message_user(request, _("Services get no tokens: they are switched off here."), messages.WARNING)

    def response_add(self, request: HttpRequest, obj: Application, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the secret of a new service, in the answer to the form and nowhere else."""
        secret = getattr(request, "service_secret", None)
        if secret is None:
            return super().response_add(request, obj, *args, **kwargs)
        return self._show_secret(request, obj, secret)

    @admin.action(description=_("Give the selected client a new secret"), permissions=["change"])
    def new_secret(self, request: HttpRequest, queryset: QuerySet[Application]) -> HttpResponse | None:
        """Ask, then replace the secret of one client and show the new one once."""
        clients = list(queryset[:2])
        if len(clients) != 1 or not client_secrets.may_be_replaced(clients[0]):
            self.message_user(request, _("Choose one client that you made and that has a secret."), messages.ERROR)
            return None
        client = clients[0]
        if is_powerful(client.service_user) and not request.user.is_superuser:
            # Who has the secret may do all that the account may.
            text = _("Only a superuser can give a new secret to a service that runs as staff or a superuser.")
            self.message_user(request, text, messages.ERROR)
            return None
        if request.POST.get("confirmed") != "yes":
            return self._page(
                request,
                "new_secret.html",
                client,
                title=_("New secret"),
                action_checkbox_name=ACTION_CHECKBOX_NAME,
                days=conf.secret_overlap_seconds() / (24 * 3600),
            )
        with transaction.atomic():
            secret, until = client_secrets.replace(
                client,
                request.META,
                overlap_seconds=0 if request.POST.get("now") else None,
                by=request.user.get_username(),
            )
        return self._show_secret(request, client, secret, was_replaced=True, until=until)

    def _show_secret(self, request: HttpRequest, client: Application, secret: str, **context: Any) -> HttpResponse:
        return self._page(request, "secret.html", client, title=_("Client secret"), secret=secret, **context)

    def _page(self, request: HttpRequest, template: str, client: Application, **context: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "client": client, **context}
        return no_store(TemplateResponse(request, f"authapp/admin/{template}", context))
