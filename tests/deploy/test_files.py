"""The files under deploy/: valid, hardened, without a secret, and about what exists."""

from __future__ import annotations

import os
import re
import shutil
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from tests.conftest import ROOT
from tests.deploy.programs import DEPLOY, program, run

FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def compose() -> dict[str, Any]:
    [found] = documents(DEPLOY / "compose.yaml")
    return dict(found)


def test_the_linter_of_dockerfiles_has_nothing_to_say() -> None:
    done = run(program("hadolint"), "--no-color", str(DEPLOY / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_is_one() -> None:
    done = run(program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_what_kubernetes_takes(path: Path) -> None:
    done = run(program("kubernetes-validate"), "--strict", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["star.service", "star-cleanup.service", "star-cleanup.timer"])
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text(encoding="utf-8").replace("/srv/star/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text.replace("/srv/star", str(ROOT)))
    done = run(analyze, "verify", "--man=no", str(tmp_path / name))
    assert (done.returncode, done.stderr) == (0, "")
    if name.endswith(".service"):
        # Of 10; without any of the restrictions it is 9.6.
        done = run(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", str(tmp_path / name))
        assert done.returncode == 0, done.stdout


def test_what_runs_in_a_container_may_do_nothing_to_it() -> None:
    for name, service in compose()["services"].items():
        if name == "database":  # whose image begins as root and steps down
            continue
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "ports" not in service or name == "proxy", name
    assert re.search(r"^USER 10001:10001$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)

    pods = [found for path in MANIFESTS for document in documents(path) for found in pod_specs(document)]
    assert len(pods) == 3
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]) == {"requests", "limits"}


def pod_specs(document: Any) -> list[Any]:
    """Return the specifications of pods in a manifest, however deep."""
    if not isinstance(document, dict):
        return []
    found = [document] if "containers" in document else []
    return found + [pod for value in document.values() for pod in pod_specs(value)]


def test_the_address_that_the_site_believes_is_the_proxys_and_no_other_container_gets_it() -> None:
    """Whoever starts first takes the first free address, and the proxy starts last."""
    services, [pool] = compose()["services"], compose()["networks"]["front"]["ipam"]["config"]
    believed = compose()["x-site"]["environment"]["FORWARDED_ALLOW_IPS"]
    assert services["proxy"]["networks"]["front"]["ipv4_address"] == believed
    assert ip_address(believed) in ip_network(pool["subnet"])
    assert ip_address(believed) not in ip_network(pool["ip_range"])


def test_the_site_in_containers_takes_every_variable_of_its_file() -> None:
    assert compose()["x-site"]["env_file"] == ["star.env"]


def test_in_kubernetes_the_ingress_controller_alone_reaches_the_site() -> None:
    [policy] = [one for one in documents(DEPLOY / "kubernetes" / "star.yaml") if one["kind"] == "NetworkPolicy"]
    [deployment] = [one for one in documents(DEPLOY / "kubernetes" / "star.yaml") if one["kind"] == "Deployment"]
    assert policy["spec"]["podSelector"] == deployment["spec"]["selector"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert [list(source) for rule in policy["spec"]["ingress"] for source in rule["from"]] == [["namespaceSelector"]]


def test_probes_ask_what_is_answered() -> None:
    [deployment] = [found for found in documents(DEPLOY / "kubernetes" / "star.yaml") if found["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert paths == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    for name in ("Dockerfile", "Caddyfile", "traefik-dynamic.yaml"):
        assert set(re.findall(r"/\w+z\b", (DEPLOY / name).read_text())) == {"/readyz"}, name


def test_files_name_commands_and_settings_that_exist() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text("utf-8"), re.MULTILINE))
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for command in re.findall(r"manage\.py (\w+)", text):
            assert command in get_commands(), (path, command)
        for command in re.findall(r'"manage\.py", "(\w+)"', text):
            assert command in get_commands(), (path, command)
        for page in re.findall(r"docs/[\w-]+\.md", text):
            assert (ROOT / page).exists(), (path, page)
    of_others = {"DATABASE_PASSWORD", "SITE_ADDRESS"}
    assert set(compose()["x-site"]["environment"]) <= documented
    example = (DEPLOY / "star.env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) - of_others <= documented
    config_map = documents(DEPLOY / "kubernetes" / "star.yaml")[0]
    assert set(config_map["data"]) <= documented


def test_no_file_has_a_secret_and_none_starts_without_one() -> None:
    example = (DEPLOY / "star.env.example").read_text(encoding="utf-8")
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert (values["SECRET_KEY"], values["DATABASE_PASSWORD"]) == ("", "")
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    for name in ("SECRET_KEY", "DATABASE_PASSWORD"):
        assert set(re.findall(rf"\$\{{{name}\b[^}}]*\}}", text)) == {f"${{{name}:?}}"}, "compose stops without it"
    kinds = {document["kind"] for path in MANIFESTS for document in documents(path)}
    assert "Secret" not in kinds
    environment = {
        **os.environ,
        **values,
        "ENV_FILE": "",
        "DEBUG": "false",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    done = run(sys.executable, "manage.py", "check", env=environment)
    assert done.returncode != 0
    assert "SECRET_KEY is not set" in done.stderr


def test_the_image_is_made_of_what_the_site_needs_and_of_nothing_else(tmp_path: Path) -> None:
    """What `docker build` does, without docker: the context by .dockerignore, then the commands of the Dockerfile."""
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(allowed) == {"manage.py", "authapp", "config", "mcpapp", "templates", "requirements/base.txt"}
    for name in allowed:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, tmp_path / name)
    dockerfile = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    [command] = re.findall(r"^RUN (DEBUG=true .*)$", dockerfile, re.MULTILINE)
    folder = Path(sys.executable).parent
    environment = {"PATH": os.environ["PATH"]}
    done = run("sh", "-c", command.replace("/venv/bin", str(folder)), cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "staticfiles" / "star" / "star.css").exists()
    environment |= {"PUBLIC_URL": "https://star.example", "SECRET_KEY": "0123456789" * 6, "ENV_FILE": ""}
    done = run(str(folder / "python"), "manage.py", "check", "--deploy", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout + done.stderr


def test_images_are_named_without_a_host_and_with_a_version() -> None:
    named = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    named += [service["image"] for service in compose()["services"].values() if "image" in service]
    assert {"python:3.11-slim", "postgres:17", "redis:7", "caddy:2"} <= set(named)
    for image in named:
        assert re.fullmatch(r"[a-z]+(:[\w.-]+)?", image), image
