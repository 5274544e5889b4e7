"""Whatever comes back from Entra, or from somebody who says that it does, ends in a page and never in a traceback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from hypothesis import HealthCheck, given, settings, strategies

from config.entra.settings import EntraSettings
from tests.config.entra.conftest import Visitor
from tests.entra_sign_in import ABSENT, SignInProvider
from tests.oauth import browser

pytestmark = pytest.mark.django_db
CALLBACK_PATH = "/accounts/oidc/entra/login/callback/"
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# A JWT is UTF-8, which has no lone surrogates.
texts = strategies.text(strategies.characters(exclude_categories=["Cs"]), max_size=300)
values = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats(allow_nan=False) | texts,
    lambda inner: strategies.lists(inner, max_size=4) | strategies.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)
about_the_person = strategies.sampled_from(
    ["preferred_username", "name", "given_name", "family_name", "email", "groups", "roles", "_claim_names", "hasgroups"]
)
about_the_token = strategies.sampled_from(["iss", "aud", "tid", "oid", "sub", "exp", "iat", "nbf", "nonce"])


@given(claims=strategies.dictionaries(about_the_person, values, max_size=6))
@EXAMPLES
def test_whatever_a_token_says_of_a_person_they_are_signed_in_as_nobody_else(
    claims: dict[str, Any], entra: EntraSettings, provider: SignInProvider, settings: Any
) -> None:
    settings.ENTRA = replace(entra, create_users=True, groups={"a": "Editors"})
    staff, _ = get_user_model().objects.get_or_create(username="staff", is_staff=True, is_superuser=True)
    provider.claims = claims
    visitor = Visitor(provider)
    assert visitor.sign_in().status_code == 302
    user = get_user_model().objects.get(pk=visitor.user_id)
    assert user != staff
    assert (user.is_staff, user.is_superuser) == (False, False)
    user.delete()


@given(claims=strategies.dictionaries(about_the_token, values, min_size=1, max_size=3))
@EXAMPLES
def test_whatever_is_wrong_about_a_token_nobody_is_signed_in(
    claims: dict[str, Any], people_are_created: None, provider: SignInProvider
) -> None:
    # What the tests of single faults have is left out of here: times that happen to be right.
    provider.claims = {"nonce": ABSENT} | claims
    visitor = Visitor(provider)
    assert visitor.sign_in().status_code == 400
    assert visitor.user_id is None


@given(
    query=strategies.dictionaries(
        strategies.sampled_from(["code", "state", "error", "error_description", "session_state", "iss", "process"]),
        texts,
        max_size=5,
    )
)
@EXAMPLES
def test_whatever_a_stranger_sends_to_the_redirect_uri_is_answered_with_a_page(
    query: dict[str, str], entra: EntraSettings, provider: SignInProvider
) -> None:
    response = browser().get(CALLBACK_PATH, query)
    assert response.status_code in {200, 400}
    assert "_auth_user_id" not in browser().session
    assert provider.requests == [], "and nobody is asked"
