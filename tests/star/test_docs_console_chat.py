"""The session in docs/console-chat.md is what happens."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.star.openai_server import calls, openai_server, says
from tests.star.program import Star

pytestmark = [pytest.mark.live, pytest.mark.clients]


def test_the_session_of_the_document_is_what_happens(star: Star, url: str) -> None:
    text = (ROOT / "docs" / "console-chat.md").read_text(encoding="utf-8")
    [session] = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    command, *lines = session.splitlines()
    program, *arguments = shlex.split(command.removeprefix("$ "))
    assert program == "star"
    star("login", url)
    with openai_server() as api:
        api.turns = [calls(("protected-data", {})), says("You are **demo**, ", "of the groups Book club and Garden.")]
        places = {"http://127.0.0.1:8000/star": url, "http://127.0.0.1:11434/v1": api.url}
        done = star(*(places.get(argument, argument) for argument in arguments))
    *told, answer = lines
    assert done.stdout == f"{answer}\n"
    shown = re.sub(r"\(\d+\.\d s\)", "(0.1 s)", done.stderr).splitlines()
    for line, expected in zip(shown, told, strict=True):
        assert line.startswith(expected.removesuffix("…"))
