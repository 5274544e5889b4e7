"""The settings of the site as development has them, whatever the environment of the person who runs the tests says."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

os.environ.update(
    ENV_FILE="", DEBUG="true", PORT="8000", PUBLIC_URL="", SECRET_KEY="", ALLOWED_HOSTS="127.0.0.1", MCP_PATH="/star"
)
for name in (
    "CLIENT_HOSTS_ALLOWED",
    "CLIENT_HOSTS_DENIED",
    "PRIVATE_KEY_HOSTS",
    "TRUSTED_ISSUERS",
    "ALLOWED_ORIGINS",
    "EMAIL_URL",
    "SITE_NAME",
    "ALLOW_SIGNUP",
    "ANONYMOUS_TOOLS",
    "APP_ONLY_TOKENS",
    "ANONYMOUS_SEES_PROTECTED",
    "CLIENT_ID_METADATA_DOCUMENTS",
    "REDIS_URL",
    "WEB_CONCURRENCY",
    "FORWARDED_ALLOW_IPS",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "REQUEST_ID_HEADER",
    "OTEL",
    "METRICS_TOKEN",
    "METRICS_FOLDER",
    "RATE_LIMITS",
    "CALLS_IN_FLIGHT",
    "OPENID_CONNECT",
    "SECRET_KEY_FALLBACKS",
    "SUBJECT_TYPE",
    "NOTIFY_NEW_CONNECTIONS",
    "CALL_LOG_ARGUMENTS",
    "CALL_LOG_DAYS",
    "ENTRA_TENANT_ID",
    "ENTRA_CLIENT_ID",
    "ENTRA_CLIENT_SECRET",
    "ENTRA_AUTHORITY",
    "ENTRA_SIGN_IN",
    "ENTRA_ONLY",
    "ENTRA_TOKENS",
    "ENTRA_AUDIENCES",
    "ENTRA_ACCEPT_ROLES",
    "TOKEN_ISSUERS",
    "TOKEN_ISSUERS_FIRST",
    "ENTRA_CREATE_USERS",
    "ENTRA_GROUPS",
    "ENTRA_ACCOUNT_CHECK_SECONDS",
    "ENTRA_ACCOUNT_CHECK_GRACE_SECONDS",
):
    os.environ.pop(name, None)

from config.settings import *  # noqa: E402, F403
from config.settings import PASSWORD_HASHERS as SITE_PASSWORD_HASHERS  # noqa: E402

# Signing people in is not what most tests are about, and the site's hasher takes a third of a second.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *SITE_PASSWORD_HASHERS]
INSTALLED_APPS = [*INSTALLED_APPS, "tests.emptying"]  # noqa: F405
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

# Whoever looks at it switches it on; a server in most tests has no migrated database, or shares the test's.
MCPAPP |= {"CALL_LOG": False, "REFUSAL_DAYS": 0}  # noqa: F405

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":  # noqa: F405
    # A file, because threads and connections share it; one for each run, so that two runs do not.
    folder = Path(tempfile.mkdtemp(prefix="star-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    DATABASES["default"]["TEST"] = {"NAME": folder / "test.sqlite3"}  # noqa: F405
