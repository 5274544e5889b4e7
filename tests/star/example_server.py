"""An MCP server of the SDK without sign-in, with each kind of content: `python -m tests.star.example_server PORT LOG`.

What its tools do is written to LOG, a line each. With the word `legacy` it knows no MCP newer than 2025-11-25.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import mcp_types as types
import uvicorn
from mcp.server.mcpserver import Audio, Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import AssistantMessage, UserMessage
from mcp.server.mcpserver.resolve import Elicit, ElicitationResult, Resolve
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
WAV = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")
# Clears the screen, sets the title of the window, and writes over what is there.
NASTY = "\x1b[2J\x1b]0;owned\x07fine\rEnter password:\x08\x9b31m \u202egnp.exe [bold red]x[/] :smile:"

server = MCPServer("everything", version="1.2.3")


def log(line: str) -> None:
    """Write down what a tool did."""
    with Path(sys.argv[2]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


class Address(BaseModel):
    """Where somebody lives."""

    city: str
    number: int = 1


READS = types.ToolAnnotations(read_only_hint=True)


@server.tool(annotations=READS)
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    log(f"add {a} {b}")
    return a + b


@server.tool(annotations=READS)
def echo(
    text: str = "",
    number: float = 0,
    flag: bool = False,
    tags: Annotated[list[str], Field(max_length=3)] = [],  # noqa: B006  (a default of a schema)
    counts: list[int] | None = None,
    address: Address | None = None,
    anything: dict[str, Any] | None = None,
    colour: Literal["red", "green"] = "red",
) -> dict[str, Any]:
    """Return what was sent."""
    return {
        name: value.model_dump() if isinstance(value, BaseModel) else value
        for name, value in locals().copy().items()
        if value not in ("", 0, False, [], None, "red")
    }


@server.tool(annotations=types.ToolAnnotations(read_only_hint=False, destructive_hint=True))
def wipe(path: str) -> str:
    """Delete everything."""
    log(f"wipe {path}")
    return f"wiped {path}"


@server.tool(annotations=types.ToolAnnotations(read_only_hint=False, destructive_hint=False))
def note(text: str) -> str:
    """Write something down."""
    return f"noted {text}"


@server.tool()
def people() -> list[Person]:
    """List people."""
    return [Person(name="Ada", age=36), Person(name="张伟", age=41)]


@server.tool()
def person() -> Person:
    """Return one person."""
    return Person(name="Ada", age=36)


@server.tool()
def picture() -> Image:
    """Return an image."""
    return Image(data=PNG, format="png")


@server.tool(structured_output=False)
def mixed() -> list[Any]:
    """Return one of each."""
    resource = types.TextResourceContents(uri="test://note", mime_type="text/plain", text="a note")
    blob = types.BlobResourceContents(
        uri="file:///home/x/.bashrc", mime_type="application/x-sh", blob=base64.b64encode(b"rm").decode()
    )
    return [
        "First a text.",
        Image(data=PNG, format="png"),
        Audio(data=WAV, format="wav"),
        types.ResourceLink(
            type="resource_link", name="readme", uri="https://example.com/readme", mime_type="text/markdown"
        ),
        types.EmbeddedResource(type="resource", resource=resource),
        types.EmbeddedResource(type="resource", resource=blob),
    ]


@server.tool()
def markdown() -> str:
    """Return Markdown."""
    return "# Title\n\nSome **bold** words and [a link](https://example.com/there).\n"


@server.tool()
def long() -> str:
    """Return a great deal of text."""
    return "\n".join(f"line {number}" for number in range(30_000))


@server.tool(title=NASTY, description=NASTY)
def nasty() -> str:
    """Return what would harm a terminal."""
    return NASTY


@server.tool()
def nasty_rows() -> list[dict[str, str]]:
    """Return the same in a table."""
    return [{"column": NASTY}]


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("It did not work.\x1b[2J")


@server.tool()
async def slowly(context: Context, steps: int = 3, pause: float = 0.3) -> str:
    """Report progress and write to the log."""
    for step in range(steps):
        await context.report_progress(step, steps, f"step {step} of the work")
        await context.info(f"doing step {step}")
        await asyncio.sleep(pause)
    return "done at last"


@server.tool()
async def forever(context: Context) -> str:
    """Never end by itself."""
    log("forever began")
    try:
        await context.report_progress(1, 10, "waiting")
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        log("forever was cancelled")
        raise
    return "never"


class Order(BaseModel):
    """What is asked for."""

    name: str = Field(description="Who it is for")
    amount: Annotated[int, Field(ge=1, le=5)] = 2
    size: Literal["small", "large"] = "small"
    gift: bool


def ask_for_order() -> Elicit[Order]:
    """Ask for an order."""
    return Elicit(f"What do you want?\nPassword: {NASTY}", Order)


@server.tool()
def order(answer: Annotated[ElicitationResult[Order], Resolve(ask_for_order)]) -> str:
    """Ask for an order."""
    said = answer.data.model_dump(mode="json") if answer.action == "accept" else {}
    return f"{answer.action} {sorted(said.items())}"


@server.tool(structured_output=False)
async def visit(context: Context, url: str = "https://bank.example/pay?a=1") -> Any:
    """Ask for a visit, in the way of the client's version of MCP."""
    if context.request_context.protocol_version < "2026-07-28":
        return f"visit: {(await context.elicit_url('Please pay', url, '1')).action}"
    if answers := context.input_responses:
        return f"visit: {answers['page'].action}"
    page = types.ElicitRequest(params=types.ElicitRequestURLParams(message="Please pay", url=url))
    return types.InputRequiredResult(input_requests={"page": page})


@server.tool()
def paid() -> str:
    """Want a page to be visited first, as MCP 2025-11-25 has it."""
    page = {"mode": "url", "message": "Pay first", "url": "https://bank.example/pay", "elicitationId": "1"}
    raise MCPError(code=-32042, message="URL elicitation required", data={"elicitations": [page, 7]})


@server.resource("test://text", mime_type="text/plain", description="A text")
def text_resource() -> str:
    """Return a text."""
    return "the text of the resource"


@server.resource("test://image", mime_type="image/png")
def image_resource() -> bytes:
    """Return an image."""
    return PNG


@server.resource("test://item/{number}")
def item_resource(number: str) -> str:
    """Return an item."""
    return f"item {number}"


@server.prompt()
def review(code: str, style: str = "short") -> list[Any]:
    """Ask for a review."""
    return [UserMessage(f"Review {code}, {style}."), AssistantMessage("Gladly.")]


def without_newest(app: Any) -> Any:
    """Answer requests of MCP 2026-07-28 as a server does that has not heard of it."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"mcp-protocol-version") == b"2026-07-28":
            await PlainTextResponse("Unsupported protocol version", 400)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return answer


if __name__ == "__main__":
    app: Any = server.streamable_http_app()
    uvicorn.run(
        without_newest(app) if "legacy" in sys.argv else app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
    )
