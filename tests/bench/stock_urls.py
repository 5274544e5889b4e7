"""The URLs of the stock project."""

from django.urls import include, path

urlpatterns = [path("o/", include("oauth2_provider.urls"))]
