"""/metrics: for whoever has the secret and nobody else, of all workers together, with labels nobody else chooses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from config import metrics
from tests.clients.person import Person
from tests.conftest import LiveServer
from tests.mcpapp.helpers import message
from tests.oauth import HOST
from tests.over_http import log_in

TOKEN = "k3y-of-32-random-letters-and-digits-0"


def figures(text: str) -> dict[str, float]:
    """Return each figure by its name and labels, those of a histogram by its count."""
    return {
        sample.name + str(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.live
def test_a_server_tells_of_all_its_workers_what_happened(new_server: Callable[[], LiveServer]) -> None:
    server = new_server()
    server.environment |= {"METRICS_TOKEN": TOKEN, "METRICS_FOLDER": str(server.folder / "metrics"), "CALL_LOG": "true"}
    server.environment["RATE_LIMITS"] = '{"tools": {"protected-data": "1/hour"}}'
    server.start("-m", "uvicorn", "config.asgi:application", "--workers", "2", "--port", str(server.port))
    with Person("demo", "demo") as demo:
        tokens = log_in(server.url, demo)

    def call(tool: str, token: str = tokens.access_token) -> int:
        sent = message("tools/call", {"name": tool, "arguments": {}})
        sent["headers"]["Authorization"] = f"Bearer {token}"
        with httpx2.Client(base_url=server.url, trust_env=False) as http:  # another connection, perhaps another worker
            return int(http.post("/star", **sent).status_code)

    assert [call("public-info") for _ in range(8)] == [200] * 8
    assert {call("protected-data") for _ in range(4)} == {200, 429}
    assert call("forged\ntool{") == 200
    assert call("public-info", "unknown-token") == 401

    def is_of_the_forged(figure: str) -> bool:
        return figure.startswith("star_tool_calls_total") and metrics.UNKNOWN in figure

    ok = "star_tool_calls_total[('outcome', 'ok'), ('tool', 'public-info')]"
    limited = "star_tool_calls_total[('outcome', 'overloaded'), ('tool', 'protected-data')]"
    with httpx2.Client(base_url=server.url, trust_env=False) as http:
        until = time.monotonic() + 20
        while True:  # the other worker tells within seconds
            answer = http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            known = figures(answer.text)
            if known.get(ok) == 8 and known.get(limited, 0) >= 2 and any(map(is_of_the_forged, known)):
                break
            assert time.monotonic() < until, answer.text
            time.sleep(0.2)
        assert answer.status_code == 200
        assert http.head("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content == b""
        assert http.post("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 405
        for wrong in ("", TOKEN[:-1], TOKEN + "x", tokens.access_token):
            refused = http.get("/metrics", headers={"Authorization": f"Bearer {wrong}".strip()})
            assert (refused.status_code, refused.content) == (401, b"")
        assert http.get(f"/metrics?token={TOKEN}").status_code == 401
    assert known["star_tool_call_seconds_count[('tool', 'public-info')]"] == 8
    assert known["star_tokens_issued_total[('grant', 'authorization_code')]"] == 1
    assert known["star_registrations_total[]"] == 1
    assert known["star_events_total[('event', 'consent_given')]"] == 1
    assert "star_call_log_queue[]" in known
    assert known["star_streams_open[]"] == 0
    assert any(name.startswith("star_token_cache_total") for name in known)
    assert "forged" not in answer.text
    assert tokens.client_id not in answer.text
    server.stop()
    assert TOKEN not in server.log.read_text()


def test_without_a_secret_there_is_no_such_page(db: None) -> None:
    assert Client().get("/metrics", headers={"host": HOST}).status_code == 404


def test_the_folder_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    made = metrics.prepare(str(tmp_path / "a" / "b"))
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o777)
    with pytest.raises(ImproperlyConfigured, match="nobody else"):
        metrics.prepare(str(made))
    made.chmod(0o700)
    (tmp_path / "link").symlink_to(made)
    with pytest.raises(ImproperlyConfigured, match="nobody else"):
        metrics.prepare(str(tmp_path / "link"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="cannot be made"):
        metrics.prepare(str(tmp_path / "file"))


@pytest.fixture
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from mcpapp.asgi import ResourceServer

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return metrics.Metrics(ResourceServer(), tmp_path)


def test_a_counter_follows_what_rises_and_is_not_counted_twice(collected: Any) -> None:
    collected._server.door_log.counts["no_token"] = 3
    for _ in range(3):
        collected.poll()
    collected._server.door_log.counts["no_token"] = 5
    collected.poll()
    text = collected._library.generate_latest(collected._registry).decode()
    assert 'star_refusals_total{reason="no_token"} 5.0' in text


def test_calls_are_counted_by_tool_and_outcome_and_how_long_they_took(collected: Any) -> None:
    for seconds in (0.0005, 0.001, 0.02, 1000.0):
        collected.called("public-info", "ok", seconds)
    collected.called({"not": "a name"}, "invalid", 0.01)
    collected.called("no-such-tool", "invalid", 0.01)
    for _ in range(2):
        collected.poll()
    text = collected._library.generate_latest(collected._registry).decode()
    assert 'star_tool_calls_total{outcome="ok",tool="public-info"} 4.0' in text
    assert f'star_tool_calls_total{{outcome="invalid",tool="{metrics.UNKNOWN}"}} 2.0' in text
    assert "no-such-tool" not in text
    for bucket, count in (("0.001", 2), ("0.01", 2), ("0.025", 3), ("300.0", 3), ("+Inf", 4)):
        assert f'star_tool_call_seconds_bucket{{le="{bucket}",tool="public-info"}} {count}.0' in text
    assert 'star_tool_call_seconds_sum{tool="public-info"} 1000.0215' in text


NAME = re.compile(r"\bstar_[a-z_]+\b")
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def declared(collected: Any) -> set[str]:
    """Return the names of every series that there can be."""
    names = set()
    for family in collected._registry.collect():
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        names |= {family.name + end for end in ends}
    return names


@pytest.mark.parametrize("path", ["grafana/dashboard.json", "prometheus/alerts.yaml"])
def test_a_dashboard_and_alerts_name_figures_that_exist(collected: Any, path: str) -> None:
    named = set(NAME.findall((DEPLOY / path).read_text(encoding="utf-8")))
    assert len(named) > 4
    assert named - declared(collected) == set()


def test_the_dashboard_shows_every_figure_once_at_least(collected: Any) -> None:
    import json

    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in NAME.findall(asked)}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in declared(collected)} == shown
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_alerts_have_a_name_a_rule_a_severity_and_a_text() -> None:
    import yaml

    [group] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) >= 6
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert {"summary", "description"} == set(rule["annotations"])
