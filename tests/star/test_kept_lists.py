"""What a server said of its tools is kept as long as it allows: a second call is one request, and nobody is misled."""

from __future__ import annotations

import json
import re
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from mcpapp.client.cache import MAX_BYTES
from tests.clients.desk import Desk
from tests.star.program import Star
from tests.star.shell import running

pytestmark = pytest.mark.live

ALL = ["server/discover", "tools/list", "tools/call"]


def asked(err: str) -> list[str]:
    """The methods of MCP that were sent, by the steps on stderr."""
    return re.findall(r"^→ POST .*?; ([a-z/]+)\)$", err, re.MULTILINE)


def called(star: Star, url: str, *words: str, code: int = 0) -> list[str]:
    """Call a tool; return the methods that were sent for it."""
    return asked(star("call", url, *(words or ("protected-data",)), "--verbose", code=code).stderr)


def kept(star: Star) -> list[Path]:
    return sorted((star.folder / "star" / "lists").glob("*"))


def content(star: Star) -> dict[str, Any]:
    (path,) = kept(star)
    found: dict[str, Any] = json.loads(path.read_text())["content"]
    return found


def change(star: Star, **values: Any) -> None:
    (path,) = kept(star)
    envelope = json.loads(path.read_text())
    envelope["content"] |= values
    path.write_text(json.dumps(envelope))


def with_tools(star: Star, *tools: dict[str, Any]) -> None:
    """Have other tools kept than there are."""
    found = content(star)["tools"]
    found["value"]["tools"] = list(tools)
    change(star, tools=found)


@pytest.fixture
def signed_in(star: Star, url: str) -> Star:
    star("login", url)
    return star


def test_the_second_call_of_a_tool_is_one_request(signed_in: Star, url: str) -> None:
    assert called(signed_in, url) == ALL
    assert called(signed_in, url) == ["tools/call"]
    assert called(signed_in, url, "public-info") == ["tools/call"]


def test_what_is_kept_is_for_its_owner_alone_and_has_no_token_in_it(signed_in: Star, url: str) -> None:
    called(signed_in, url)
    (path,) = kept(signed_in)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    tokens = signed_in.content()["tokens"]
    assert tokens["access_token"]
    assert [token for token in tokens.values() if len(token) > 20 and token in path.read_text()] == []


def test_it_is_asked_for_again_when_its_time_is_over(signed_in: Star, url: str) -> None:
    called(signed_in, url)
    until = content(signed_in)["tools"]["expires_at"]
    assert 0 < until - time.time() <= 60, "as long as the server allows"
    change(signed_in, tools=content(signed_in)["tools"] | {"expires_at": time.time() - 1})
    assert called(signed_in, url) == ["tools/list", "tools/call"]
    change(signed_in, discovered_until=time.time() - 1)
    assert called(signed_in, url) == ["server/discover", "tools/call"]
    assert called(signed_in, url) == ["tools/call"]


def test_another_token_is_told_anew(signed_in: Star, url: str) -> None:
    """MCP 2026-07-28, `cacheScope`: a list is private to what it was asked for with."""
    called(signed_in, url)
    signed_in.change(expires_at=1)
    assert called(signed_in, url) == ALL, "a refresh brings another token"
    signed_in.change(tokens=signed_in.content()["tokens"] | {"access_token": "another"})
    assert called(signed_in, url)[-3:] == ALL


def test_logout_and_another_sign_in_delete_it(signed_in: Star, url: str) -> None:
    called(signed_in, url)
    assert kept(signed_in)
    signed_in("login", url, "--again")
    assert kept(signed_in) == []
    called(signed_in, url)
    assert kept(signed_in)
    signed_in("logout", url)
    assert kept(signed_in) == []


def test_the_list_of_tools_is_the_servers_and_is_kept_for_calls(signed_in: Star, url: str) -> None:
    assert asked(signed_in("tools", url, "--verbose").stderr) == ["server/discover", "tools/list"]
    with_tools(signed_in)
    done = signed_in("tools", url, "--verbose")
    assert asked(done.stderr) == ["server/discover", "tools/list"]
    assert "protected-data" in done.stdout
    assert called(signed_in, url) == ["tools/call"]


def test_a_tool_that_is_new_is_called_and_one_that_is_gone_is_refused_by_the_server_alone(
    signed_in: Star, url: str
) -> None:
    called(signed_in, url)
    with_tools(signed_in)
    assert called(signed_in, url) == ["tools/list", "tools/call"]
    done = signed_in("call", url, "protected-date", "--verbose", code=2)
    assert asked(done.stderr) == ["tools/list"]
    assert "Did you mean protected-data?" in done.stderr
    with_tools(signed_in, {"name": "gone", "inputSchema": {"type": "object"}})
    done = signed_in("call", url, "gone", "--verbose", code=1)
    assert asked(done.stderr) == ["tools/call"]
    assert "gone" in done.stderr
    assert kept(signed_in) == [], "what misled once does not do it twice"


