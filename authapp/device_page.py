"""The pages on which a person connects a device (RFC 8628 §3.3): enter its code, compare, allow or deny.

A code in the URL only fills the form. What a person answers is sealed to them and to the one authorization that they
were shown, so that answering is no second chance to try codes out.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.views.generic import View
from oauth2_provider.scopes import get_scopes_backend

from authapp import account_checks, audit, client_hosts, conf, notices, qr_codes, throttling, user_agents, user_codes
from authapp.device_authorization import complete_uri
from authapp.models import Application, Connection, DeviceAuthorization
from authapp.pages import private
from authapp.transactions import in_transaction

_SALT = "authapp.device_page"
_Status = DeviceAuthorization.Status


@method_decorator(login_not_required, name="dispatch")
class DeviceView(View):
    """GET /device/ has the form, POST takes a code and then the answer."""

    http_method_names = ["get", "head", "post"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Be nowhere while the flow is off; keep every page out of caches and frames."""
        if not conf.device_flow():
            raise Http404("The device flow is off.")
        if account_checks.must_sign_in_anew(request):
            return private(redirect_to_login(_page_of(None), resolve_url(conf.reauthenticate_url())))
        response: HttpResponse = super().dispatch(request, *args, **kwargs)  # type: ignore[assignment]
        return private(response)

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask for the code.

        Who opens the link with the code where they cannot or do not want to sign in, such as the device itself, gets
        its QR code to go on with a phone. That page looks nothing up: any code has one.
        """
        code = user_codes.read(request.GET.get("user_code", ""))
        if code is None and not request.user.is_authenticated:
            return redirect_to_login(reverse("device"))
        return self._form(code)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Show what a code asks for, or do what the person answered to that."""
        text = request.POST.get("user_code", "")
        code = user_codes.read(text)
        if not request.user.is_authenticated:
            return redirect_to_login(_page_of(code))
        if "authorization" in request.POST:
            return self._answer(request.POST["authorization"], allow=request.POST.get("allow") == "true")
        if seconds := throttling.seconds_until_user_code(request):
            problem = _("Too many codes were entered. Try again in %(seconds)d seconds.") % {"seconds": seconds}
            response = self._form(code, typed=text, problem=problem, status=429)
            response["Retry-After"] = str(seconds)
            return response
        authorization = _waiting_for(code) if code else None
        if authorization is None or code is None:
            return self._form(code, typed=text, problem=_no_such_code(), status=400)
        return self._confirmation(authorization, code)

    def _form(self, code: str | None, *, typed: str = "", problem: str = "", status: int = 200) -> TemplateResponse:
        context: dict[str, Any] = {
            "problem": problem,
            "is_wrong": status == 400,  # who entered too many may have entered the right one now
            "user_code": user_codes.shown(code) if code else typed[: user_codes.MAXIMUM_INPUT_LENGTH],
        }
        if code and not problem:
            context["complete_uri"] = complete_uri(conf.absolute_url(self.request, "device"), code)
            context["qr_code"] = qr_codes.draw(context["complete_uri"])
        if code and not self.request.user.is_authenticated:
            context["sign_in_url"] = redirect_to_login(_page_of(code)).url
        return TemplateResponse(self.request, "authapp/device.html", context, status=status)

    def _confirmation(self, authorization: DeviceAuthorization, code: str) -> TemplateResponse:
        descriptions = get_scopes_backend().get_all_scopes()
        granted = conf.with_implied(authorization.scope.split())
        application = authorization.application
        # Whoever knows the ID of a public client can ask for a code under its name; only a proof of identity counts.
        is_proven = application.client_type == Application.CLIENT_CONFIDENTIAL
        now = timezone.now()
        is_new = now - authorization.requested_at < timedelta(minutes=1)
        here, there = audit.sender(self.request.META)["ip_address"], authorization.ip_address
        return TemplateResponse(
            self.request,
            "authapp/device_confirm.html",
            {
                "application": application,
                "client_is_proven": is_proven,
                "client_is_verified": is_proven and client_hosts.is_verified(application, application.client_id),
                "client_host": client_hosts.host_of(application),
                "device": authorization,
                "user_code": user_codes.shown(code),
                "page": _page_of(code),
                "ago": "" if is_new else timesince(authorization.requested_at, now),
                "sealed": signing.dumps([authorization.pk, self.request.user.pk], salt=_SALT),
                "program": user_agents.in_words(authorization.user_agent),
                "is_same_network": bool(here and there)
                and throttling.address_group(str(here)) == throttling.address_group(str(there)),
                "scopes": [
                    {"name": scope, "description": description}
                    for scope, description in descriptions.items()
                    if scope in granted
                ],
            },
        )

    def _answer(self, sealed: str, *, allow: bool) -> HttpResponse:
        try:
            pk, user_pk = signing.loads(sealed, salt=_SALT)
        except (signing.BadSignature, ValueError):
            pk = user_pk = None
        if pk is None or user_pk != self.request.user.pk:
            return self._form(None, problem=_no_such_code(), status=400)
        authorization = in_transaction(lambda: self._decide(pk, allow=allow))
        if authorization is None:
            return self._form(None, problem=_no_such_code(), status=400)
        return TemplateResponse(
            self.request,
            "authapp/device_done.html",
            {"application": authorization.application, "is_denied": authorization.status == _Status.DENIED},
        )

    def _decide(self, pk: int, *, allow: bool) -> DeviceAuthorization | None:
        """Write the answer down; return the authorization as it is then, None if it cannot be answered by this person.

        The first answer counts. Whoever gave it sees it again when the form is sent twice.
        """
        found = DeviceAuthorization.objects.select_related("application", "user").select_for_update(of=("self",))
        authorization = found.filter(pk=pk).first()
        if authorization is None:
            return None
        if authorization.status != _Status.PENDING:
            return authorization if authorization.user_id == self.request.user.pk else None
        application = authorization.application
        if authorization.is_expired() or not application.is_usable(self.request):
            return None
        authorization.status = _Status.APPROVED if allow else _Status.DENIED
        authorization.user = self.request.user  # type: ignore[assignment]
        authorization.decided_at = timezone.now()
        authorization.save(update_fields=["status", "user", "decided_at"])
        if allow:
            _remember_consent(authorization, self.request)
        audit.record(
            audit.Action.CONSENT_GIVEN if allow else audit.Action.CONSENT_REFUSED,
            self.request.META,
            application=application,
            user=self.request.user,
            scope=authorization.scope,
            resource=authorization.resource[0],
            how="device",
            asked_from=authorization.ip_address or "",
        )
        return authorization


