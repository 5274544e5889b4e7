"""Settings that are the same for every site: what browsers may do, passwords, warnings that are answered elsewhere."""

from __future__ import annotations

from typing import Any

__all__ = [
    "AUTH_PASSWORD_VALIDATORS",
    "CONTENT_SECURITY_POLICY",
    "CORS_ALLOW_ALL_ORIGINS",
    "CORS_ALLOW_HEADERS",
    "CORS_ALLOW_METHODS",
    "CORS_EXPOSE_HEADERS",
    "CORS_PREFLIGHT_MAX_AGE",
    "CORS_URLS_REGEX",
    "PASSWORD_HASHERS",
    "SILENCED_SYSTEM_CHECKS",
]

# Pages run the site's own files and nothing inline, load nothing from elsewhere, and are framed by nobody.
# No `form-action`: browsers apply it to the redirects after a form too, and those lead to the clients.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

SILENCED_SYSTEM_CHECKS = [
    # Star sits behind a proxy that ends TLS and redirects; redirecting here as well loops where the proxy
    # does not forward the scheme.
    "security.W008",
    # The other names under the domain, and the browsers' preload list, are the domain owner's to decide.
    "security.W005",
    "security.W021",
    # http is accepted for loopback redirects alone (RFC 8252 §7.3); authapp.redirect_uris refuses every other.
    "oauth2_provider.W008",
]


AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    # For generated client secrets only (OAUTH2_PROVIDER["CLIENT_SECRET_HASHER"]), never chosen for passwords.
    "authapp.hashers.GeneratedSecretHasher",
]

# Token, registration and metadata endpoints use no cookie, so any web page may call them; the pages that do
# use one (authorize, sign-in, admin) answer no cross-origin request, nor does the one that gives codes to devices: a
# phisher's page would let a visitor's browser ask, and so from the visitor's own network. /star: mcpapp.asgi.
CORS_URLS_REGEX = r"^/(\.well-known/.*|token/?|o/(token|revoke_token|register|jwks|userinfo)(/.*)?)$"
CORS_ALLOW_ALL_ORIGINS = True
CORS_ALLOW_METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "mcp-protocol-version", "user-agent"]
CORS_EXPOSE_HEADERS = ["www-authenticate", "retry-after"]
CORS_PREFLIGHT_MAX_AGE = 86400


def second_factors(*, debug: bool, site_name: str) -> dict[str, Any]:
    """Return django-allauth's settings for passkeys, one-time codes and recovery codes."""
    return {
        "MFA_ADAPTER": "config.second_factors.MFAAdapter",
        "MFA_SUPPORTED_TYPES": ["totp", "webauthn", "recovery_codes"],
        "MFA_PASSKEY_LOGIN_ENABLED": True,
        "MFA_TOTP_ISSUER": site_name,
        # http://localhost, where browsers allow passkeys too (W3C Web Authentication §5.1.3).
        "MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN": debug,
    }


def cookies(*, https: bool) -> dict[str, Any]:
    """Return Django's settings for cookies: no script reads one, and on https none leaves it."""
    kinds = ("SESSION", "CSRF", "LANGUAGE")
    flags = {"SECURE": https, "HTTPONLY": True, "SAMESITE": "Lax"}
    # A language that was chosen stays chosen when the browser is closed.
    return {"LANGUAGE_COOKIE_AGE": 365 * 24 * 3600, "CSRF_FAILURE_VIEW": "config.error_pages.csrf_failure"} | {
        f"{kind}_COOKIE_{flag}": value for kind in kinds for flag, value in flags.items()
    }
