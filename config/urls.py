"""The site's URLs. /star is not among them: `config.asgi` hands it to mcpapp before Django sees it."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

# One sign-in page, with its rate limits and second factors, for the admin as well.
admin.autodiscover()
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("", include("authapp.urls")),
    path("", include("mcpapp.urls")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]
