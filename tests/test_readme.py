"""The Chinese README says what the English one says: the same headings, commands, tables, links and names."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text: str) -> list[str]:
    return [line.partition(" ")[0] for line in without_code(text).splitlines() if line.startswith("#")]


def blocks(text: str) -> list[str]:
    return re.findall(r"^```.*?^```$", text, flags=re.MULTILINE | re.DOTALL)


def names(text: str) -> list[str]:
    """Return what stands in backquotes, and the standards that are named."""
    plain = without_code(text)
    return sorted(re.findall(r"`([^`\n]+)`", plain) + re.findall(r"RFC \d+", plain))


def links(text: str) -> list[str]:
    return sorted(set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README.zh-CN.md"})


def rows(text: str) -> list[int]:
    return [line.count("|") for line in without_code(text).splitlines() if line.startswith("|")]


def points(text: str) -> int:
    return sum(line.startswith("- **") for line in text.splitlines())


def dates_and_figures(text: str) -> list[str]:
    return sorted(set(re.findall(r"\d{4}-\d{2}-\d{2}", text)))


@pytest.mark.parametrize("part", [headings, blocks, names, links, rows, points, dates_and_figures])
def test_both_languages_have_the_same(part: object) -> None:
    assert callable(part)
    assert part(ENGLISH)
    assert part(CHINESE) == part(ENGLISH)


def test_each_leads_to_the_other() -> None:
    assert "(README.zh-CN.md)" in ENGLISH
    assert "(README.md)" in CHINESE
