"""What authapp uses of DOT that is not its public API: an upgrade that changes it must fail here, loudly."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from oauth2_provider import cimd
from oauth2_provider.cimd import SafeMetadataFetcher
from oauth2_provider.models import get_access_token_model
from oauth2_provider.oauth2_backends import OAuthLibCore
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.views import (
    AuthorizationView,
    DynamicClientRegistrationManagementView,
    OAuthServerMetadataView,
    TokenView,
)
from oauth2_provider.views.dynamic_client_registration import _issue_registration_token
from oauthlib.oauth2 import AuthorizationCodeGrant
from oauthlib.oauth2.rfc6749.grant_types.base import GrantTypeBase
from oauthlib.oauth2.rfc8628.grant_types import DeviceCodeGrant

from authapp.models import Application
from authapp.openid.id_tokens import add_id_token
from authapp.validator import Validator


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (OAuth2Validator, "_load_application", ["self", "client_id", "request"]),
        (OAuth2Validator, "_authenticate_basic_auth", ["self", "request"]),
        (OAuth2Validator, "_check_secret", ["self", "provided_secret", "stored_secret"]),
        (OAuth2Validator, "_check_and_set_request_resource", ["self", "request"]),
        (OAuth2Validator, "_create_authorization_code", ["self", "request", "code", "expires"]),
        (
            OAuth2Validator,
            "_create_access_token",
            ["self", "expires", "request", "token", "source_refresh_token"],
        ),
        (
            OAuth2Validator,
            "_create_refresh_token",
            ["self", "request", "refresh_token_code", "access_token", "previous_refresh_token"],
        ),
        (OAuth2Validator, "_load_id_token", ["self", "token"]),
        (OAuth2Validator, "_set_token_value", ["self", "token_instance", "raw_token"]),
        (OAuthLibCore, "_extract_params", ["self", "request"]),
        (SafeMetadataFetcher, "_read_document", ["self", "response"]),
        (GrantTypeBase, "_get_default_headers", ["self"]),
        (OAuth2Validator, "_save_bearer_token", ["self", "token", "request", "args", "kwargs"]),
        (OAuthServerMetadataView, "_get_endpoint_url", ["self", "request", "view_name", "required"]),
        (
            DynamicClientRegistrationManagementView,
            "_authenticate_registration_request",
            ["self", "request", "client_id"],
        ),
        (TokenView, "authorization_flow_token_response", ["self", "request", "args", "kwargs"]),
        (AuthorizationView, "validate_authorization_request", ["self", "request"]),
        (AuthorizationView, "handle_no_permission", ["self"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_we_override_or_call_is_still_there_with_its_parameters(
    owner: type, name: str, parameters: list[str]
) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_every_private_method_that_our_validator_overrides_is_called_by_dot() -> None:
    source = inspect.getsource(OAuth2Validator)
    parts = [part for part in Validator.__mro__ if part.__module__.startswith("authapp.")]
    assert len(parts) > 1
    ours = {name for part in parts for name in vars(part) if name.startswith("_") and name in vars(OAuth2Validator)}
    ours = {name for name in ours if not name.startswith("__")}
    assert ours
    assert [name for name in ours if f"self.{name}(" not in source] == []


def test_oauthlib_keeps_token_modifiers_where_a_grant_registers_them_and_calls_them_with_three_arguments() -> None:
    """`authapp.grants.device` calls them itself, as this grant does."""
    grant = DeviceCodeGrant(None)
    grant.register_token_modifier(add_id_token)
    assert grant._token_modifiers == [add_id_token]
    assert "token = modifier(token, token_handler, request)" in inspect.getsource(AuthorizationCodeGrant)


def test_dot_asks_before_it_looks_whether_a_document_failed_a_moment_ago() -> None:
    source = inspect.getsource(cimd.resolve_cimd_application)
    assert "cache.get(backoff_key)" in source
    assert "backoff_key = _backoff_cache_key(client_id)" in source
    assert list(inspect.signature(cimd._backoff_cache_key).parameters) == ["client_id"]


def test_dot_has_a_client_checked_between_reading_its_document_and_storing_it() -> None:
    """There `authapp.client_id_metadata.complete` puts in place what DOT has no place for."""
    source = inspect.getsource(cimd._fetch_validate_upsert)
    steps = ["fetcher.fetch(client_id)", "setattr(application, field, value)", ".full_clean(", "application.save()"]
    places = [source.index(step) for step in steps]
    assert places == sorted(places)


@pytest.mark.django_db
def test_a_registration_token_is_issued_by_dot_and_stored_hashed() -> None:
    application: Any = Application.objects.create(client_type="public", authorization_grant_type="authorization-code")
    token = _issue_registration_token(application, None)
    row = get_access_token_model().objects.get()
    assert (row.token, row.application, row.user, row.resource) == ("", application, None, [])
    assert len(token) >= 40
