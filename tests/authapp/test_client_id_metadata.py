"""Client ID Metadata Documents: what of one is kept, whose are accepted, what people see, and what happens without one.

How they are fetched is test_client_id_metadata_fetch.py.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from oauth2_provider.cimd import CIMDError
from oauth2_provider.models import get_access_token_model, get_grant_model

from authapp import checks, client_hosts, conf
from authapp.client_id_metadata import MetadataFetcher, narrowed
from authapp.models import Application, AuditEvent, ClientHostRule
from authapp.tokens import find_access_token
from tests.devices import DEVICE_CODE, ask, asked, decide, enter, poll
from tests.oauth import HOST as SITE
from tests.oauth import PKCE, authorization_url, authorize, browser, redeem, refresh, register

URL = "https://vscode.dev/oauth/client-metadata.json"
LOOPBACK = "http://127.0.0.1:50000/"
VS_CODE = {
    "client_id": URL,
    "client_name": "Visual Studio Code",
    "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    "response_types": ["code"],
    "redirect_uris": [
        "http://127.0.0.1:33418/",
        "https://vscode.dev/redirect",
        "https://insiders.vscode.dev/redirect",
        "https://vscode.dev.evil.example/redirect",
        "http://127.0.0.1/",
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ],
    "token_endpoint_auth_method": "none",
}


# --- What is kept ------------------------------------------------------------------------------------------


def test_a_document_with_several_grants_keeps_those_we_have() -> None:
    assert narrowed(VS_CODE)["grant_types"] == VS_CODE["grant_types"]
    document = VS_CODE | {"grant_types": ["password", "authorization_code", "implicit"]}
    assert narrowed(document)["grant_types"] == ["authorization_code"]


def test_a_redirect_uri_that_only_other_servers_take_is_left_out() -> None:
    document = VS_CODE | {"redirect_uris": ["com.example.app:/callback", "https://app.example/cb", 5]}
    assert narrowed(document)["redirect_uris"] == ["https://app.example/cb"]


def test_a_client_that_offers_to_have_no_secret_has_none() -> None:
    """ChatGPT's document prefers a key and offers `none` (OpenID Connect RP Metadata Choices)."""
    document = VS_CODE | {
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "jwks_uri": "https://vscode.dev/jwks.json",
    }
    assert narrowed(document)["token_endpoint_auth_method"] == "none"


@pytest.mark.parametrize(
    "change",
    [
        {"client_name": None},
        {"client_name": ""},
        {"client_name": "   "},
        {"client_name": 5},
        {"client_name": "Visual\u202eStudio"},
        {"redirect_uris": ["http://evil.example/cb"]},
        {"redirect_uris": []},
        {"redirect_uris": None},
        {"redirect_uris": "https://vscode.dev/redirect"},
        {"grant_types": ["client_credentials"]},
        {"grant_types": ["implicit"]},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"token_endpoint_auth_method": "client_secret_basic", "token_endpoint_auth_methods_supported": ["none"]},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": None},
        {"token_endpoint_auth_method": []},
    ],
    ids=str,
)
def test_a_document_that_leaves_nothing_usable_is_refused(change: dict[str, Any]) -> None:
    assert narrowed(VS_CODE)["client_name"] == "Visual Studio Code"
    with pytest.raises(CIMDError):
        narrowed(VS_CODE | change)


# --- A client with a document ------------------------------------------------------------------------------


class Documents:
    """What the internet has in place of the real one, for tests that are not about fetching."""

    def __init__(self) -> None:
        self.published: dict[str, Any] = {URL: VS_CODE}
        self.fetched: list[str] = []

    def get(self, url: client_hosts.ClientIDURL) -> tuple[dict[str, Any], int]:
        """Stand in for the transport."""
        client_id = f"https://{url.host}{url.target}"
        self.fetched.append(client_id)
        if client_id not in self.published:
            raise CIMDError("10.1.2.3 refused the connection")
        return dict(self.published[client_id]), 300


