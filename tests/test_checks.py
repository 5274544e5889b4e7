"""System checks: settings that would fail later are named at the start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import pytest
from mcp.server.mcpserver.resolve import Resolve

from authapp import checks as authapp_checks
from authapp.validator import Validator
from config import checks as config_checks
from mcpapp import checks as mcpapp_checks
from mcpapp import registry


def ask_about_a_loan(loan: int) -> str:
    return ""


def ids(messages: list[Any]) -> list[str]:
    return [message.id for message in messages]


def test_the_settings_of_the_site_pass() -> None:
    for check in (
        authapp_checks.check_issuers_and_resources,
        authapp_checks.check_application_model,
        authapp_checks.check_oauth_classes,
        authapp_checks.check_openid,
        mcpapp_checks.check_resources,
        mcpapp_checks.check_token_lookup,
        mcpapp_checks.check_tool_modules,
    ):
        assert check() == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ISSUERS": []}, ["authapp.E001"]),
        ({"RESOURCES": ["https://star.example/star/"]}, ["authapp.E002"]),
        ({"ISSUERS": ["star.example"]}, ["authapp.E002"]),
    ],
)
def test_an_authorization_server_without_a_name_is_refused(settings: Any, change: Any, expected: list[str]) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, **change}
    assert ids(authapp_checks.check_issuers_and_resources()) == expected


def test_a_kind_of_subject_that_does_not_exist_is_refused(settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "SUBJECT_TYPE": "paired"}
    assert ids(authapp_checks.check_openid()) == ["authapp.E008"]
    settings.AUTHAPP = {**settings.AUTHAPP, "SUBJECT_TYPE": "pairwise"}
    assert authapp_checks.check_openid() == []


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("idp.intranet.example", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("https://idp.intranet.example", False),
        ("idp.intranet.example/keys", False),
        ("IDP.intranet.example", False),
        ("idp.intranet.example:", False),
        (" idp.intranet.example", False),
        ("", False),
    ],
)
def test_a_host_of_keys_that_stands_in_no_url_is_named(settings: Any, host: str, is_one: bool) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "PRIVATE_KEY_HOSTS": [host]}
    assert ids(authapp_checks.check_private_key_hosts()) == ([] if is_one else ["authapp.E010"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"RESOURCES": []}, ["mcpapp.E001"]),
        ({"RESOURCES": ["https://star.example"]}, ["mcpapp.E002"]),
        ({"RESOURCES": ["https://star.example/star/"]}, ["mcpapp.E002"]),
        ({"RESOURCES": ["https://a.example/star", "https://a.example/other"]}, ["mcpapp.E003"]),
        ({"AUTHORIZATION_SERVERS": []}, ["mcpapp.E004"]),
    ],
)
def test_a_resource_nobody_could_connect_to_is_refused(settings: Any, change: Any, expected: list[str]) -> None:
    settings.MCPAPP = {**settings.MCPAPP, **change}
    assert ids(mcpapp_checks.check_resources()) == expected


def test_a_lookup_or_tool_module_that_does_not_exist_is_refused(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "TOKEN_LOOKUP": "nowhere.lookup", "TOOL_MODULES": ["nowhere"]}
    assert ids(mcpapp_checks.check_token_lookup()) == ["mcpapp.E005"]
    assert ids(mcpapp_checks.check_tool_modules()) == ["mcpapp.E006"]


def test_another_application_model_is_refused(settings: Any) -> None:
    settings.OAUTH2_PROVIDER_APPLICATION_MODEL = "oauth2_provider.Application"
    assert ids(authapp_checks.check_application_model()) == ["authapp.E003"]


@pytest.mark.parametrize("limit", ["REGISTRATION", "DOCUMENT_FETCH", "DEVICE_AUTHORIZATION"])
@pytest.mark.parametrize("value", [0, "often"])
def test_a_limit_that_never_refills_is_refused(settings: Any, limit: str, value: Any) -> None:
    assert authapp_checks.check_limits() == []
    settings.AUTHAPP = {**settings.AUTHAPP, f"{limit}_REFILL_PER_MINUTE": value}
    assert ids(authapp_checks.check_limits()) == ["authapp.E005"]


class OwnValidator(Validator):
    """What a site makes from ours."""


@pytest.mark.parametrize("name", authapp_checks.OAUTH_CLASSES)
def test_a_site_that_leaves_one_of_our_classes_out_is_told_so(settings: Any, name: str) -> None:
    assert authapp_checks.check_oauth_classes() == []
    ours = settings.OAUTH2_PROVIDER
    settings.OAUTH2_PROVIDER = {key: value for key, value in ours.items() if key != name}
    (problem,) = authapp_checks.check_oauth_classes()
    assert problem.id == "authapp.E009"
    assert name in problem.msg
    settings.OAUTH2_PROVIDER = {**ours, name: "authapp.nowhere.Class"}
    assert ids(authapp_checks.check_oauth_classes()) == ["authapp.E009"]
    settings.OAUTH2_PROVIDER = {**ours, "OAUTH2_VALIDATOR_CLASS": f"{__name__}.OwnValidator"}
    assert authapp_checks.check_oauth_classes() == []


def test_a_scope_that_nobody_can_be_granted_is_named_with_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.discover()
    monkeypatch.setattr(registry, "_catalog", registry.Catalog({}, {}, {}))
    assert mcpapp_checks.check_declarations() == []
    registry.tool("thing", scopes=["mcp:tolls"])(lambda: None)
    (warning,) = mcpapp_checks.check_declarations()
    assert warning.id == "mcpapp.W001"
    assert "'thing'" in warning.msg
    assert "mcp:tolls" in warning.msg
    assert "mcp:tools" in str(warning.hint)


def test_a_declaration_that_stops_the_server_is_an_error_of_the_check_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise registry.Duplicate("one and two are both called 'same'.")

    monkeypatch.setattr(registry, "discover", fail)
    assert ids(mcpapp_checks.check_declarations()) == ["mcpapp.E009"]


def test_a_lookup_that_is_not_async_is_named(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "TOKEN_LOOKUP": "authapp.tokens.is_marked"}
    (problem,) = mcpapp_checks.check_token_lookup()
    assert problem.id == "mcpapp.E005"
    assert "async def" in problem.msg


def test_a_decorator_without_parentheses_says_so() -> None:
    for decorator in (registry.tool, registry.prompt):
        with pytest.raises(registry.BadDeclaration, match="parentheses"):

            @decorator
            def forgotten() -> None: ...


def test_a_contradiction_in_a_module_of_tools_is_told_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any
) -> None:
    (tmp_path / "broken_tools.py").write_text(
        "from mcpapp.registry import tool\n\n\n@tool('x', public=True, scopes=['mcp:tools'])\ndef x() -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings.MCPAPP = {**settings.MCPAPP, "TOOL_MODULES": ["broken_tools"]}
    (problem,) = mcpapp_checks.check_declarations()
    assert problem.id == "mcpapp.E009"
    assert "broken_tools.py, line 4" in problem.msg
    assert mcpapp_checks.check_tool_modules() == [], "it is told once"


def test_what_cannot_be_served_is_an_error_of_the_check_too(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.discover()
    monkeypatch.setattr(registry, "_catalog", registry.Catalog({}, {}, {}))

    @registry.tool("give-back")
    def give_back(loan_id: int, sure: Annotated[str, Resolve(ask_about_a_loan)]) -> None: ...

    (problem,) = mcpapp_checks.check_declarations()
    assert problem.id == "mcpapp.E009"
    assert "give-back" in problem.msg
    assert "'loan'" in problem.msg


def test_one_name_twice_in_one_module_is_a_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after copying a function and forgetting to rename it."""
    monkeypatch.setattr(registry, "_catalog", registry.Catalog({}, {}, {}))

    @registry.tool("same")
    def same() -> None: ...

    with pytest.raises(registry.Duplicate, match=r"line \d+"):

        @registry.tool("same")
        def same() -> None: ...