def _page_of(code: str | None) -> str:
    page = reverse("device")
    return complete_uri(page, code) if code else page


def _no_such_code() -> str:
    """Return what is said of a code that is wrong, over, answered or somebody else's: nobody learns which."""
    return _("This code is not valid, or not any more. Check it, or start again on your device.")


def _waiting_for(code: str) -> DeviceAuthorization | None:
    """Return the authorization of a code that can be answered."""
    authorization = (
        DeviceAuthorization.objects.select_related("application")
        .filter(user_code_digest__in=user_codes.digests(code), status=_Status.PENDING, expires_at__gt=timezone.now())
        .first()
    )
    if authorization is None or not authorization.application.is_usable(None):
        return None
    return authorization


def _remember_consent(authorization: DeviceAuthorization, request: HttpRequest) -> None:
    """Record who connected what.

    Neither is a later consent in the browser skipped, because no redirect leads to a device, nor is the client bound
    to the person, because the device could be anybody's.
    """
    connection, is_new = Connection.objects.update_or_create(
        user=authorization.user,
        application=authorization.application,
        defaults={
            "scope": authorization.scope,
            "resource": authorization.resource[0],
            "redirect_destination": Connection.device_destination(authorization.ip_address),
        },
    )
    Application.objects.filter(pk=authorization.application_id).update(last_authorized_at=timezone.now())
    if is_new:
        notices.tell_of_new_connection(connection, request)
