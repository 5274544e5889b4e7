"""Django settings of the site, and the only place that reads the environment.

Each variable is described in docs/settings.md; a bad value stops the start with one sentence.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from config import environment, logs, seams
from config.entra import settings as entra
from config.environment import read
from config.security import *  # noqa: F403  (constants of Django's and of packages)
from config.security import cookies, second_factors

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
# A file of variables for this folder, which `make run` makes for development. The real environment wins over it.
environ.Env.read_env(env.str("ENV_FILE", default=str(BASE_DIR / ".env")))

SITE_NAME = env.str("SITE_NAME", default="Star")

# --- Where the site is -------------------------------------------------------------------------------------

DEBUG = environment.boolean(env.str("DEBUG", default="false"), "DEBUG")
PORT = environment.port(read(env.int, "PORT", "a whole number", default=8000))
SECRET_KEY = environment.secret_key(env.str("SECRET_KEY", default=""), debug=DEBUG)
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])

_public_url = env.str("PUBLIC_URL", default="")
# runserver then makes PORT the port it is told to listen on.
PUBLIC_URL_FOLLOWS_PORT = DEBUG and not _public_url
if PUBLIC_URL_FOLLOWS_PORT:
    _public_url = f"http://127.0.0.1:{PORT}"
if not _public_url:
    raise ImproperlyConfigured(
        "PUBLIC_URL is not set. Set it to the address people use, like https://star.example, "
        "or set DEBUG=true to try Star on this machine."
    )
PUBLIC_URL = environment.public_url(_public_url, debug=DEBUG)
_public = urlsplit(PUBLIC_URL)
IS_HTTPS = _public.scheme == "https"

# In development people type `localhost` as often as 127.0.0.1: each is an issuer of its own, from this list alone.
PUBLIC_URLS = [PUBLIC_URL]
if DEBUG and _public.hostname == "127.0.0.1":
    PUBLIC_URLS.append(PUBLIC_URL.replace("//127.0.0.1", "//localhost", 1))

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[_public.hostname])
if DEBUG:
    ALLOWED_HOSTS += ["127.0.0.1", "localhost", "[::1]"]

# A proxy that keeps the prefix in the path (https://host.example/prefix/star arrives as /prefix/star).
FORCE_SCRIPT_NAME = _public.path or None

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

# How `manage.py serve` runs it; uvicorn alone reads the same variables.
WORKERS = read(env.int, "WEB_CONCURRENCY", "a whole number", default=1)
FORWARDED_ALLOW_IPS = env.list("FORWARDED_ALLOW_IPS", default=["127.0.0.1"])

# --- Applications ------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "authapp",
    "mcpapp",  # before staticfiles: its runserver serves /star too
    "oauth2_provider",
    "corsheaders",
    "csp",
    "heroicons",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "config",
    "config.entra",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "config.middleware.told_of_in_logs",
    "config.middleware.one_public_address",
    "config.middleware.plain_input",
    "config.unavailable.DatabaseAway",
    "config.odd_lookups.OddLookups",
    "django.middleware.security.SecurityMiddleware",
    "config.middleware.allow_sign_in_in_a_popup",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.site",
            ],
        },
    },
]

# --- Data --------------------------------------------------------------------------------------------------

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

_database: dict[str, Any] = environment.database(
    env.str("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}"), parse=environ.Env.db_url_config
)
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["OPTIONS"] = {
        # Readers never wait for the writer, and a writer that must wait does so at BEGIN, never half-way.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        **_database.get("OPTIONS", {}),
    }
    # Opening the file costs more than most requests; each thread keeps its connection (config.handler).
    _database["CONN_MAX_AGE"] = None
else:
    # Calls under /star take a connection from this pool and give it back: they live outside Django's
    # request cycle (see mcpapp.database).
    _database["CONN_HEALTH_CHECKS"] = True  # after a restart of the database, no request gets one of the dead ones
    _pool_size = read(env.int, "DATABASE_POOL_SIZE", "a whole number", default=20)
    _database["OPTIONS"] = {
        "pool": {"min_size": 1, "max_size": _pool_size, "timeout": 10},
        **_database.get("OPTIONS", {}),
    }
DATABASES = {"default": _database}

REDIS_URL = env.str("REDIS_URL", default="")
CACHES = {"default": environment.cache(REDIS_URL)}

# --- People ------------------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
SESSION_ENGINE = "config.sessions"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ALLOW_SIGNUP = environment.boolean(env.str("ALLOW_SIGNUP", default="false"), "ALLOW_SIGNUP")
ACCOUNT_ADAPTER = "config.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
# A whole office signs in from one address; guessing is what allauth's own limit on failures is for.
ACCOUNT_RATE_LIMITS = {"login": "300/m/ip"}
ACCOUNT_FORMS = {"login": "config.accounts.LoginForm", "reset_password": "config.accounts.ResetPasswordForm"}

SOCIALACCOUNT_ADAPTER = "config.entra.adapter.SocialAccountAdapter"
ENTRA = entra.read(
    tenant_id=env.str("ENTRA_TENANT_ID", default=""),
    client_id=env.str("ENTRA_CLIENT_ID", default=""),
    client_secret=env.str("ENTRA_CLIENT_SECRET", default=""),
    authority=env.str("ENTRA_AUTHORITY", default=entra.PUBLIC_CLOUD),
    sign_in=env.str("ENTRA_SIGN_IN", default=""),
    sign_up=ALLOW_SIGNUP,
    only=environment.boolean(env.str("ENTRA_ONLY", default="false"), "ENTRA_ONLY"),
    create_users=environment.boolean(env.str("ENTRA_CREATE_USERS", default="false"), "ENTRA_CREATE_USERS"),
    groups=read(env.json, "ENTRA_GROUPS", "a JSON object", default={}),
    check_seconds=read(env.int, "ENTRA_ACCOUNT_CHECK_SECONDS", "a number of seconds", default=3600),
    grace_seconds=read(env.int, "ENTRA_ACCOUNT_CHECK_GRACE_SECONDS", "a number of seconds", default=86400),
)

if not ENTRA.only:  # factors of one's own would outlive the account in the tenant
    INSTALLED_APPS += ["django.contrib.humanize", "allauth.mfa"]
    vars().update(second_factors(debug=DEBUG, site_name=SITE_NAME))

# Without a mail server nothing is sent, and nothing is offered that would need it: a link to set a password must not
# end in a log.
_email_url = env.str("EMAIL_URL", default="")
MAIL_IS_CONFIGURED = bool(_email_url)
vars().update(environment.mail(_email_url or "dummymail://", parse=environ.Env.email_url_config))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"noreply@{_public.hostname}")

# --- Language and time -------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# --- Static files ------------------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG

# --- OAuth: the authorization server -----------------------------------------------------------------------

MCP_PATH = "/" + env.str("MCP_PATH", default="/star").strip("/")
RESOURCES = [url + MCP_PATH for url in PUBLIC_URLS]
OPENID_CONNECT = environment.boolean(env.str("OPENID_CONNECT", default="true"), "OPENID_CONNECT")

SCOPES = {
    "mcp:tools": _("Use the tools of this site as you"),
    "mcp:write": _("Change your data with the tools of this site"),
    "offline_access": _("Stay connected until you disconnect it"),
}

if OPENID_CONNECT:
    SCOPES |= {
        "openid": _("Know that it is you: sign in there with your account here"),
        "profile": _("See your name and user name"),
        "email": _("See your email address"),
    }

IMPLIED_SCOPES = {"mcp:write": ["mcp:tools"]}

OAUTH2_PROVIDER_APPLICATION_MODEL = "authapp.Application"
OAUTH2_PROVIDER = {
    "SCOPES": SCOPES,
    "DEFAULT_SCOPES": ["mcp:tools"],
    "OAUTH2_VALIDATOR_CLASS": "authapp.validator.Validator",
    "OAUTH2_SERVER_CLASS": "authapp.server.Server",
    "OAUTH2_BACKEND_CLASS": "authapp.oauthlib_core.OAuthLibCore",
    "OIDC_ISS_ENDPOINT": PUBLIC_URL,
    "CLIENT_SECRET_HASHER": "generated_secret",
    "ACCESS_TOKEN_GENERATOR": "authapp.tokens.generate_access_token",
    "AUTHORIZATION_CODE_EXPIRE_SECONDS": 600,
    "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
    "REFRESH_TOKEN_EXPIRE_SECONDS": 30 * 24 * 3600,
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "PKCE_REQUIRED": True,
    "REQUEST_APPROVAL_PROMPT": "force",
    "ALLOWED_REDIRECT_URI_SCHEMES": ["https", "http"],
    "ALLOW_LOCALHOST_LOOPBACK": True,
    "OAUTH2_RESPONSE_TYPES_SUPPORTED": ["code"],
    # In this order: some clients take the first they know.
    "OAUTH2_TOKEN_ENDPOINT_AUTH_METHODS_SUPPORTED": [
        "none",
        "client_secret_post",
        "client_secret_basic",
        "private_key_jwt",
    ],
    "DCR_ENABLED": True,
    "DCR_REGISTRATION_PERMISSION_CLASSES": ["oauth2_provider.dcr.AllowAllDCRPermission"],
    "CIMD_ENABLED": environment.boolean(
        env.str("CLIENT_ID_METADATA_DOCUMENTS", default=str(IS_HTTPS)), "CLIENT_ID_METADATA_DOCUMENTS"
    ),
    # Anybody can make us fetch from a host that answers slowly; fewer at once than there are database connections.
    "CIMD_MAX_CONCURRENT_FETCHES": 4,
    "CIMD_METADATA_FETCHER": "authapp.client_id_metadata.MetadataFetcher",
    "CIMD_REGISTRATION_PERMISSION_CLASSES": [
        "authapp.client_hosts.FetchingAllowed",
        "authapp.client_hosts.ClientHostPermission",
        "authapp.throttling.DocumentFetchLimit",
    ],
    "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
    "COMPLIANT_BCP_RFC9700_REFRESH_TOKEN": True,
    "COMPLIANT_BCP_RFC9700_REDIRECT_URI_MATCHING": True,
    "COMPLIANT_BCP_RFC9700_PKCE_REQUIRED": True,
}

# One switch for both apps: a service whose tokens would be refused is told so when it asks for one.
APP_ONLY_TOKENS = environment.boolean(env.str("APP_ONLY_TOKENS", default="false"), "APP_ONLY_TOKENS")

AUTHAPP = {
    "ISSUERS": PUBLIC_URLS,
    "RESOURCES": RESOURCES,
    "IMPLIED_SCOPES": IMPLIED_SCOPES,
    "OPENID": OPENID_CONNECT,
    "SUBJECT_TYPE": environment.choice(
        env.str("SUBJECT_TYPE", default="public"), "SUBJECT_TYPE", ("public", "pairwise")
    ),
    "AUTHENTICATED_AT": "config.accounts.authenticated_at",
    "REAUTHENTICATE_URL": "account_reauthenticate",
    **seams.AUTHAPP,
    "NOTIFY_NEW_CONNECTIONS": MAIL_IS_CONFIGURED
    and environment.boolean(env.str("NOTIFY_NEW_CONNECTIONS", default="true"), "NOTIFY_NEW_CONNECTIONS"),
    "SIGN_UP_URL": "account_signup" if ALLOW_SIGNUP else "",
    "ACCOUNT_CHECK": "config.entra.accounts.still_counts" if ENTRA.sign_in else "",
    "ACCOUNT_CHECK_SECONDS": ENTRA.check_seconds,
    "ACCOUNT_CHECK_GRACE_SECONDS": ENTRA.grace_seconds,
    "DEVICE_FLOW": environment.boolean(env.str("DEVICE_FLOW", default="true"), "DEVICE_FLOW"),
    "PRIVATE_USE_REDIRECT_URIS": env.list(
        "PRIVATE_USE_REDIRECT_URIS", default=["cursor://anysphere.cursor-mcp/oauth/callback"]
    ),
    "CLIENT_HOSTS_ALLOWED": env.list("CLIENT_HOSTS_ALLOWED", default=[]),
    "CLIENT_HOSTS_DENIED": env.list("CLIENT_HOSTS_DENIED", default=[]),
    "CLIENT_CREDENTIALS": APP_ONLY_TOKENS,
    "PRIVATE_KEY_HOSTS": env.list("PRIVATE_KEY_HOSTS", default=[]),
    "TRUSTED_ISSUERS": read(env.json, "TRUSTED_ISSUERS", "a JSON list", default=[]),
}

# --- MCP: the protected resource ---------------------------------------------------------------------------

TOKEN_ISSUERS = read(env.json, "TOKEN_ISSUERS", "a JSON list", default=[])
if environment.boolean(env.str("ENTRA_TOKENS", default="false"), "ENTRA_TOKENS"):
    TOKEN_ISSUERS = [
        entra.token_issuer(
            ENTRA,
            # The address that people paste is the best App ID URI: clients name it as the resource.
            audiences=env.list("ENTRA_AUDIENCES", default=[]) or [],
            accept_roles=environment.boolean(env.str("ENTRA_ACCEPT_ROLES", default="false"), "ENTRA_ACCEPT_ROLES"),
        ),
        *TOKEN_ISSUERS,
    ]

AUTHAPP["LINKED_ISSUERS"] = entra.linked_issuers(ENTRA, TOKEN_ISSUERS)

MCPAPP = {
    "SERVER_TITLE": SITE_NAME,
    "RESOURCES": RESOURCES,
    "AUTHORIZATION_SERVERS": PUBLIC_URLS,
    "TOKEN_LOOKUP": [
        "authapp.tokens.find_access_token",
        *(["mcpapp.issuers.lookup.find_issued_token"] if TOKEN_ISSUERS else []),
    ],
    "TOKEN_ISSUERS": TOKEN_ISSUERS,
    "TOKEN_ISSUERS_FIRST": environment.boolean(env.str("TOKEN_ISSUERS_FIRST", default="false"), "TOKEN_ISSUERS_FIRST"),
    **seams.MCPAPP,
    "SCOPES_SUPPORTED": ["mcp:tools", "mcp:write"],
    "DEFAULT_SCOPES": ["mcp:tools"],
    "IMPLIED_SCOPES": IMPLIED_SCOPES,
    "TOOL_MODULES": ["mcpapp.tools"],
    "ANONYMOUS_TOOLS": environment.boolean(env.str("ANONYMOUS_TOOLS", default="false"), "ANONYMOUS_TOOLS"),
    "ANONYMOUS_SEES_PROTECTED": environment.boolean(
        env.str("ANONYMOUS_SEES_PROTECTED", default="false"), "ANONYMOUS_SEES_PROTECTED"
    ),
    "ALLOWED_ORIGINS": env.list("ALLOWED_ORIGINS", default=[]),
    "APP_ONLY_TOKENS": APP_ONLY_TOKENS,
    "RATE_LIMITS": read(env.json, "RATE_LIMITS", "a JSON object", default={}),
    "RATE_LIMIT_STORAGE": REDIS_URL,
    "CALLS_IN_FLIGHT": read(env.int, "CALLS_IN_FLIGHT", "a whole number", default=1000),
    "CALL_LOG": environment.boolean(env.str("CALL_LOG", default="true"), "CALL_LOG"),
    "CALL_LOG_ARGUMENTS": environment.choice(
        env.str("CALL_LOG_ARGUMENTS", default="names"), "CALL_LOG_ARGUMENTS", ("off", "names", "full")
    ),
    "CALL_LOG_DAYS": read(env.int, "CALL_LOG_DAYS", "a whole number of days", default=90),
}

# --- Web security ------------------------------------------------------------------------------------------

# Behind a proxy that ends TLS Django sees http; the origin of a form post is still this site's.
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
vars().update(cookies(https=IS_HTTPS))
X_FRAME_OPTIONS = "DENY"
SECURE_PROXY_SSL_HEADER = ("STAR_PUBLIC_SCHEME", "https")  # set by config.middleware, never by a client
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = read(env.int, "HSTS_SECONDS", "a whole number of seconds", default=31_536_000 if IS_HTTPS else 0)

# --- Logging and traces -------------------------------------------------------------------------------------

LOG_FORMAT = environment.choice(env.str("LOG_FORMAT", default="text" if DEBUG else "json"), "LOG_FORMAT", logs.FORMATS)
LOGGING = logs.settings(env.str("LOG_LEVEL", default="INFO").upper(), LOG_FORMAT)
OTEL = environment.boolean(env.str("OTEL", default="false"), "OTEL")
if OTEL:
    MIDDLEWARE.insert(0, "config.tracing.named_by_route")
METRICS_TOKEN = environment.bearer_secret(env.str("METRICS_TOKEN", default=""), "METRICS_TOKEN")
METRICS_FOLDER = env.str("METRICS_FOLDER", default="")
# Only where a proxy sets it anew for each request: what a stranger sends in it would be taken for the request's name.
REQUEST_ID_HEADER = environment.header_name(env.str("REQUEST_ID_HEADER", default=""), "REQUEST_ID_HEADER")
