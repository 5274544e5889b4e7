"""The authorization server's URLs; include them at the root of a site: `path("", include("authapp.urls"))`.

The namespace is DOT's, so that its own views and models find the URLs they reverse. DOT's client management and token
pages, its introspection view and its device flow are not mounted (docs/decisions/0003, 0015).
"""

from django.urls import include, path, re_path

from authapp.connected_apps import connected_apps, disconnect_all, disconnect_app
from authapp.consent import ConsentView
from authapp.device_authorization import DeviceAuthorizationView
from authapp.device_page import DeviceView
from authapp.introspection import IntrospectionView
from authapp.metadata import AuthorizationServerMetadataView
from authapp.openid.logout import LogoutView
from authapp.openid.views import JWKSView, UserInfoView
from authapp.registration import ClientConfigurationView, RegistrationView
from authapp.token_endpoint import RevokeTokenView, TokenView

metadata = AuthorizationServerMetadataView.as_view()
token = TokenView.as_view()

oauth_urlpatterns = [
    path("authorize/", ConsentView.as_view(), name="authorize"),
    path("token/", token, name="token"),
    path("device_authorization/", DeviceAuthorizationView.as_view(), name="device-authorization"),
    path("revoke_token/", RevokeTokenView.as_view(), name="revoke-token"),
    path("introspect/", IntrospectionView.as_view(), name="introspect"),
    path("register/", RegistrationView.as_view(), name="dcr-register"),
    path("register/<str:client_id>/", ClientConfigurationView.as_view(), name="dcr-register-management"),
    path("jwks/", JWKSView.as_view(), name="jwks-info"),
    path("userinfo/", UserInfoView.as_view(), name="user-info"),
    path("logout/", LogoutView.as_view(), name="rp-initiated-logout"),
    # A redirect would turn a POST into a GET, so the spelling without a slash is served as well.
    path("authorize", ConsentView.as_view()),
    path("token", token),
    path("device_authorization", DeviceAuthorizationView.as_view()),
    path("revoke_token", RevokeTokenView.as_view()),
    path("introspect", IntrospectionView.as_view()),
    path("register", RegistrationView.as_view()),
    path("register/<str:client_id>", ClientConfigurationView.as_view()),
    path("jwks", JWKSView.as_view()),
    path("userinfo", UserInfoView.as_view()),
    path("logout", LogoutView.as_view()),
]

urlpatterns = [
    re_path(r"^\.well-known/oauth-authorization-server(?P<issuer_path>/.+)?$", metadata, name="server-metadata"),
    re_path(r"^\.well-known/openid-configuration(?P<issuer_path>/.+)?$", metadata, name="openid-configuration"),
    path("device/", DeviceView.as_view(), name="device"),
    path("device", DeviceView.as_view()),
    path("connected-apps/", connected_apps, name="connected-apps"),
    path("connected-apps/disconnect-all/", disconnect_all, name="disconnect-all-apps"),
    path("connected-apps/<int:pk>/disconnect/", disconnect_app, name="disconnect-app"),
    path("o/", include((oauth_urlpatterns, "oauth2_provider"))),
    # The Python SDK forgets the metadata when it restarts and refreshes at the origin's /token.
    path("token", token),
]
