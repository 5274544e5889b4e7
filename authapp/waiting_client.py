"""Which client waits while a person signs in: the one whose authorization request the sign-in leads back to."""

from __future__ import annotations

from django.http import HttpRequest, QueryDict
from django.urls import reverse

from authapp.consent import MAXIMUM_QUERY_LENGTH, ConsentView
from authapp.models import Application


def find(request: HttpRequest, next_url: str) -> Application | None:
    """Return the client behind `next_url`, if that is an authorization request that the consent page would show.

    Anybody can make a link to the sign-in page, so the name of a client is shown for a sound request alone, and only of
    one that is here already: no link makes this site fetch a stranger's document.
    """
    path, _, query = next_url.partition("?")
    endpoint = reverse("oauth2_provider:authorize")
    if path not in {endpoint, endpoint.rstrip("/")} or len(query) > MAXIMUM_QUERY_LENGTH:
        return None
    asked = HttpRequest()
    asked.method = "GET"
    asked.path, asked.path_info = path, path
    asked.META = {"HTTP_HOST": request.META.get("HTTP_HOST", ""), "QUERY_STRING": query}
    asked.GET = QueryDict(query)
    client_id = asked.GET.get("client_id", "")
    if "\x00" in client_id or not Application.objects.filter(client_id=client_id).exists():
        return None
    return ConsentView.client_of(asked)
