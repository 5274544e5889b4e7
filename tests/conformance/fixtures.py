"""What the official conformance suite calls, declared as any site declares it. The texts are the suite's."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Annotated, Any, Literal

import mcp_types as types
from mcp.server.mcpserver import Audio, Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.resolve import Resolve, Sample
from pydantic import BaseModel, Field

from mcpapp.registry import prompt, resource, tool

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
WAV = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")

# --- Content ---------------------------------------------------------------------------------------


@tool("test_simple_text")
def simple_text() -> str:
    """Return text."""
    return "This is a simple text response for testing."


@tool("test_image_content")
def image_content() -> Image:
    """Return an image."""
    return Image(data=PNG, format="png")


@tool("test_audio_content")
async def audio_content() -> Audio:
    """Return a sound."""
    return Audio(data=WAV, format="wav")


@tool("test_embedded_resource")
def embedded_resource() -> types.EmbeddedResource:
    """Return a resource."""
    return embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")


@tool("test_multiple_content_types")
async def multiple_content_types() -> list[str | Image | types.EmbeddedResource]:
    """Return one of each."""
    data = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return ["Multiple content types test:", Image(data=PNG, format="png"), data]


@tool("test_error_handling")
def error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


def embedded(uri: str, mime_type: str, text: str) -> types.EmbeddedResource:
    """Return a text as a resource."""
    return types.EmbeddedResource(
        type="resource", resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    )


# --- While a call runs -----------------------------------------------------------------------------


@tool("test_tool_with_logging")
async def with_logging(context: Context) -> str:
    """Write to the client's log."""
    await context.info("Tool execution started")
    await asyncio.sleep(0.05)
    await context.info("Tool processing data")
    await asyncio.sleep(0.05)
    await context.info("Tool execution completed")
    return "Tool with logging executed successfully"


@tool("test_logging_tool")
async def logging_tool(context: Context) -> str:
    """Write to the client's log, if it wants that."""
    await context.info("A message for whoever asked for it")
    return "Logged"


@tool("test_tool_with_progress")
async def with_progress(context: Context) -> str:
    """Report progress."""
    await context.report_progress(0, 100)
    await asyncio.sleep(0.05)
    await context.report_progress(50, 100)
    await asyncio.sleep(0.05)
    await context.report_progress(100, 100)
    return "Tool with progress executed successfully"


@tool("test_reconnection")
async def reconnection(context: Context) -> str:
    """Close the stream, so that the client comes back for the answer."""
    await context.close_sse_stream()
    await asyncio.sleep(0.1)
    return "Reconnection test completed successfully. If you received this, the client properly reconnected."


@tool("test_trigger_tool_change")
async def trigger_tool_change(context: Context) -> str:
    """Say that the tools changed."""
    await context.notify_tools_changed()
    return "Told"


@tool("test_trigger_prompt_change")
async def trigger_prompt_change(context: Context) -> str:
    """Say that the prompts changed."""
    await context.notify_prompts_changed()
    return "Told"


# --- Questions -------------------------------------------------------------------------------------


def ask_model(prompt: str) -> Sample:
    """Ask the client's model."""
    content = types.TextContent(type="text", text=prompt)
    return Sample([types.SamplingMessage(role="user", content=content)], max_tokens=100)


@tool("test_sampling")
def sampling(prompt: str, answer: Annotated[types.CreateMessageResult, Resolve(ask_model)]) -> str:
    """Return what the client's model says."""
    return f"LLM response: {getattr(answer.content, 'text', '')}"


def ask_anything() -> Sample:
    """Ask the client's model."""
    return ask_model("Anything")


@tool("test_missing_capability")
def missing_capability(answer: Annotated[types.CreateMessageResult, Resolve(ask_anything)]) -> str:
    """Need a client that lets its model be asked."""
    return "Asked"


class Contact(BaseModel):
    """What is asked for."""

    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


@tool("test_elicitation")
async def elicitation(message: str, context: Context) -> str:
    """Ask the person for two texts."""
    result = await context.elicit(message, Contact)
    content = result.data.model_dump() if result.action == "accept" else {}
    return f"User response: <action: {result.action}, content: {json.dumps(content)}>"


class Defaults(BaseModel):
    """One of each type, with a default."""

    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive", "pending"] = "active"
    verified: bool = True


@tool("test_elicitation_sep1034_defaults")
async def elicitation_defaults(context: Context) -> str:
    """Ask with defaults."""
    return completed(await context.elicit("Please review and update the form fields with defaults", Defaults))


@tool("test_elicitation_sep1330_enums")
async def elicitation_enums(context: Context) -> str:
    """Ask for choices, in each way that there is."""

    def titled(*pairs: tuple[str, str]) -> list[dict[str, str]]:
        return [{"const": value, "title": title} for value, title in pairs]

    options = ["option1", "option2", "option3"]
    three = (("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option"))
    choices = (("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice"))
    schema = {
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled(*three)},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled(*choices)}},
        },
    }
    result = await context.session.elicit_form("Please choose", schema, context.request_id)
    return f"Elicitation completed: action={result.action}, content={json.dumps(result.content)}"


def completed(result: Any) -> str:
    """Return how a question ended."""
    content = result.data.model_dump() if result.action == "accept" else {}
    return f"Elicitation completed: action={result.action}, content={json.dumps(content)}"


# --- Headers ---------------------------------------------------------------------------------------


@tool("test_header_parameter")
def header_parameter(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Take an argument that clients also send as a header."""
    return region


# --- Resources -------------------------------------------------------------------------------------


@resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


@resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """An image."""
    return PNG


def complete_id(value: str, given: dict[str, str]) -> list[str]:
    """Return numbers that begin so."""
    return [known for known in ("123", "124", "200") if known.startswith(value)]


@resource("test://template/{id}/data", mime_type="application/json", completions={"id": complete_id})
def template(id: str) -> str:
    """What belongs to an id."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@resource("test://watched-resource", mime_type="text/plain")
def watched() -> str:
    """A text that clients watch."""
    return "Watched resource content"


# --- Prompts ---------------------------------------------------------------------------------------


@prompt("test_simple_prompt")
def simple_prompt() -> str:
    """A text."""
    return "This is a simple prompt for testing."


async def complete_argument(value: str, given: dict[str, str]) -> list[str]:
    """Return words that begin so."""
    return [word for word in ("paris", "park", "party", "test", "testing") if word.startswith(value)]


@prompt("test_prompt_with_arguments", completions={"arg1": complete_argument})
def prompt_with_arguments(
    arg1: Annotated[str, Field(description="First test argument")],
    arg2: Annotated[str, Field(description="Second test argument")],
) -> str:
    """A text with arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@prompt("test_prompt_with_embedded_resource")
def prompt_with_embedded_resource(resourceUri: str) -> list[Any]:
    """A resource and a text."""
    data = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [UserMessage(data), UserMessage("Please process the embedded resource above.")]


@prompt("test_prompt_with_image")
async def prompt_with_image() -> list[Any]:
    """An image and a text."""
    return [UserMessage(Image(data=PNG, format="png")), UserMessage("Please analyze the image above.")]
