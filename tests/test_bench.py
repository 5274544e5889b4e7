"""The benchmark runs, refuses what is no result, and writes what it found and nothing else. No times are judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import field, gate, goals, in_process, load, measured, report
from tests.bench.console_client import ConsoleClient
from tests.bench.lifetime import Lifetime
from tests.bench.lookups import Lookup
from tests.bench.rounds import Case, Results, Run
from tests.bench.token_endpoint import Exchanges
from tests.conftest import ROOT

NEW, OLDER = field.NEW, field.OLDER
RESOURCE = "https://127.0.0.1/star"
ANSWER = {"server": "Star", "resource": RESOURCE, "time": "2026-01-01T00:00:00+00:00"}


def made_up(ours: float = 100.0) -> measured.Measured:
    """What a run might have found: a call of ours costs `ours` µs, one of any other server 400."""
    everybody = field.contenders(["token"], None)
    runs = {
        Case("Python", one.key, era, 16, 1): [Run(ours if one.key == field.WARM else 400.0, 2000.0, 1.0, 2.0)] * 3
        for one in everybody
        for era in one.eras
    }
    calls = {(era, name): [100.0, 110.0] for era in (NEW, OLDER) for name in in_process.NAMES}
    return measured.Measured(
        command="python -m tests.bench",
        machine="2 cores of <a> & b",
        versions={"Python": "3.11"},
        date="2026-01-01",
        field_of=everybody,
        http=Results(runs),
        calls=calls,
        lookups={
            "SQLite": [Lookup(1000, 20.0, 40.0, 900.0, 1.0, ["SEARCH"]), Lookup(10**6, 30.0, 40.0, 900.0, None, ["S"])]
        },
        exchanges={"SQLite": {name: [Exchanges(1.0, 2.0, 300.0)] for name in ("ours", "stock")}},
        lifetime=Lifetime(1.0, {0: 10**8, 10**5: 10**8, 10**6: 10**8}),
        console=ConsoleClient(90.0, 300.0, 500.0, 40.0, 5.0, 450.0, 700.0),
    )


def document(folder: Path) -> Path:
    path = folder / report.DOCUMENT
    path.write_text(f"# Title\n\nbefore\n\n{report.BEGIN}\nof another run\n{report.END}\n\nafter\n", encoding="utf-8")
    return path


def gate_of_ci(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", "--gate", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the benchmark reads /proc, which only Linux has")
def test_the_gate_of_ci_counts_functions_and_fails_if_they_are_too_many() -> None:
    """Counts, not times: those of two runs are the same on a machine that does other things."""
    failed = gate_of_ci("--most-kept", "1")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    for era in (NEW, OLDER):
        for name in gate.NAMES:
            assert f"{era}  {name}" in failed.stdout
        assert f"Too much. {era}: with a kept token 1." in failed.stdout
    assert failed.stdout.count("Too much.") == 2, "nothing else is: CI runs the gate as it is meant to be"


def test_the_gate_names_each_ratio_that_is_too_bad_and_no_other() -> None:
    figures: in_process.CallFigures = {(era, name): [900.0, 100.0] for era in (NEW, OLDER) for name in in_process.NAMES}
    most = {in_process.OPEN: 1.2, NEW: 2, OLDER: 2}
    assert gate.too_much(figures, most, 1.0) == []
    figures[NEW, in_process.KEPT] = [300.0, 900.0]
    figures[OLDER, in_process.COLD] = [250.0]
    assert gate.too_much(figures, most, 1.0) == [
        f"{NEW}: with a kept token 3.00 of the function calls of no authentication, not 1.2",
        f"{NEW}: with a kept token 3.00 of the function calls of the plain SDK, not 2",
        f"{OLDER}: a lookup adds 1.50 calls, more than 1",
    ]


def test_the_count_of_functions_is_that_of_what_ran_and_ends_with_it() -> None:
    with in_process.function_calls() as clock:
        none = clock()
        none = clock() - none
        before = clock()
        abs(min(1, 2))
        assert round((clock() - before - none) * 1e6) == 2
    after = clock()
    abs(1)
    assert round((clock() - after) * 1e6) == 1  # the asking itself


def test_the_report_takes_the_place_of_the_last_one_and_leaves_the_rest(tmp_path: Path) -> None:
    path = document(tmp_path)
    report.write(made_up(), tmp_path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# Title\n\nbefore\n\n{report.BEGIN}\n")
    assert text.endswith(f"\n{report.END}\n\nafter\n")
    assert "of another run" not in text
    assert "| ours | 2026-07-28 | 100 (100–100) | 2,000 | 1.0 | 2.0 | 4.00 (4.00–4.00) | 4.00 (4.00–4.00) |" in text
    report.write(made_up(), tmp_path)
    assert path.read_text(encoding="utf-8") == text


def test_a_document_without_the_marks_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / report.DOCUMENT
    path.write_text("# Title\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="needs these two lines"):
        report.write(made_up(), tmp_path)
    assert path.read_text(encoding="utf-8") == "# Title\n"


def test_the_chart_has_a_bar_for_each_server_and_era_and_goes_with_its_report(tmp_path: Path) -> None:
    document(tmp_path)
    found = made_up()
    report.write(found, tmp_path)
    svg = ElementTree.fromstring((tmp_path / report.CHART).read_text(encoding="utf-8"))  # noqa: S314  (our own)
    said = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in said if text in {one.title for one in found.field_of}] == [
        one.title for one in found.field_of
    ]
    assert said.count("4.00") == 2
    assert said.count("1.00") == 2 * (len(found.field_of) - 1)
    found.http = None
    report.write(found, tmp_path)
    assert not (tmp_path / report.CHART).exists()
    assert report.CHART not in (tmp_path / report.DOCUMENT).read_text(encoding="utf-8")


def test_a_goal_is_reached_missed_or_not_measured() -> None:
    text = f"ours, against the MCP Python SDK without authentication, {NEW}"

    def verdict(found: measured.Measured, text: str) -> str:
        return next(goal.verdict for goal in goals.judge(found) if goal.text == text)

    assert verdict(made_up(), text) == "reached"
    assert verdict(made_up(399.0), text) == "**missed**"
    assert verdict(made_up(), f"ours, against TypeScript SDK v2, {NEW}") == "not measured"
    assert verdict(made_up(), "a lookup among 10⁶ tokens instead of 10³, SQLite") == "**missed**"
    assert verdict(made_up(), "memory after a million calls instead of 100 000") == "reached"


def test_every_part_is_told_in_the_goals_and_parts_that_were_not_measured_are_left_out() -> None:
    whole = report.report(made_up())
    heads = ["### A call over HTTP", "### A call in process", "### A lookup", "### The token endpoint", "### Start and"]
    assert all(head in whole for head in heads)
    nothing = measured.Measured(command="c", machine="m", versions={})
    assert not any(head in report.report(nothing) for head in heads)
    assert {goal.verdict for goal in goals.judge(nothing)} == {"not measured"}


def test_passwords_of_databases_and_paths_of_this_machine_are_not_written_down() -> None:
    said = bench.command_of(["--full", "--postgresql", "postgres://star:secret@db/star", "--docs=x"])
    assert said == "python -m tests.bench --full --postgresql URL --docs=x"
    assert bench.command_of(["--cache", "/home/me", "--docs=~/x"]) == "python -m tests.bench --cache DIR --docs=DIR"
    assert "secret" not in bench.command_of(["--postgresql=postgres://star:secret@db/star"])


# --- The load generator ------------------------------------------------------------------------------------


def body(answer: object = ANSWER, **result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"structuredContent": answer, **result}}).encode()


def test_the_result_of_the_tool_is_taken_as_json_and_as_an_event_stream() -> None:
    load.require_result(body(), RESOURCE)
    load.require_result(b"event: message\r\ndata: " + body() + b"\r\n\r\n", RESOURCE)


@pytest.mark.parametrize(
    "wrong",
    [
        body(isError=True),
        body({**ANSWER, "resource": "https://127.0.0.1/another"}),
        body({**ANSWER, "time": 1}),
        body({"server": "Star", "resource": RESOURCE}),
        b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "no"}}',
        b"event: ping\r\n\r\n",
        b"",
    ],
)
def test_anything_else_is_no_reply(wrong: bytes) -> None:
    with pytest.raises(load.BadReply):
        load.require_result(wrong, RESOURCE)


def test_replies_with_a_length_and_in_chunks_are_whole_when_their_end_has_come() -> None:
    with_length = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
    in_chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
    for reply in (with_length, in_chunks):
        assert load.whole_reply(reply) == (b"HTTP/1.1 200 OK", b"body")
        assert all(load.whole_reply(reply[:length]) is None for length in range(len(reply)))
    with pytest.raises(load.BadReply):
        load.whole_reply(with_length + b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(load.BadReply):
        load.whole_reply(b"HTTP/1.1 200 OK\r\n\r\nbody")


def test_a_refusal_is_no_reply_and_neither_is_another_answer_after_good_ones() -> None:
    sender = load.Sender(load.Plan(1, "", [""], RESOURCE))
    sender.check(b"HTTP/1.1 200 OK", body())
    sender.check(b"HTTP/1.1 200 OK", body({**ANSWER, "time": "2027-02-02T11:11:11+00:00"}))
    with pytest.raises(load.BadReply):
        sender.check(b"HTTP/1.1 401 Unauthorized", body())
    with pytest.raises(load.BadReply):
        sender.check(b"HTTP/1.1 200 OK", body(isError=True))


def test_tokens_that_are_looked_up_come_in_turn_across_runs() -> None:
    """Or the first ones would come again and again, and be kept."""
    cold = field.Contender("cold", "", "", lambda workers: [], [str(number) for number in range(10)])
    cold.used(4)
    assert cold.values == ["5", "6", "7", "8", "9", "0", "1", "2", "3", "4"]
