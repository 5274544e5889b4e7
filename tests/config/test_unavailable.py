"""While the database does not answer, everybody is told to come back: people on a page, clients in JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.db import DataError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path

from tests.oauth import HOST

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.config.test_unavailable")]

handler500 = "config.error_pages.server_error"
REASON = "connection to server at 10.0.0.7 failed"


def raises(error: Exception) -> Callable[[HttpRequest], HttpResponse]:
    def view(request: HttpRequest) -> HttpResponse:
        raise error

    return view


class AwayBeforeAnyView:
    """Middleware that meets the database first, as one that loads sessions may."""

    def __init__(self, get_response: Any) -> None:
        if get_response is None:
            raise MiddlewareNotUsed

    def __call__(self, request: HttpRequest) -> HttpResponse:
        raise OperationalError(REASON)


urlpatterns = [
    path("away/", raises(OperationalError(REASON))),
    path("cut/", raises(InterfaceError(REASON))),
    path("wrong/", raises(DataError(REASON))),
    path("", include("config.urls")),
]


def get(where: str, accept: str = "*/*", language: str = "en", method: str = "get") -> Any:
    client = Client(
        headers={"host": HOST, "accept": accept, "accept-language": language}, raise_request_exception=False
    )
    return getattr(client, method)(where)


@pytest.mark.parametrize("where", ["/away/", "/cut/"])
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.rfc("6749 4.1.2.1")
def test_a_client_is_told_in_json_when_to_come_back(where: str, method: str) -> None:
    response = get(where, method=method)
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response["Cache-Control"] == "no-store"
    assert response.json()["error"] == "temporarily_unavailable"
    assert REASON not in response.content.decode()


@pytest.mark.parametrize(
    ("language", "words"), [("en", "nothing is lost. Try again in a moment"), ("zh-CN", "没有丢失任何内容")]
)
def test_a_person_is_told_on_a_page(language: str, words: str) -> None:
    response = get("/away/", "text/html,application/xhtml+xml", language)
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    page = response.content.decode()
    assert words in page
    assert "Something went wrong" not in page
    assert REASON not in page


def test_where_the_database_is_met_before_any_view_it_is_the_same(settings: Any) -> None:
    settings.MIDDLEWARE = [f"{__name__}.AwayBeforeAnyView"]
    response = get("/")
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response["Cache-Control"] == "no-store"


def test_another_error_of_the_database_is_a_fault_of_the_site() -> None:
    assert get("/wrong/").status_code == 500


def test_the_log_has_a_line_for_it_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        get("/away/?code=secret")
    (record,) = [one for one in caplog.records if "did not answer" in one.getMessage()]
    assert record.getMessage() == f"The database did not answer GET /away/: {REASON}"
    assert record.exc_info is None