@pytest.fixture
def documents(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Documents:
    documents = Documents()
    monkeypatch.setattr(MetadataFetcher, "_get", documents.get)
    # Otherwise a document that could not be had is not asked for again within a test.
    settings.OAUTH2_PROVIDER = {
        **settings.OAUTH2_PROVIDER,
        "CIMD_ENABLED": True,
        "CIMD_FAILURE_BACKOFF_SECONDS": 0,
    }
    return documents


def log_in(user: Any, client_id: str = URL, redirect_uri: str = LOOPBACK) -> dict[str, Any]:
    pkce = PKCE()
    code = authorize(user, client_id, pkce, redirect_uri=redirect_uri)["code"]
    response = redeem(client_id, code, pkce, redirect_uri=redirect_uri)
    assert response.status_code == 200, response.content
    return dict(response.json())


def page_of(user: Any, client_id: str = URL, redirect_uri: str = LOOPBACK) -> Any:
    return browser(user).get(authorization_url(client_id, PKCE(), redirect_uri=redirect_uri))


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


def expired(ago: timedelta = timedelta(seconds=1)) -> None:
    """Let the time of every stored document be over since a while."""
    assert Application.objects.update(cimd_expires_at=timezone.now() - ago)


@pytest.mark.django_db
def test_a_client_with_a_document_logs_in_without_registering(alice: Any, documents: Documents) -> None:
    assert refresh(URL, log_in(alice)["refresh_token"]).status_code == 200
    assert documents.fetched == [URL], "once: the document is fresh for its max-age"
    application = Application.objects.get()
    assert (application.client_type, application.user) == ("public", None)


@pytest.mark.django_db
def test_a_client_with_a_document_connects_a_device_and_signs_in_with_the_browser_too(
    alice: Any, documents: Documents
) -> None:
    answer = asked(URL)
    assert "vscode.dev</bdi></strong> published this name" in text_of(enter(alice, answer["user_code"]))
    decide(alice, answer["user_code"])
    assert poll(URL, answer["device_code"]).status_code == 200
    assert Application.objects.get().grant_types == VS_CODE["grant_types"]
    assert log_in(alice)["access_token"]


def test_a_document_of_a_client_for_devices_alone_needs_no_redirect(alice: Any, documents: Documents) -> None:
    documents.published[URL] = {
        "client_id": URL,
        "client_name": "Headless",
        "grant_types": [DEVICE_CODE],
        "token_endpoint_auth_method": "none",
    }
    answer = asked(URL)
    decide(alice, answer["user_code"])
    assert poll(URL, answer["device_code"]).status_code == 200
    application = Application.objects.get()
    assert (application.redirect_uris, application.authorization_grant_type) == ("", DEVICE_CODE)
    assert page_of(alice, redirect_uri=URL).status_code == 400


@pytest.mark.django_db
def test_a_document_that_no_longer_lists_a_grant_takes_it_away(documents: Documents) -> None:
    assert ask(URL).status_code == 200
    documents.published[URL] = VS_CODE | {"grant_types": ["authorization_code"]}
    Application.objects.update(cimd_expires_at=timezone.now() - timedelta(seconds=1))
    assert ask(URL).json()["error"] == "unauthorized_client"
    documents.published[URL] = VS_CODE
    Application.objects.update(cimd_expires_at=timezone.now() - timedelta(seconds=1))
    assert ask(URL).status_code == 200


@pytest.mark.rfc("CIMD 5.2")
def test_a_document_is_read_again_when_its_time_is_over_and_what_it_says_counts(
    alice: Any, documents: Documents
) -> None:
    log_in(alice)
    documents.published[URL] = VS_CODE | {"client_name": "Code", "redirect_uris": ["https://vscode.dev/new"]}
    assert "Visual Studio Code" in text_of(page_of(alice)), "its time is not over"
    expired()
    assert page_of(alice).status_code == 400, "the redirect URI is gone"
    assert ">Code<" in text_of(page_of(alice, redirect_uri="https://vscode.dev/new"))
    assert documents.fetched == [URL, URL]
    assert Application.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.rfc("CIMD 5.2")
def test_the_last_good_document_counts_while_no_newer_one_can_be_had(alice: Any, documents: Documents) -> None:
    """*Our choice*: claude.ai answers some servers 403 at times; the draft forbids only to keep the error."""
    token = log_in(alice)["refresh_token"]
    expired(timedelta(days=6, hours=23))
    for published in ({}, {URL: VS_CODE | {"client_name": ""}}, {URL: VS_CODE | {"client_id": URL + "x"}}):
        documents.published = published
        assert page_of(alice).status_code == 200
        response = refresh(URL, token)
        assert response.status_code == 200
        token = response.json()["refresh_token"]


@pytest.mark.django_db
def test_the_last_good_document_does_not_count_for_ever(alice: Any, documents: Documents) -> None:
    token = log_in(alice)["refresh_token"]
    expired(timedelta(days=7, minutes=1))
    published, documents.published = documents.published, {}
    assert page_of(alice).status_code == 400
    assert refresh(URL, token).json()["error"] == "invalid_client"
    documents.published = published
    assert page_of(alice).status_code == 200, "until there is one again"
    assert refresh(URL, token).status_code == 200


@pytest.mark.django_db
def test_for_how_long_it_counts_is_a_setting(alice: Any, documents: Documents, settings: Any) -> None:
    log_in(alice)
    expired(timedelta(hours=2))
    application = Application.objects.get()
    assert client_hosts.may_be_used(application)
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_DOCUMENT_STALE_SECONDS": 3600}
    assert not client_hosts.may_be_used(application)


@pytest.mark.django_db
def test_a_client_that_an_administrator_made_is_not_fetched(alice: Any, documents: Documents) -> None:
    """*Spec*, CIMD 8.10: where a document cannot be had, its URL is registered by hand."""
    documents.published = {}
    Application.objects.create(
        client_id=URL,
        name="By hand",
        client_type="public",
        authorization_grant_type="authorization-code",
        redirect_uris=LOOPBACK,
    )
    assert "access_token" in log_in(alice)
    assert documents.fetched == []


# --- Whose documents are accepted --------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("allowed", "denied", "rules", "permitted"),
    [
        ([], [], {}, True),
        (["vscode.dev"], [], {}, True),
        ([".vscode.dev"], [], {}, True),
        (["*"], [], {}, True),
        ([" VSCode.dev "], [], {}, True),
        (["other.example"], [], {}, False),
        (["dev"], [], {}, False),
        (["code.dev"], [], {}, False),
        (["sub.vscode.dev"], [], {}, False),
        ([], ["vscode.dev"], {}, False),
        ([], [".dev"], {}, False),
        ([], ["*"], {}, False),
        ([], ["other.example", "sub.vscode.dev"], {}, True),
        (["vscode.dev"], ["vscode.dev"], {}, False),
        ([], [], {"vscode.dev": True}, True),
        ([], [], {"other.example": True}, False),
        (["other.example"], [], {"vscode.dev": True}, True),
        ([], [], {"vscode.dev": False}, False),
        ([], [], {".dev": False}, False),
        ([], [], {".dev": True, "vscode.dev": False}, False),
        (["vscode.dev"], [], {"vscode.dev": False}, False),
        ([], ["vscode.dev"], {"vscode.dev": True}, False),
    ],
    ids=str,
)
def test_a_host_is_permitted_if_nothing_denies_it_and_the_list_has_it_where_there_is_one(
    settings: Any, allowed: list[str], denied: list[str], rules: dict[str, bool], permitted: bool
) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_HOSTS_ALLOWED": allowed, "CLIENT_HOSTS_DENIED": denied}
    for host, is_allowed in rules.items():
        ClientHostRule.objects.create(host=host, allowed=is_allowed)
    assert client_hosts.ClientHostPermission().has_permission(None, URL) is permitted
    assert client_hosts.ClientHostPermission().has_permission(None, f"{URL}#") is False


