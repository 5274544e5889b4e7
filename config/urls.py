"""The site's URLs. /star is not among them: `config.asgi` hands it to mcpapp before Django sees it."""

from allauth.account.decorators import secure_admin_login
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import include, path, re_path

# One sign-in page, with its rate limits and second factors, for the admin as well.
admin.autodiscover()
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
# allauth's own tables of links, tokens and secrets stay empty (config.entra).
for model in (SocialAccount, SocialApp, SocialToken):
    admin.site.unregister(model)

handler400 = "config.error_pages.bad_request"
handler403 = "config.error_pages.permission_denied"
handler404 = "config.error_pages.page_not_found"
handler500 = "config.error_pages.server_error"


def not_here(request: HttpRequest, **kwargs: str) -> HttpResponse:
    """Answer 404 where allauth would let people manage what this site does not use, or keeps in another way.

    That are addresses, its own links to accounts elsewhere, and a first password for who signs in in another way.
    """
    raise Http404


urlpatterns = [
    re_path(r"^accounts/(?:email|confirm-email|3rdparty|social|password/set)/", not_here),
    path("", include("authapp.urls")),
    path("", include("mcpapp.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]