# --- How the site is deployed (config/checks.py)


def test_a_site_as_it_is_deployed_passes(settings: Any) -> None:
    settings.DEBUG, settings.PUBLIC_URL = False, "https://star.example"
    settings.WORKERS, settings.FORWARDED_ALLOW_IPS = 1, ["127.0.0.1", "10.0.0.0/24", "fd00::/8"]
    for check in DEPLOYMENT_CHECKS:
        assert check() == [], check.__name__


DEPLOYMENT_CHECKS = (
    config_checks.check_trusted_proxies,
    config_checks.check_sessions,
    config_checks.check_public_url,
    config_checks.check_everybody_is_a_proxy,
    config_checks.check_limits_of_several_workers,
    config_checks.check_database_of_several_workers,
)


@pytest.mark.parametrize("proxies", [["proxy"], ["10.0.0.0/33"], ["127.0.0.1", "*"], ["10.0.0.5/24"]])
def test_a_proxy_that_is_no_address_is_refused(settings: Any, proxies: list[str]) -> None:
    settings.FORWARDED_ALLOW_IPS = proxies
    assert ids(config_checks.check_trusted_proxies()) == ["config.E001"]


def test_whoever_is_trusted_as_a_proxy_is_said(settings: Any) -> None:
    settings.FORWARDED_ALLOW_IPS = ["*"]
    assert config_checks.check_trusted_proxies() == []
    assert ids(config_checks.check_everybody_is_a_proxy()) == ["config.W003"]


def test_sessions_in_several_workers_are_warned_of(settings: Any) -> None:
    settings.WORKERS = 2
    assert config_checks.check_sessions() == []
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": True}
    assert ids(config_checks.check_sessions()) == ["config.W001"]
    settings.WORKERS = 1
    assert config_checks.check_sessions() == []


def test_http_outside_of_development_is_warned_of(settings: Any) -> None:
    settings.DEBUG, settings.PUBLIC_URL = False, "http://127.0.0.1:8000"
    assert ids(config_checks.check_public_url()) == ["config.W002"]
    settings.DEBUG = True
    assert config_checks.check_public_url() == []


def test_what_several_workers_do_not_share_is_said(settings: Any) -> None:
    settings.WORKERS = 4
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    [said] = config_checks.check_limits_of_several_workers()
    assert said.id == "config.I001"
    assert "4 times" in said.msg
    settings.CACHES = {"default": {"BACKEND": "config.caches.RedisOrMemory", "LOCATION": "redis://redis"}}
    assert config_checks.check_limits_of_several_workers() == []
    is_sqlite = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    assert ids(config_checks.check_database_of_several_workers()) == (["config.I002"] if is_sqlite else [])


def test_every_check_is_registered_and_documented() -> None:
    from django.core.checks.registry import registry

    registered = {*registry.registered_checks, *registry.deployment_checks}
    assert {*DEPLOYMENT_CHECKS} <= registered
    root = Path(config_checks.__file__).parent.parent
    found = set(re.findall(r'id="(config\.\w\d+)"', Path(config_checks.__file__).read_text(encoding="utf-8")))
    documented = set(
        re.findall(r"^\| `(config\.\w\d+)`", (root / "docs" / "deploy.md").read_text("utf-8"), re.MULTILINE)
    )
    assert found == documented