@pytest.mark.django_db
def test_nothing_of_a_denied_host_is_fetched_and_the_next_request_after_the_denial_is(
    alice: Any, documents: Documents, settings: Any
) -> None:
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_FAILURE_BACKOFF_SECONDS": 60}
    rule = ClientHostRule.objects.create(host=".dev", allowed=False)
    assert page_of(alice).status_code == 400
    assert redeem(URL, "code", PKCE()).json()["error"] == "invalid_client"
    assert documents.fetched == []
    rule.delete()
    assert page_of(alice).status_code == 200
    assert documents.fetched == [URL]


@pytest.mark.django_db
@pytest.mark.parametrize("by", ["a denial in the admin", "a denial in the settings", "a list without it"])
def test_a_client_that_is_already_connected_stops_when_its_host_is_refused(
    alice: Any, documents: Documents, settings: Any, by: str
) -> None:
    pkce = PKCE()
    token = log_in(alice)["refresh_token"]
    code = authorize(alice, URL, pkce, redirect_uri=LOOPBACK)["code"]
    before = settings.AUTHAPP
    if by == "a denial in the admin":
        ClientHostRule.objects.create(host="vscode.dev", allowed=False)
    elif by == "a denial in the settings":
        settings.AUTHAPP = {**before, "CLIENT_HOSTS_DENIED": ["vscode.dev"]}
    else:
        ClientHostRule.objects.create(host="other.example", allowed=True)
    assert page_of(alice).status_code == 400
    for answer in (refresh(URL, token), redeem(URL, code, pkce, redirect_uri=LOOPBACK)):
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    ClientHostRule.objects.all().delete()
    settings.AUTHAPP = before
    assert refresh(URL, token).status_code == 200, "and goes on when it no longer is"


