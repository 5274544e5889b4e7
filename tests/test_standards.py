"""docs/standards.md names files, tests and decision notes that exist; and the rows that nothing else here holds."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Any

import pytest
from django.test import Client

from tests.conftest import ROOT
from tests.oauth import (
    CALLBACK,
    HOST,
    PKCE,
    answer,
    authorization_url,
    authorize,
    browser,
    post_form,
    redeem,
    registered,
)

TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NOTE = re.compile(r"\[\d{4}\]\((decisions/[\w-]+\.md)\)")
FILE = re.compile(r"`((?:authapp|mcpapp|config|templates)/[\w./-]+)`")
SOURCE = re.compile(
    r"RFC \d{4}|OAuth 2\.1|MCP|OpenID Connect|Fetch standard|JSON-RPC|metadata.document|RFC 9110|our choice"
)
LEVELS = {"MUST", "SHOULD", "MAY", "our choice"}


def rows(text: str) -> list[list[str]]:
    """The cells of every table row but headings and rules."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return [row for row in cells if row[0] != "Requirement" and not set(row[0]) <= {"-", " "}]


ROWS = rows((ROOT / "docs" / "standards.md").read_text(encoding="utf-8"))


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions) and node.name.startswith("test_"))


def problems(row: list[str]) -> list[str]:
    """What is wrong with a row."""
    if len(row) != 4:
        return [f"{len(row)} cells"]
    requirement, level, where, held_by = row
    tests, notes, files = TEST.findall(held_by), NOTE.findall(held_by), FILE.findall(where)
    found = [f"no test {path}::{name}" for path, name in tests if not has_test(path, name)]
    found += [f"no note {note}" for note in notes if not (ROOT / "docs" / note).is_file()]
    found += [f"no file {path}" for path in files if not (ROOT / path).is_file()]
    if not tests and not notes:
        found.append("neither a test nor a decision note")
    if not files:
        found.append("no file")
    if level not in LEVELS:
        found.append(f"level {level!r}")
    if not SOURCE.search(requirement + level):
        found.append("no specification")
    if leftover := NOTE.sub("", TEST.sub("", held_by)).strip(" ,"):
        found.append(f"what is {leftover!r}?")
    return found


def has_test(path: str, name: str) -> bool:
    return (ROOT / path).is_file() and name in names_in(path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60].encode("ascii", "replace").decode())
def test_a_row_names_files_tests_and_notes_that_exist(row: list[str]) -> None:
    assert problems(row) == []


def test_no_row_is_there_twice_and_none_is_lost() -> None:
    requirements = [row[0] for row in ROWS]
    assert len(set(requirements)) == len(requirements)
    assert len(requirements) >= 90


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (["x (RFC 1234 §5)", "MUST", "`authapp/urls.py`", ""], "neither a test nor a decision note"),
        (["x (RFC 1234 §5)", "MUST", "`authapp/urls.py`", "`tests/test_standards.py::test_gone`"], "no test"),
        (["x (RFC 1234 §5)", "MUST", "`authapp/urls.py`", "`tests/test_gone.py::test_gone`"], "no test"),
        (["x (RFC 1234 §5)", "MUST", "`authapp/gone.py`", "[0001](decisions/0001-gone.md)"], "no note"),
        (["x (RFC 1234 §5)", "MUST", "", "[0001](decisions/0001-only-the-client-is-our-model.md)"], "no file"),
        (["x", "MUST", "`authapp/urls.py`", "[0001](decisions/0001-only-the-client-is-our-model.md)"], "no spec"),
        (["x (RFC 1234 §5)", "maybe", "`authapp/urls.py`", "tested"], "what is 'tested'?"),
        (["x (RFC 1234 §5)", "MUST"], "2 cells"),
    ],
)
def test_the_check_finds_what_is_wrong_with_a_row(row: list[str], expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems(row))


# --- Rows that no other test holds --------------------------------------------------------------------------


@pytest.mark.rfc("9700 2.1")
@pytest.mark.parametrize(
    "requested",
    [
        "https://APP.example/cb",
        "HTTPS://app.example/cb",
        "https://app.example:443/cb",
        "https://app.example./cb",
        "https://app.example/%63b",
        "https://app.example/cb\n",
        "https://app.example/cb?",
        "https://app.example/./cb",
    ],
    ids=ascii,
)
def test_the_host_of_a_redirect_uri_is_compared_byte_for_byte(alice: Any, requested: str) -> None:
    client_id = registered(redirect_uris=["https://app.example/cb"])["client_id"]
    sound = authorization_url(client_id, PKCE(), redirect_uri="https://app.example/cb")
    assert answer(browser(alice).post(sound, {"allow": "true"}))["code"]
    response = browser(alice).post(authorization_url(client_id, PKCE(), redirect_uri=requested), {"allow": "true"})
    assert response.status_code == 400
    assert "Location" not in response


@pytest.mark.rfc("7636 4.1")
@pytest.mark.parametrize("verifier", ["a", "a" * 42, "a" * 129, "a" * 42 + "!", "a" * 42 + " "], ids=ascii)
def test_a_verifier_has_43_to_128_unreserved_characters(alice: Any, verifier: str) -> None:
    client_id = registered()["client_id"]
    for sound in (PKCE("a" * 43), PKCE("~" * 128)):
        assert redeem(client_id, authorize(alice, client_id, sound)["code"], sound).status_code == 200
    pkce = PKCE(verifier)
    code = authorize(alice, client_id, pkce, redirect_uri=CALLBACK)["code"]
    assert redeem(client_id, code, pkce).json()["error"] in {"invalid_request", "invalid_grant"}


@pytest.mark.rfc("8693 2.1")
@pytest.mark.rfc("9126 5")
@pytest.mark.rfc("9449 5.1")
def test_what_was_decided_against_is_not_there(alice: Any) -> None:
    """Docs/decisions/0020 to 0023: neither served, nor named by the metadata, which would promise it."""
    metadata = Client().get("/.well-known/oauth-authorization-server", headers={"host": HOST}).json()
    exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
    assert "authorization_code" in metadata["grant_types_supported"]
    assert exchange not in metadata["grant_types_supported"]
    assert not {"pushed_authorization_request_endpoint", "dpop_signing_alg_values_supported"} & set(metadata)
    client_id, pkce = registered()["client_id"], PKCE()
    tokens = redeem(client_id, authorize(alice, client_id, pkce)["code"], pkce).json()
    assert tokens["token_type"] == "Bearer"
    access_token = "urn:ietf:params:oauth:token-type:access_token"
    form = {"grant_type": exchange, "subject_token": tokens["access_token"], "subject_token_type": access_token}
    assert post_form("/o/token/", form | {"client_id": client_id}).json()["error"] == "unsupported_grant_type"
