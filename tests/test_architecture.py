"""The rules of the house, read from the source: who may import whom, and who reads the environment."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAXIMUM_LINES = 400
FORBIDDEN = {
    "authapp": {"mcp", "mcp_types", "mcpapp", "config"},
    "mcpapp": {"oauth2_provider", "oauthlib", "authapp", "config"},
}


def modules(package: str) -> list[Path]:
    return [path for path in sorted((ROOT / package).rglob("*.py")) if "migrations" not in path.parts]


def is_for_others(path: Path) -> bool:
    """Return whether only `mcpapp` imports a module, where it is installed: the `mcp_tools` of an app."""
    return path.name == "mcp_tools.py"


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_the_two_apps_do_not_import_each_other(package: str) -> None:
    seen = {name for path in modules(package) for name in imports(path)}
    assert "django" in seen, "the reader of imports works"
    wrong = {
        str(path.relative_to(ROOT)): set(imports(path)) & FORBIDDEN[package]
        for path in modules(package)
        if not is_for_others(path)
    }
    assert {path: names for path, names in wrong.items() if names} == {}


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_console_client_needs_nothing_of_the_site() -> None:
    """It is installed alone, where there is no Django and no site."""
    client = modules("mcpapp/client")
    assert client
    wrong: dict[str, set[str]] = {}
    for path in client:
        for name in imported_modules(path):
            ours = name.startswith("mcpapp") and not name.startswith("mcpapp.client")
            if ours or name.partition(".")[0] in {"django", "asgiref", "authapp", "config", "tests"}:
                wrong.setdefault(str(path.relative_to(ROOT)), set()).add(name)
    assert wrong == {}
    assert "django.conf.settings" in set(imported_modules(ROOT / "mcpapp" / "conf.py")), "the reader of imports works"


def test_the_site_needs_nothing_of_the_console_client() -> None:
    """But for the command of `manage.py` that hands over to it, what other clients are told, and safe text."""
    users = {
        str(path.relative_to(ROOT))
        for package in FORBIDDEN
        for path in modules(package)
        if "client" not in path.relative_to(ROOT / package).parts[:1]
        and any(name.startswith("mcpapp.client.") for name in imported_modules(path))
    }
    assert users == {
        "mcpapp/management/commands/mcp_client.py",
        "mcpapp/management/commands/mcp_config.py",
        "mcpapp/connect.py",
        "mcpapp/doctor/report.py",
    }


def test_only_the_settings_read_the_environment() -> None:
    """And the console client, which has no settings: a person's terminal is told of by variables."""
    readers = []
    for package in ("authapp", "mcpapp", "config"):
        for path in modules(package):
            if path.is_relative_to(ROOT / "mcpapp" / "client"):
                continue
            text = path.read_text(encoding="utf-8")
            if "environ.Env" in text or "os.getenv" in text or "os.environ.get(" in text:
                readers.append(str(path.relative_to(ROOT)))
    # runserver asks Django's own reloader variable, which is no setting of ours.
    assert readers == ["mcpapp/management/commands/runserver.py", "config/settings.py"]


@pytest.mark.parametrize("package", ["authapp", "mcpapp", "config", "tests"])
def test_no_module_is_too_long_to_have_one_job(package: str) -> None:
    long = {}
    for path in modules(package):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAXIMUM_LINES and package != "tests":
            long[str(path.relative_to(ROOT))] = lines
    assert long == {}


@pytest.mark.parametrize("package", ["authapp", "mcpapp", "config"])
def test_every_module_class_and_function_that_others_use_says_what_it_is_for(package: str) -> None:
    silent = []
    for path in modules(package):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name == "__init__.py" and not tree.body:
            continue
        nodes: list[ast.AST] = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
        nodes += [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for node in nodes:
            name = getattr(node, "name", "module")
            if not name.startswith("_") and name != "Meta" and not ast.get_docstring(node):  # type: ignore[arg-type]
                silent.append(f"{path.relative_to(ROOT)}: {name}")
    assert silent == []


def test_nothing_needs_the_tools_of_an_app() -> None:
    """So that `authapp` works where `mcpapp` is not installed."""
    for package in ("authapp", "mcpapp", "config"):
        for path in modules(package):
            assert "import mcp_tools" not in path.read_text(encoding="utf-8"), path
            assert ".mcp_tools import" not in path.read_text(encoding="utf-8") or path.name == "registry.py", path