@pytest.mark.django_db
def test_a_client_that_registered_is_no_matter_of_hosts(alice: Any, documents: Documents, settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_HOSTS_DENIED": ["*"]}
    client_id = register(redirect_uris=[LOOPBACK]).json()["client_id"]
    assert "access_token" in log_in(alice, client_id)


@pytest.mark.parametrize(
    "entry", ["https://vscode.dev", "vscode.dev/", "vscode.dev:443", "a b", "..", "", "*.dev", "ü.de"]
)
def test_a_host_in_the_settings_that_could_never_be_met_is_refused(settings: Any, entry: str) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_HOSTS_DENIED": [entry]}
    with pytest.raises(ImproperlyConfigured, match="CLIENT_HOSTS_DENIED"):
        conf.client_hosts_denied()
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_HOSTS_DENIED": ["vscode.dev", ".dev", "*"]}
    assert conf.client_hosts_denied() == ("vscode.dev", ".dev", "*")


def test_a_host_in_the_settings_that_could_never_be_met_is_named_at_the_start(settings: Any) -> None:
    assert checks.check_client_hosts() == []
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_HOSTS_DENIED": ["https://vscode.dev"]}
    assert [message.id for message in checks.check_client_hosts()] == ["authapp.E004"]


# --- In the admin ------------------------------------------------------------------------------------------


def add_rule(admin: Any, **fields: str) -> Any:
    return browser(admin).post("/admin/authapp/clienthostrule/add/", {"note": "", **fields}, follow=True)


@pytest.mark.django_db
def test_a_denial_in_the_admin_ends_what_the_clients_of_the_host_have(
    alice: Any, bob: Any, admin_user: Any, documents: Documents
) -> None:
    """*Our choice*: at once, and for good; people connect again if the rule goes."""
    other = "https://other.example/client.json"
    documents.published[other] = VS_CODE | {"client_id": other}
    denied, kept = log_in(alice)["access_token"], log_in(bob, other)["access_token"]
    authorize(alice, URL, PKCE(), redirect_uri=LOOPBACK)
    find = async_to_sync(find_access_token)
    assert find(denied) is not None
    assert get_grant_model().objects.count() == 1
    page = add_rule(admin_user, host=" VSCode.dev. ")
    assert "Logins ended: 1." in page.content.decode()
    assert (find(denied), get_grant_model().objects.count()) == (None, 0)
    assert find(kept) is not None
    rule = ClientHostRule.objects.get()
    assert (rule.host, rule.allowed) == ("vscode.dev", False)
    event = AuditEvent.objects.get(action="token_revoked")
    assert (event.client_id, event.username, event.detail) == (URL, "alice", {"by": "admin"})


@pytest.mark.django_db
def test_an_allowance_in_the_admin_ends_nothing(alice: Any, admin_user: Any, documents: Documents) -> None:
    log_in(alice)
    page = add_rule(admin_user, host="other.example", allowed="on")
    assert "a host that is not on the list are refused now" in page.content.decode()
    assert get_access_token_model().objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "host", ["https://vscode.dev", "vscode.dev:443", "vscode.dev/x", "a b", "*.vscode.dev", "ü.de"]
)
def test_the_admin_refuses_a_host_that_could_never_be_met(admin_user: Any, host: str) -> None:
    assert "without https:// and without a port" in add_rule(admin_user, host=host).content.decode()
    assert ClientHostRule.objects.count() == 0
    for good in ("vscode.dev", ".vscode.dev", "*"):
        add_rule(admin_user, host=good, allowed="on")
    assert [rule.host for rule in ClientHostRule.objects.all()] == ["*", ".vscode.dev", "vscode.dev"]


