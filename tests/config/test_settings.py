"""The environment: good values are typed, a bad one stops the start with one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

PRODUCTION = {
    "PUBLIC_URL": "https://star.example",
    "SECRET_KEY": "k3y-of-more-than-fifty-random-characters-0123456789-abcdefghij",
    "ALLOWED_HOSTS": "star.example",
    "DATABASE_URL": "sqlite:///nothing.sqlite3",
}


def python(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=kept | {"DJANGO_SETTINGS_MODULE": "config.settings", "ENV_FILE": ""} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def value(name: str, **environment: str) -> Any:
    """Return a setting as a process with this environment has it."""
    done = python(f"from django.conf import settings; print(repr(settings.{name}))", environment)
    assert done.returncode == 0, done.stderr
    return eval(done.stdout, {"__builtins__": {}})  # noqa: S307  (our own repr)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"DEBUG": "maybe"}, "DEBUG must be true or false"),
        ({"PORT": "abc"}, "PORT must be a whole number"),
        ({"PORT": "0"}, "PORT must be between 1 and 65535"),
        ({"PORT": "70000"}, "PORT must be between 1 and 65535"),
        ({"PUBLIC_URL": ""}, "PUBLIC_URL is not set"),
        ({"PUBLIC_URL": "star.example"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "https://"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "https://user@star.example"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "https://star.example/?x=1"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "https://star.example/#x"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "https://star.example:abc"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "https://Star.example"}, "lower case"),
        ({"PUBLIC_URL": "https://star.example:443"}, "leave out the port"),
        ({"PUBLIC_URL": "http://star.example"}, "PUBLIC_URL must use https"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT must be json or text"),
        ({"REQUEST_ID_HEADER": "X Request"}, "REQUEST_ID_HEADER must be the name of a header"),
        ({"METRICS_TOKEN": "short"}, "METRICS_TOKEN must be 32 or more"),
        ({"METRICS_TOKEN": "with spaces " * 5}, "METRICS_TOKEN must be 32 or more"),
        ({"OTEL": "perhaps"}, "OTEL must be true or false"),
        ({"RATE_LIMITS": "600/minute"}, "RATE_LIMITS must be a JSON object"),
        ({"CALLS_IN_FLIGHT": "many"}, "CALLS_IN_FLIGHT must be a whole number"),
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY must be at least 50"),
        ({"SECRET_KEY": "a" * 60}, "SECRET_KEY must be at least 50"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL must"),
        ({"DATABASE_URL": "postgres://u:p@h:port/n"}, "DATABASE_URL must"),
        ({"DATABASE_URL": "mysql://u:p@h/n"}, "DATABASE_URL must start with"),
        ({"ALLOW_SIGNUP": "2"}, "ALLOW_SIGNUP must be true or false"),
        ({"ANONYMOUS_TOOLS": "2"}, "ANONYMOUS_TOOLS must be true or false"),
        ({"ANONYMOUS_SEES_PROTECTED": "2"}, "ANONYMOUS_SEES_PROTECTED must be true or false"),
        ({"CLIENT_ID_METADATA_DOCUMENTS": "x"}, "CLIENT_ID_METADATA_DOCUMENTS must be true or false"),
        ({"OPENID_CONNECT": "2"}, "OPENID_CONNECT must be true or false"),
        ({"SUBJECT_TYPE": "paired"}, "SUBJECT_TYPE must be public or pairwise"),
        ({"HSTS_SECONDS": "x"}, "HSTS_SECONDS must be a whole number"),
        ({"EMAIL_URL": "mail.example"}, "EMAIL_URL must look like"),
        ({"EMAIL_URL": "carrier-pigeon://x"}, "EMAIL_URL must look like"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL must be"),
    ],
    ids=str,
)
@pytest.mark.parametrize("start", ["manage", "asgi"])
def test_a_bad_value_stops_the_start_with_one_sentence(changed: dict[str, str], sentence: str, start: str) -> None:
    code = {
        "manage": "import sys; sys.argv = ['manage.py', 'check']; import manage; manage.main()",
        "asgi": "import config.asgi",
    }[start]
    done = python(code, PRODUCTION | changed)
    assert done.returncode != 0
    assert done.stderr.startswith("Star cannot start: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_production_needs_three_variables_and_derives_the_rest() -> None:
    assert value("RESOURCES", **PRODUCTION) == ["https://star.example/star"]
    for cookie in ("SESSION", "CSRF", "LANGUAGE"):
        assert value(f"{cookie}_COOKIE_SECURE", **PRODUCTION) is True
        assert value(f"{cookie}_COOKIE_SECURE", DEBUG="true") is False
    assert value("CSRF_TRUSTED_ORIGINS", **PRODUCTION) == ["https://star.example"]
    without_hosts = {name: text for name, text in PRODUCTION.items() if name != "ALLOWED_HOSTS"}
    assert value("ALLOWED_HOSTS", **without_hosts) == ["star.example"]


def test_client_id_metadata_documents_are_advertised_on_https_unless_told_otherwise() -> None:
    assert value("OAUTH2_PROVIDER['CIMD_ENABLED']", **PRODUCTION) is True
    assert value("OAUTH2_PROVIDER['CIMD_ENABLED']", DEBUG="true") is False
    assert value("OAUTH2_PROVIDER['CIMD_ENABLED']", **PRODUCTION, CLIENT_ID_METADATA_DOCUMENTS="false") is False


def test_development_needs_nothing() -> None:
    assert value("PUBLIC_URLS", DEBUG="true") == ["http://127.0.0.1:8000", "http://localhost:8000"]
    assert value("PUBLIC_URLS", DEBUG="true", PORT="9000") == ["http://127.0.0.1:9000", "http://localhost:9000"]


def test_a_file_of_variables_is_read_and_the_environment_wins_over_it(tmp_path: Path) -> None:
    file = tmp_path / "variables"
    file.write_text("DEBUG=true\nPORT=9000\n")
    assert value("PUBLIC_URL", ENV_FILE=str(file)) == "http://127.0.0.1:9000"
    assert value("PUBLIC_URL", ENV_FILE=str(file), PORT="9001") == "http://127.0.0.1:9001"


def test_a_slash_at_the_end_of_the_public_url_does_not_matter() -> None:
    assert value("RESOURCES", **PRODUCTION | {"PUBLIC_URL": "https://star.example/"}) == ["https://star.example/star"]


def test_a_prefix_in_the_public_url_is_part_of_issuer_and_resource() -> None:
    prefixed = PRODUCTION | {"PUBLIC_URL": "https://host.example/prefix", "ALLOWED_HOSTS": "host.example"}
    assert value("RESOURCES", **prefixed) == ["https://host.example/prefix/star"]
    code = """
