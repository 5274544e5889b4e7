"""The documentation names settings, commands, files and links that exist, and none is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands

from authapp import conf
from tests.conftest import ROOT

DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = re.compile(r"`([^`\n]+)`")


def source(*folders: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_every_environment_variable_is_documented_and_every_documented_one_is_read() -> None:
    settings = (ROOT / "config" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', settings)) | set(
        re.findall(r'read\(\s*env\.\w+,\s*"([A-Z_]+)"', settings)
    )
    table = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").partition("## For sites")[0]
    documented = set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE))
    assert "PUBLIC_URL" in read
    assert documented == read
    named = re.findall(r"^\| `(\w+(?:\[[^\]]+\])?)`", (ROOT / "docs" / "settings.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(set(named)), "each is said once"


@pytest.mark.parametrize(("name", "package"), [("AUTHAPP", "authapp"), ("MCPAPP", "mcpapp")])
def test_every_setting_of_an_app_is_documented_and_every_documented_one_exists(name: str, package: str) -> None:
    files = [ROOT / package / "conf.py", ROOT / package / "seams.py"]
    conf = "".join(path.read_text(encoding="utf-8") for path in files if path.exists())
    exists = set(re.findall(r'_setting\("([A-Z_]+)"', conf))
    table = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert "RESOURCES" in exists
    assert set(re.findall(rf'`{name}\["([A-Z_]+)"\]`', table)) == exists


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_file_a_document_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    own = re.compile(r"(?:authapp|mcpapp|config|deploy|templates|tests|docs)/[\w./-]+\.\w+")
    named = {name for name in CODE.findall(text) if own.fullmatch(name)}
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in links if link and not (path.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_command_a_document_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)`?", text):
        if re.search(rf"`make {target}|^make {target}", text, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in re.findall(r"manage\.py (\w+)", text):
        assert command in get_commands(), command


def test_the_readme_has_the_two_commands_and_the_versions_that_are_tested() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    packages = (ROOT / "tests" / "clients" / "package.json").read_text(encoding="utf-8")
    requirements = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    assert "\nmake run\n" in readme
    assert "\nmake test\n" in readme
    for package, row in (
        ("@modelcontextprotocol/sdk", "MCP TypeScript SDK 1"),
        ("@modelcontextprotocol/client", "MCP TypeScript SDK 2"),
        ("mcp-remote", "mcp-remote"),
        ("@modelcontextprotocol/inspector", "MCP Inspector (CLI)"),
    ):
        pinned = re.search(rf'"{re.escape(package)}": "([\d.]+)"', packages)
        assert pinned, package
        assert f"| {row} | {pinned[1]} |" in readme
    openid_client = re.search(r'"openid-client": "(\d+\.\d+)\.', packages)
    assert openid_client
    assert f"openid-client {openid_client[1]} " in readme
    for package, row in (("mcp", "MCP Python SDK"), ("fastmcp", "fastmcp")):
        pinned = re.search(rf"^{package}==([\d.]+)", requirements, re.MULTILINE)
        assert pinned, package
        said = re.search(rf"\| {row} \| ([\d.]+) \|", readme)
        assert said, row
        assert pinned[1].startswith(said[1])


def test_the_readme_names_each_way_in_with_its_guide_and_whether_it_is_on(settings: Any) -> None:
    """The ways in are the grants and profiles that metadata has, and are on or off as a new site has them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    claims = re.findall(r"^- \*\*(.*?)(?=^- \*\*|^\S)", readme, re.MULTILINE | re.DOTALL)
    settings.AUTHAPP = {name: settings.AUTHAPP[name] for name in ("ISSUERS", "RESOURCES")}
    for guide, is_on in (
        ("devices", conf.device_flow()),
        ("services", conf.client_credentials()),
        ("enterprise", bool(conf.trusted_issuers())),
        ("openid-connect", conf.openid()),
    ):
        [claim] = [claim for claim in claims if f"](docs/{guide}.md)" in claim]
        assert ("Off until the owner" in claim) is not is_on, guide
    table = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", table, re.MULTILINE))
    assert [defaults[name] for name in ("DEVICE_FLOW", "APP_ONLY_TOKENS", "TRUSTED_ISSUERS", "OPENID_CONNECT")] == [
        "true",
        "false",
        "none",
        "true",
    ]


def test_the_example_in_the_readme_and_the_guide_declare_tools_as_the_code_does() -> None:
    import ast
    import inspect

    from mcpapp import registry

    known = {
        name: set(inspect.signature(getattr(registry, name)).parameters) for name in ("tool", "resource", "prompt")
    }
    for name in ("README.md", "docs/adding-a-tool.md"):
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
        assert blocks
        for block in blocks:
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.Call) and (decorator := getattr(node.func, "id", "")) in known:
                    assert {keyword.arg for keyword in node.keywords} <= known[decorator]


def test_the_guide_tells_of_changes_as_the_code_does() -> None:
    import ast
    import inspect

    from mcpapp import events

    guide = (ROOT / "docs" / "adding-a-tool.md").read_text(encoding="utf-8")
    found = set()
    for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = node.func
                if isinstance(called.value, ast.Name) and called.value.id == "events":
                    signature = inspect.signature(getattr(events, called.attr))
                    signature.bind(*node.args, **{str(keyword.arg): keyword for keyword in node.keywords})
                    found.add(called.attr)
    named = set(re.findall(r"`a?(\w+_(?:updated|changed))\((?:uri)?\)`", guide))
    assert found <= named
    assert {name for name in named if not hasattr(events, name) or not hasattr(events, f"a{name}")} == set()
    assert "resource_updated" in found


def test_decision_notes_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
