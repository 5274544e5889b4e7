"""What the owner says of their tenant: one tenant, or the site does not start; nothing said, nothing on."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.entra.settings import PUBLIC_CLOUD, read
from tests.config.test_settings import PRODUCTION, python, value
from tests.entra_sign_in import SITE_ID, SITE_SECRET, TENANT

GIVEN: dict[str, Any] = {
    "tenant_id": TENANT,
    "client_id": SITE_ID,
    "client_secret": SITE_SECRET,
    "authority": PUBLIC_CLOUD,
    "sign_in": "",
    "sign_up": False,
    "only": False,
    "create_users": False,
    "groups": {},
    "check_seconds": 3600,
    "grace_seconds": 86400,
}
VARIABLES = {"ENTRA_TENANT_ID": TENANT, "ENTRA_CLIENT_ID": SITE_ID, "ENTRA_CLIENT_SECRET": SITE_SECRET}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"tenant_id": "common"}, "lets in people of every organisation and everybody's personal accounts"),
        ({"tenant_id": "COMMON"}, "lets in people of every organisation and everybody's personal accounts"),
        ({"tenant_id": "organizations"}, "lets in people of every organisation"),
        ({"tenant_id": "consumers"}, "lets in everybody's personal accounts"),
        ({"tenant_id": "9188040d-6c67-4c5b-b112-36a304b66dad"}, "lets in everybody's personal accounts"),
        ({"tenant_id": "contoso.onmicrosoft.com"}, "ENTRA_TENANT_ID must be an ID like"),
        ({"tenant_id": f"{TENANT}/../common"}, "ENTRA_TENANT_ID must be an ID like"),
        ({"client_id": "star"}, "ENTRA_CLIENT_ID must be an ID like"),
        ({"sign_in": "perhaps"}, "ENTRA_SIGN_IN must be true or false"),
        ({"sign_in": "true", "client_secret": ""}, "ENTRA_SIGN_IN needs"),
        ({"sign_in": "true", "tenant_id": ""}, "ENTRA_SIGN_IN needs"),
        ({"only": True, "sign_in": "false"}, "ENTRA_ONLY would leave no way to sign in"),
        ({"only": True, "client_secret": ""}, "ENTRA_ONLY would leave no way to sign in"),
        ({"only": True, "sign_up": True}, "ENTRA_ONLY and ALLOW_SIGNUP contradict"),
        ({"groups": ["Editors"]}, "ENTRA_GROUPS must be JSON like"),
        ({"groups": {"id": 7}}, "ENTRA_GROUPS must be JSON like"),
        ({"groups": {"id": ""}}, "ENTRA_GROUPS must be JSON like"),
        ({"check_seconds": 0}, "ENTRA_ACCOUNT_CHECK_SECONDS must be at least 1"),
        ({"grace_seconds": -1}, "ENTRA_ACCOUNT_CHECK_GRACE_SECONDS not negative"),
        ({"authority": "http://login.microsoftonline.com"}, "ENTRA_AUTHORITY must look like"),
        ({"authority": "https://login.microsoftonline.com/common"}, "ENTRA_AUTHORITY must look like"),
        ({"authority": "https://user@login.microsoftonline.com"}, "ENTRA_AUTHORITY must look like"),
        ({"authority": "https://Login.microsoftonline.com"}, "ENTRA_AUTHORITY must look like"),
        ({"authority": "https://"}, "ENTRA_AUTHORITY must look like"),
        ({"authority": "https://[x"}, "ENTRA_AUTHORITY must look like"),
    ],
    ids=str,
)
def test_a_value_that_would_let_in_others_or_nobody_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(**GIVEN | changed)
    assert sentence in str(caught.value)
    assert SITE_SECRET not in str(caught.value)


def test_it_is_on_when_all_that_it_needs_is_there_and_not_switched_off() -> None:
    assert read(**GIVEN).sign_in is True
    assert read(**GIVEN | {"sign_in": "true"}).sign_in is True
    assert read(**GIVEN | {"sign_in": "false"}).sign_in is False
    for name in ("tenant_id", "client_id", "client_secret"):
        assert read(**GIVEN | {name: ""}).sign_in is False


def test_all_addresses_are_of_the_one_tenant_and_none_is_discovered() -> None:
    entra = read(**GIVEN | {"tenant_id": TENANT.upper()})
    assert entra.issuer == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    for url in (entra.authorization_endpoint, entra.token_endpoint, entra.end_session_endpoint, entra.jwks_uri):
        assert url.startswith(f"https://login.microsoftonline.com/{TENANT}/")
    assert SITE_SECRET not in repr(entra)


def test_the_environment_says_it_and_a_bad_value_stops_the_start() -> None:
    assert value("ENTRA.sign_in", **PRODUCTION) is False
    assert value("AUTHAPP['ACCOUNT_CHECK']", **PRODUCTION) == ""
    assert value("ENTRA.sign_in", **PRODUCTION, **VARIABLES) is True
    assert value("AUTHAPP['ACCOUNT_CHECK']", **PRODUCTION, **VARIABLES) == "config.entra.accounts.still_counts"
    assert value("AUTHAPP['LINKED_ISSUERS']", **PRODUCTION) == []
    others = '[{"issuer": "https://kc.example/realms/staff", "audiences": ["x"]}, 7]'
    assert value("AUTHAPP['LINKED_ISSUERS']", **PRODUCTION, **VARIABLES, TOKEN_ISSUERS=others) == [
        f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "https://kc.example/realms/staff",
    ]
    assert value("ENTRA.groups", **PRODUCTION, **VARIABLES, ENTRA_GROUPS='{"a": "b"}') == {"a": "b"}
    done = python("import config.asgi", PRODUCTION | VARIABLES | {"ENTRA_TENANT_ID": "common"})
    assert done.returncode != 0
    assert done.stderr.startswith("Star cannot start: ENTRA_TENANT_ID must be your own tenant: common lets in")
    assert len(done.stderr.strip().splitlines()) == 1
