"""What a person reads when something went wrong: what happened, whose mistake it is, and what to do next."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.core.ratelimit import respond_429
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from django.utils import translation

from tests.oauth import HOST

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.config.test_error_pages")]

handler400 = "config.error_pages.bad_request"
handler403 = "config.error_pages.permission_denied"
handler404 = "config.error_pages.page_not_found"
handler500 = "config.error_pages.server_error"


def raises(error: Exception) -> Callable[[HttpRequest], HttpResponse]:
    def view(request: HttpRequest) -> HttpResponse:
        raise error

    return view


urlpatterns = [
    path("suspicious/", raises(SuspiciousOperation("the reason for the log"))),
    path("forbidden/", raises(PermissionDenied("the reason for the log"))),
    path("broken/", raises(RuntimeError("the reason for the log"))),
    path("too-often/", respond_429),
    path("", include("config.urls")),
]

# The page: its status, then what happened, whose mistake it is and what to do next, in English and in Chinese.
PAGES: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "/suspicious/": (
        400,
        ("This request could not be read", "you did nothing wrong", "Go back and try again from the start"),
        ("无法识别此请求", "您没有做错什么", "请返回，从头再试一次"),
    ),
    "/forbidden/": (
        403,
        ("You may not see this page", "nobody made a mistake", "sign in with another account"),
        ("您无权查看此页", "谁也没有做错什么", "用另一个账户登录"),
    ),
    "/nothing-here/": (
        404,
        ("There is no page here", "which is not your mistake", "look at it once more"),
        ("此处没有页面", "并不是您的错", "请再核对一遍"),
    ),
    "/too-often/": (
        429,
        ("Too many tries", "This was asked for too often", "Wait a few minutes"),
        ("尝试次数过多", "短时间内请求过多", "请等待几分钟"),
    ),
    "/broken/": (
        500,
        ("Something went wrong", "The fault is on this site", "Try again"),
        ("出错了", "问题出在本站", "请稍后再试"),
    ),
}


def visitor(language: str = "en", **options: Any) -> Client:
    return Client(headers={"host": HOST, "accept-language": language}, raise_request_exception=False, **options)


def words(response: HttpResponse) -> str:
    text = response.content.decode()
    assert "the reason for the log" not in text
    assert "Traceback" not in text
    main = text.partition("<main")[2].partition("</main")[0]
    assert "<a " in main, "there is a way on"
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", main)).split())


@pytest.mark.parametrize("where", PAGES)
def test_it_is_said_what_happened_whose_mistake_it_is_and_what_to_do(where: str) -> None:
    status, english, chinese = PAGES[where]
    for language, tag, said in (("en", "en", english), ("zh-CN", "zh-hans", chinese)):
        response = visitor(language).get(where)
        assert response.status_code == status
        assert f'<html lang="{tag}">' in response.content.decode()
        assert response["Content-Type"] == "text/html; charset=utf-8"
        assert [text for text in said if text not in words(response)] == []


def test_a_form_that_was_open_too_long_is_opened_anew_where_it_was(alice: Any) -> None:
    english, chinese = ("This form was open for too long", "Nothing was changed"), ("此表单打开得太久", "没有任何更改")
    for language, said in (("en", english), ("zh-CN", chinese)):
        response = visitor(language, enforce_csrf_checks=True).post("/accounts/login/?next=/connected-apps/", {})
        assert response.status_code == 403
        assert [text for text in said if text not in words(response)] == []
        assert 'href="/accounts/login/?next=/connected-apps/"' in response.content.decode()


@pytest.mark.parametrize(
    "where", ["/connected-apps/1/disconnect/", "/connected-apps/disconnect-all/", "/i18n/setlang/"]
)
def test_where_only_forms_lead_a_link_leads_to_a_page(alice: Any, where: str) -> None:
    """A form that was refused is opened anew by its address, and so is one after a sign-in that was in between."""
    person = visitor(enforce_csrf_checks=True)
    person.force_login(alice)
    assert f'href="{where}"' in person.post(where, {}).content.decode()
    assert person.get(where, follow=True).status_code == 200


def test_a_host_that_is_not_ours_is_answered_in_words_too() -> None:
    translation.deactivate()
    response = Client(headers={"host": "evil.example"}, raise_request_exception=False).get("/")
    assert response.status_code == 400
    assert "This request could not be read" in words(response)
    assert "evil.example" not in response.content.decode()
