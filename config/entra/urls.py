"""Under `/accounts/`, where allauth puts the URLs of its providers."""

from django.urls import path

from config.entra import views

urlpatterns = [
    path("oidc/entra/", views.LinkView.as_view(), name="entra_link"),
    path("oidc/entra/login/", views.sign_in, name="entra_login"),
    path("oidc/entra/login/callback/", views.callback, name="entra_callback"),
    path("oidc/entra/reauthenticate/", views.reauthenticate, name="entra_reauthenticate"),
    path("oidc/entra/logout/", views.sign_out, name="entra_logout"),
]
