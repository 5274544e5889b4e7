"""The examples in docs/enterprise.md are what the code takes, and its table of errors has them all."""

from __future__ import annotations

import ast
import inspect
import re
from types import SimpleNamespace
from typing import Any

import pytest
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider

from authapp import checks
from tests.conftest import ROOT

GUIDE = (ROOT / "docs" / "enterprise.md").read_text(encoding="utf-8")


def example(word: str) -> str:
    """Return the one example with a word in it."""
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```$", GUIDE, re.DOTALL | re.MULTILINE)
    [found] = [inspect.cleandoc(text) for _, text in blocks if word in text]
    return found


def test_the_example_of_settings_passes_the_checks(settings: Any) -> None:
    said: dict[str, Any] = {}
    exec(example("TRUSTED_ISSUERS"), said)  # noqa: S102  (the guide is what is tested)
    settings.AUTHAPP = {**settings.AUTHAPP, **said["AUTHAPP"], "SIGN_UP_URL": ""}
    assert len(said["AUTHAPP"]["TRUSTED_ISSUERS"]) == 1
    assert checks.check_trusted_issuers() == []


@pytest.mark.django_db
def test_the_example_of_a_rule_finds_a_user(alice: Any) -> None:
    said: dict[str, Any] = {}
    exec(example("def by_employee_number"), said)  # noqa: S102  (the guide is what is tested)
    rule = said["by_employee_number"]
    assert rule(SimpleNamespace(), {"employee_number": "alice"}, None) == alice
    assert rule(SimpleNamespace(), {"employee_number": ["alice"]}, None) is None


def test_the_example_of_a_client_calls_the_sdk_as_it_is() -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(example("IdentityAssertionOAuthProvider")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "IdentityAssertionOAuthProvider"
    ]
    [call] = calls
    inspect.signature(IdentityAssertionOAuthProvider).bind(**{str(one.arg): one for one in call.keywords})


def test_the_table_has_every_error_that_a_test_sees() -> None:
    told = set(re.findall(r"^\| `(\w+)`", GUIDE, re.MULTILINE))
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "authapp").glob("test_identit*.py"))
    seen = set(re.findall(r'"((?:invalid|unauthorized|unsupported)_(?!token)\w+)"', tests))
    assert seen == told