# --- What people see ---------------------------------------------------------------------------------------

ANY_PROGRAM = "any program on this computer could be behind this request"
ANOTHER_WEBSITE = "you will be sent to another website"


@pytest.mark.django_db
@pytest.mark.rfc("MCP Localhost Redirect URI Risks")
@pytest.mark.parametrize(
    ("redirect_uri", "verified", "warning"),
    [
        ("https://vscode.dev/redirect", True, ""),
        ("https://insiders.vscode.dev/redirect", True, ""),
        ("https://vscode.dev.evil.example/redirect", False, ANOTHER_WEBSITE),
        ("http://127.0.0.1:50000/", False, ANY_PROGRAM),
        ("cursor://anysphere.cursor-mcp/oauth/callback", False, ANY_PROGRAM),
    ],
)
def test_the_page_says_whose_document_it_is_and_whether_the_answer_goes_there(
    alice: Any, documents: Documents, redirect_uri: str, verified: bool, warning: str
) -> None:
    """*Spec*: the host of the document, of the redirect URI, and a warning for loopback; *our choice*: the mark."""
    page = text_of(page_of(alice, redirect_uri=redirect_uri))
    assert "<bdi>vscode.dev</bdi>" in page
    assert ("<strong>Verified:</strong>" in page) is verified
    assert ("<strong>Unverified:</strong>" in page) is not verified
    assert [text for text in (ANY_PROGRAM, ANOTHER_WEBSITE) if text in page] == ([warning] if warning else [])


@pytest.mark.django_db
def test_a_client_without_a_document_is_never_verified(alice: Any, documents: Documents) -> None:
    client = register(redirect_uris=["https://vscode.dev/redirect"]).json()
    page = text_of(page_of(alice, client["client_id"], "https://vscode.dev/redirect"))
    assert "<strong>Verified:</strong>" not in page
    assert "<strong>Unverified:</strong>" in page


@pytest.mark.parametrize(
    ("host", "redirect_uri", "verified"),
    [
        ("app.example", "https://app.example/cb", True),
        ("app.example", "https://app.example:8443/cb", True),
        ("app.example", "https://a.b.app.example/cb", True),
        ("app.example", "https://notapp.example/cb", False),
        ("www.app.example", "https://app.example/cb", False),
        ("app.example", "http://app.example/cb", False),
        ("app.example", "https://app.example@evil.example/cb", False),
        ("app.example", "https://localhost/app.example", False),
        ("app.example", "app.example:/cb", False),
    ],
)
def test_a_client_is_verified_where_its_answer_goes_to_the_host_of_its_document(
    host: str, redirect_uri: str, verified: bool
) -> None:
    application = Application(client_id=f"https://{host}/client.json", registration_source="cimd")
    assert client_hosts.is_verified(application, redirect_uri) is verified
    application.registration_source = "dcr"
    assert not client_hosts.is_verified(application, redirect_uri)


# --- What happens without a document -----------------------------------------------------------------------


