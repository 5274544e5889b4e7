"""A server that means harm gets a sentence, no traceback, and nothing that it can use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.star.hostile_server import kinds
from tests.star.program import Star
from tests.star.shell import running

pytestmark = pytest.mark.live

SIGN_IN, UNREACHABLE = 3, 4
EXPECTED = {
    "fine": (0, "Signed in to"),
    "endless-life": (SIGN_IN, "expires_in"),
    "huge-metadata": (UNREACHABLE, "the answer is too large"),
    "bomb": (UNREACHABLE, "the answer is compressed"),
    "deep-metadata": (SIGN_IN, "star: "),
    "other-issuer": (SIGN_IN, "issuer"),
    "unencrypted": (SIGN_IN, "not encrypted"),
    "huge-token": (UNREACHABLE, "the answer is too large"),
    "deep-token": (SIGN_IN, "star: "),
    "line-break": (SIGN_IN, "gave no token"),
    "no-ascii": (SIGN_IN, "gave no token"),
    "no-text": (SIGN_IN, "star: "),
    "empty": (SIGN_IN, "gave no token"),
    "escapes": (SIGN_IN, "star: "),
    "elsewhere": (SIGN_IN, "star: "),
}


def test_every_kind_is_tried() -> None:
    assert set(EXPECTED) == set(kinds("http://127.0.0.1"))


@pytest.mark.parametrize("kind", EXPECTED)
def test_what_a_hostile_authorization_server_answers_ends_in_a_sentence(star: Star, kind: str, tmp_path: Path) -> None:
    code, told = EXPECTED[kind]
    log = tmp_path / "log"
    with running("tests.star.hostile_server", kind, log=log) as port:
        done = star("login", f"http://127.0.0.1:{port}/mcp", code=code)
    assert told in done.stderr
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr
    assert done.stdout == ""
    asked = log.read_text()
    assert "/stolen" not in asked
    assert ("POST /token" in asked) == (
        kind not in {"huge-metadata", "bomb", "deep-metadata", "other-issuer", "unencrypted"}
    )
