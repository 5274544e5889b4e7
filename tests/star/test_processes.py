"""Many at once, and ends at any moment: what is kept stays whole, and one refresh is enough for all."""

from __future__ import annotations

import json
import random
import time

from tests.clients.desk import Desk
from tests.star.program import Star

TOGETHER = 20


def test_twenty_with_a_token_that_ended_make_one_refresh_and_twenty_results(star: Star, url: str, desk: Desk) -> None:
    star.call(url, "protected-data")
    before = star.content()["tokens"]["refresh_token"]
    star.change(expires_at=1)
    started = [star.start(url, "protected-data", module="tests.star.caller") for _ in range(TOGETHER)]
    done = [star.end(process, url) for process in started]
    assert all("demo" in each.stdout for each in done)
    assert [step for each in done for step in star.steps(each.stderr) if "/o/" in step] == ["POST /o/token/"]
    assert star.content()["tokens"]["refresh_token"] != before
    assert len(desk.visits()) == 1


def test_twenty_with_a_token_that_the_server_refuses_make_one_refresh(star: Star, url: str, desk: Desk) -> None:
    star.call(url, "protected-data")
    star.change(tokens=star.content()["tokens"] | {"access_token": "gone"})
    started = [star.start(url, "protected-data", module="tests.star.caller") for _ in range(TOGETHER)]
    done = [star.end(process, url) for process in started]
    assert all("demo" in each.stdout for each in done)
    assert [step for each in done for step in star.steps(each.stderr) if "/o/" in step] == ["POST /o/token/"]
    assert len(desk.visits()) == 1


def test_two_that_sign_in_at_once_ask_the_person_once(star: Star, url: str, desk: Desk) -> None:
    started = [star.start(url, "protected-data", module="tests.star.caller") for _ in range(2)]
    done = [star.end(process, url) for process in started]
    assert all("demo" in each.stdout for each in done)
    assert len(desk.visits()) == 1


def test_killed_at_any_moment_it_leaves_a_whole_cache_and_the_next_run_works(star: Star, url: str, desk: Desk) -> None:
    star("login", url)
    (path,) = star.kept()
    for _ in range(12):
        star.change(expires_at=1)
        process = star.start(url, "protected-data", module="tests.star.caller")
        # A refresh takes place within this time from the start.
        time.sleep(random.uniform(0.0, 0.4))
        process.kill()
        process.communicate()
        assert json.loads(path.read_text())["content"]["url"] == url
    done = star.call(url, "protected-data")
    assert "demo" in done.stdout
    assert list(path.parent.glob("*.unreadable-*")) == []


def test_killed_while_it_writes_it_leaves_the_old_or_the_new(star: Star, url: str) -> None:
    """Only the file that is written aside is left, which somebody removes later."""
    star("login", url)
    (path,) = star.kept()
    whole = path.read_text()
    aside = path.with_name(".new-abc")
    aside.write_text(whole[: len(whole) // 2])
    assert star("status", "--json").stdout.count('"url"') == 1
    star.change(expires_at=1)
    star("login", url)
    assert aside.exists(), "it may be another's that is being written"
    import os

    os.utime(aside, (1, 1))
    star.change(expires_at=1)
    star("login", url)
    assert not aside.exists()