@pytest.mark.django_db
def test_a_document_that_cannot_be_had_is_an_unknown_client(alice: Any, documents: Documents, settings: Any) -> None:
    """The answers that make clients register: fastmcp looks for the 400, Claude for the 401."""
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_FAILURE_BACKOFF_SECONDS": 60}
    missing = "https://app.example/missing.json"
    assert browser().get(authorization_url(missing, PKCE())).status_code == 400
    answer = redeem(missing, "code", PKCE())
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert refresh(missing, "token").status_code == 401
    assert documents.fetched == [missing], "and it is not asked for again at once"
    assert register().status_code == 201


@pytest.mark.django_db
@pytest.mark.parametrize("enabled", [True, False])
def test_a_server_that_cannot_fetch_says_so_in_its_metadata_and_clients_register(
    alice: Any, documents: Documents, settings: Any, enabled: bool
) -> None:
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_ENABLED": enabled}
    metadata = browser().get("/.well-known/oauth-authorization-server", headers={"host": SITE}).json()
    assert metadata["client_id_metadata_document_supported"] is enabled
    assert metadata["registration_endpoint"] == f"http://{SITE}/o/register/"
    assert page_of(alice).status_code == (200 if enabled else 400)
    assert documents.fetched == ([URL] if enabled else [])
    client = register(redirect_uris=[LOOPBACK]).json()
    assert "access_token" in log_in(alice, client["client_id"])


PROBLEMS = {
    "could not be read": "The client’s document at vscode.dev could not be read.",
    "invalid": "The client’s document at vscode.dev has a mistake and cannot be used.",
    "denied": "This site does not accept clients from vscode.dev.",
    "off": "This site does not read the documents by which clients describe themselves; they register instead.",
    "no URL": "The address by which the client names itself is not one that a client’s document can have.",
}


@pytest.fixture(params=PROBLEMS)
def problem(request: pytest.FixtureRequest, documents: Documents, settings: Any, db: None) -> tuple[str, str]:
    """Make a client unknown; return its identifier and what the person is told."""
    name: str = request.param
    settings.OAUTH2_PROVIDER = {
        **settings.OAUTH2_PROVIDER,
        "CIMD_ENABLED": name != "off",
        "CIMD_FAILURE_BACKOFF_SECONDS": 60,
    }
    if name == "could not be read":
        documents.published = {}
    elif name == "invalid":
        documents.published = {URL: VS_CODE | {"client_name": ""}}
    elif name == "denied":
        ClientHostRule.objects.create(host="vscode.dev", allowed=False)
    return (URL + "#" if name == "no URL" else URL), PROBLEMS[name]


def test_why_a_client_is_unknown_is_said_in_plain_words(problem: tuple[str, str]) -> None:
    client_id, words = problem
    for _ in range(2):  # also while the document is not asked for again
        browser().get(authorization_url(client_id, PKCE()))
        assert client_hosts.problem_with(client_id) == words


def test_the_page_says_why_a_client_is_unknown_and_nothing_of_the_network(problem: tuple[str, str]) -> None:
    client_id, words = problem
    response = browser().get(authorization_url(client_id, PKCE()))
    assert response.status_code == 400
    assert words in text_of(response)
    assert "10.1.2.3" not in text_of(response)
    assert "register anew" not in text_of(response)


@pytest.mark.django_db
def test_nothing_is_said_of_documents_where_that_is_not_the_problem(alice: Any, documents: Documents) -> None:
    assert page_of(alice, redirect_uri="https://vscode.dev/other").status_code == 400
    Application.objects.update(disabled_at=timezone.now())
    assert page_of(alice).status_code == 400
    assert [client_hosts.problem_with(client_id) for client_id in (URL, "unknown", "")] == ["", "", ""]


@pytest.mark.django_db
def test_the_administrator_reads_in_the_log_what_the_network_said(
    alice: Any, documents: Documents, caplog: pytest.LogCaptureFixture
) -> None:
    documents.published = {}
    with caplog.at_level("INFO", logger="authapp"):
        page_of(alice)
    assert f"The client document '{URL}' was not used: 10.1.2.3 refused the connection." in caplog.messages