import asyncio
import httpx2
from config.asgi import application, resource_server
async def main():
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(application), base_url="https://host.example")
    async def get(path):
        return (await client.get(path)).json()
    metadata = await get("/.well-known/oauth-authorization-server/prefix")
    assert metadata == await get("/prefix/.well-known/openid-configuration"), metadata
    assert metadata == await get("/.well-known/openid-configuration/prefix"), metadata
    assert metadata["jwks_uri"] == "https://host.example/prefix/o/jwks/", metadata
    assert metadata["issuer"] == "https://host.example/prefix"
    assert metadata["token_endpoint"] == "https://host.example/prefix/o/token/", metadata
    resource = await get("/.well-known/oauth-protected-resource/prefix/star")
    assert resource["resource"] == "https://host.example/prefix/star", resource
    for path in ("/prefix/star", "/prefix/star/", "/star"):
        assert resource_server.serves({"type": "http", "path": path, "root_path": ""}), path
asyncio.run(main())
"""
    done = python(code, prefixed)
    assert done.returncode == 0, done.stderr


def test_check_deploy_has_nothing_to_say_about_production() -> None:
    code = (
        "import sys; sys.argv = ['manage.py', 'check', '--deploy', '--fail-level', 'WARNING']; "
        "import manage; manage.main()"
    )
    done = python(code, PRODUCTION)
    assert done.returncode == 0, done.stderr


def test_development_people_are_refused_outside_development() -> None:
    code = "import sys; sys.argv = ['manage.py', 'create_development_people']; import manage; manage.main()"
    done = python(code, PRODUCTION)
    assert done.returncode != 0
    assert "made only with DEBUG=true" in done.stderr
    assert "Traceback" not in done.stderr
