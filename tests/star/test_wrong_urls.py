"""A URL that is typed wrong, a server that is down, a page that is no MCP server: what happened, and the way out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.star.program import Star
from tests.star.shell import Shell

UNREACHABLE, USAGE = 4, 2
PAGE = b"<html>Hello</html>"


class Page(BaseHTTPRequestHandler):
    """`/STATUS` is answered with it, and with a page; `/moved` leads elsewhere."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = {"/moved": 301}.get(self.path) or int(self.path.strip("/") if self.path.strip("/").isdigit() else 404)
        self.send_response(status)
        if status == 301:
            self.send_header("Location", "https://example.com/mcp\x1b[2J")
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize("status", [200, 400, 403, 404, 405, 501])
def test_a_page_is_said_to_be_no_mcp_server(shell: Shell, page: str, status: int) -> None:
    done = shell.star("ping", f"{page}/{status}")
    assert (done.returncode, done.stdout) == (UNREACHABLE, "")
    assert done.stderr == (
        f"star: There is no MCP server at {page}/{status}. It answered {status}.\n"
        "Check the URL, also what follows the host.\n"
    )


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_in_trouble_is_not_said_to_be_missing(shell: Shell, page: str, status: int) -> None:
    done = shell.star("tools", f"{page}/{status}")
    assert done.returncode == UNREACHABLE
    assert done.stderr.startswith(f"star: The server answered {status}.\n")


def test_a_page_that_moved_is_told_with_the_place_and_not_followed(shell: Shell, page: str) -> None:
    done = shell.star("ping", f"{page}/moved")
    assert done.returncode == UNREACHABLE
    assert "It leads to https://example.com/mcp\\x1b[2J." in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.live
@pytest.mark.parametrize("command", ["ping", "login", "tools"])
@pytest.mark.parametrize("path", ["", "/", "/mcp"])
def test_the_server_that_the_site_names_is_offered(
    star: Star, url: str, live_server_url: str, command: str, path: str
) -> None:
    done = star(command, f"{live_server_url}{path}", code=3 if command == "login" else UNREACHABLE)
    assert f"Did you mean {url}?" in done.stderr
    assert star.kept() == []


@pytest.mark.parametrize(
    ("given", "offered"),
    [
        ("127.0.0.1:8000/star", "Did you mean http://127.0.0.1:8000/star?"),
        ("localhost/mcp", "Did you mean http://localhost/mcp?"),
        ("example.com/mcp", "Did you mean https://example.com/mcp?"),
        ("nothing", "A server's URL looks like https://example.com/mcp."),
        ("two words.", "A server's URL looks like https://example.com/mcp."),
    ],
)
def test_what_is_no_url_is_told_with_one(shell: Shell, given: str, offered: str) -> None:
    done = shell.star("ping", given)
    assert done.returncode == USAGE
    assert done.stderr == f"star: “{given}” is no URL.\n{offered}\n"


def test_a_server_that_is_down_is_told_with_what_to_look_at(shell: Shell) -> None:
    done = shell.star("ping", f"http://127.0.0.1:{free_port()}/mcp")
    assert done.returncode == UNREACHABLE
    assert done.stderr.startswith("star: The server cannot be reached: ")
    assert done.stderr.endswith("\nIs it running? Check the URL with its port, and your network.\n")


def test_https_to_a_server_without_it_is_told_so(shell: Shell, page: str) -> None:
    done = shell.star("ping", page.replace("http://", "https://"))
    assert done.returncode == UNREACHABLE
    assert done.stderr.endswith(
        "\nIt does not speak https there. For a server on this machine write http://; check the port too.\n"
    )


def test_http_to_another_machine_is_refused_before_anything_is_sent(shell: Shell) -> None:
    done = shell.star("ping", "http://example.com/mcp")
    assert done.returncode == USAGE
    assert done.stderr == (
        "star: http://example.com/mcp is not encrypted, so nothing secret can be sent to it.\n"
        "Use https://; http:// is for this machine alone (localhost, 127.0.0.1).\n"
    )


def test_without_a_sign_in_a_command_without_a_url_says_how_to_get_one(shell: Shell) -> None:
    done = shell.star("tools")
    assert done.returncode == USAGE
    assert done.stderr == (
        "star: Which server? You are signed in to none.\n"
        "Give its URL, or sign in first: star login https://example.com/mcp\n"
    )
