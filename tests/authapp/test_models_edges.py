"""What clients and their documents must not lose."""

from __future__ import annotations

import pytest
from django.contrib.auth.hashers import check_password, make_password
from django.core.exceptions import ValidationError

from authapp.client_id_metadata import narrowed
from authapp.hashers import GeneratedSecretHasher
from authapp.models import Application
from tests.authapp.test_client_id_metadata import VS_CODE
from tests.oauth import CALLBACK


def client(redirect_uris: str) -> Application:
    return Application(
        name="By hand",
        redirect_uris=redirect_uris,
        client_type=Application.CLIENT_PUBLIC,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
    )


@pytest.mark.parametrize("redirect_uris", ["", "http://evil.example/cb", f"{CALLBACK} http://evil.example/cb"])
def test_a_client_made_by_hand_has_redirect_uris_and_only_good_ones(redirect_uris: str) -> None:
    client(CALLBACK).clean()
    with pytest.raises(ValidationError):
        client(redirect_uris).clean()


def test_a_client_without_redirect_uris_is_not_native() -> None:
    assert client(CALLBACK).is_native
    assert not client("").is_native


def test_a_document_that_names_no_way_to_authenticate_is_of_a_public_client() -> None:
    document = {name: value for name, value in VS_CODE.items() if name != "token_endpoint_auth_method"}
    assert narrowed(document)["token_endpoint_auth_method"] == "none"


def test_a_null_in_a_document_counts_as_left_out() -> None:
    assert narrowed(VS_CODE | {"client_uri": None, "scope": None})["client_name"] == "Visual Studio Code"


def test_generated_secrets_are_salted_and_no_page_shows_their_digest() -> None:
    hasher = GeneratedSecretHasher()
    one, two = (make_password("the same secret", hasher="generated_secret") for _ in range(2))
    assert one != two
    assert check_password("the same secret", one)
    assert not check_password("another", one)
    assert hasher.decode(one)["hash"] not in str(hasher.safe_summary(one))
    assert hasher.decode(one)["salt"] not in str(hasher.safe_summary(one))