def test_a_schema_that_is_no_longer_the_servers_refuses_nothing(signed_in: Star, url: str) -> None:
    called(signed_in, url)
    old = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    with_tools(signed_in, {"name": "protected-data", "inputSchema": old})
    assert called(signed_in, url) == ["tools/list", "tools/call"]
    assert called(signed_in, url) == ["tools/call"]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[" * 100_000, b"\xff", b'{"format": 1, "protection": "file", "content": {"of": 1}}']
)
def test_what_is_damaged_is_asked_for_again_without_a_word(signed_in: Star, url: str, damage: bytes) -> None:
    called(signed_in, url)
    (path,) = kept(signed_in)
    path.write_bytes(damage)
    done = signed_in("call", url, "protected-data", "--verbose")
    assert asked(done.stderr) == ALL
    assert "read" not in "".join(line for line in done.stderr.splitlines() if not line.startswith(("→", "←")))
    assert called(signed_in, url) == ["tools/call"]


@pytest.mark.parametrize(
    "change_",
    [
        {"discovered": 1},
        {"discovered_until": "soon"},
        {"discovered_until": 1e300},
        {"tools": []},
        {"tools": {"key": 1}},
        {"discovered": {"supportedVersions": ["1999-01-01"], "capabilities": {}}},
    ],
    ids=str,
)
def test_what_has_another_shape_is_as_good_as_not_kept(signed_in: Star, url: str, change_: dict[str, Any]) -> None:
    called(signed_in, url)
    change(signed_in, **change_)
    assert called(signed_in, url)[-1] == "tools/call"


def test_a_server_that_speaks_an_older_version_by_now_is_asked_what_it_speaks(
    signed_in: Star, url: str, desk: Desk
) -> None:
    """Nothing was called when a version is refused, so the call is made once more, in the other one."""
    called(signed_in, url)
    with running("tests.star.example_server", str(desk.folder / "called"), "legacy", log=desk.folder / "log") as port:
        older = f"http://127.0.0.1:{port}/mcp"
        from mcpapp.client.options import Options
        from mcpapp.client.sign_ins import SignIn, SignIns

        folder = signed_in.folder / "star"
        sign_ins = SignIns(Options(cache_dir=folder))
        sign_in = SignIn(older, tokens=signed_in.content()["tokens"])
        sign_ins.write(sign_in)
        sign_ins.cache.write("lists", older, content(signed_in))
        done = signed_in("call", older, "add", "a=1", "b=2", "--verbose")
    assert done.stdout == "3\n"


def test_what_is_too_long_to_be_read_again_is_not_kept(signed_in: Star, url: str) -> None:
    from mcpapp.client.options import Options
    from mcpapp.client.sign_ins import SignIn, SignIns

    sign_ins = SignIns(Options(cache_dir=signed_in.folder / "star"))
    lists = sign_ins.lists(SignIn(url, tokens={"access_token": "x"}))
    assert lists is not None
    lists._write({"tools": "x" * 1000})
    assert len(kept(signed_in)) == 1
    lists.forget()
    lists._write({"tools": "x" * MAX_BYTES})
    assert kept(signed_in) == []


# What the shell completes


def completions(star: Star, *words: str) -> list[str]:
    line = " ".join(["star", *words])
    done = star(
        _STAR_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words)),
    )
    return done.stdout.split()


def test_the_shell_completes_tools_and_arguments_without_asking_anybody(
    signed_in: Star, url: str, live_server_url: str
) -> None:
    assert completions(signed_in, "call", "p") == []
    called(signed_in, url)
    assert completions(signed_in, "call", "p") == ["public-info", "protected-data"]
    assert completions(signed_in, "call", url, "pub") == ["public-info"]
    assert completions(signed_in, "call", *url.replace(":", " : ").split(), "pub") == ["public-info"], "as bash has it"
    assert completions(signed_in, "call", "disconnect-app", "c") == ["connection_id="]
    assert completions(signed_in, "call", "disconnect-app", "connection_id=1", "c") == []
    signed_in("logout", url)
    assert completions(signed_in, "call", "p") == []


def test_a_name_that_a_shell_would_not_take_for_a_word_is_not_completed(signed_in: Star, url: str) -> None:
    called(signed_in, url)
    with_tools(
        signed_in, *({"name": name, "inputSchema": {}} for name in ("fine", "f$(id)", "f\x1b[2J", "f oo", "f;x"))
    )
    assert completions(signed_in, "call", "f") == ["fine"]
