"""Every text that a person reads has a Chinese translation, and the compiled catalogues are up to date."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation import gettext, override
from django.utils.translation.template import templatize

from tests.conftest import ROOT

FUNCTIONS = {"_", "gettext", "gettext_lazy"}
# Names of things, which are the same in every language.
SAME_IN_CHINESE = {"MCP"}


def texts_of_code(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in FUNCTIONS and node.args:
            text = node.args[0]
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield text.value


def texts_of_template(path: Path) -> Iterator[str]:
    for literal in re.findall(r"""gettext\(u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\)""", templatize(path.read_text())):
        yield ast.literal_eval(literal)
    for literal in re.findall(r"""_\(u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\)""", templatize(path.read_text())):
        yield ast.literal_eval(literal)


PLACES = [
    *(path for folder in ("authapp", "mcpapp", "config") for path in (ROOT / folder).rglob("*.py")),
    *(ROOT / "templates").rglob("*.html"),
]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_is_translated_to_chinese(path: Path) -> None:
    texts = set(texts_of_code(path) if path.suffix == ".py" else texts_of_template(path)) - SAME_IN_CHINESE
    with override("zh-hans"):
        assert [text for text in texts if gettext(text) == text] == []


def test_the_reader_of_texts_finds_them() -> None:
    found = {text for path in PLACES if path.suffix == ".html" for text in texts_of_template(path)}
    assert "Connected apps" in found
    assert any("never sees your password" in text for text in found)
    assert "clients" in set(texts_of_code(ROOT / "authapp" / "models" / "client.py"))


@pytest.mark.parametrize("app", ["authapp", "mcpapp"])
def test_the_compiled_catalogue_is_as_new_as_its_source(app: str) -> None:
    folder = ROOT / app / "locale" / "zh_Hans" / "LC_MESSAGES"
    compiled = (folder / "django.mo").read_bytes()
    source = (folder / "django.po").read_text(encoding="utf-8")
    for line in re.findall(r'^msgstr "(.+)"$', source, re.MULTILINE):
        assert ast.literal_eval(f'"{line}"').encode() in compiled, line
