"""What the conformance suite calls in several rounds (MCP 2026-07-28, `InputRequiredResult`), written by hand."""

from __future__ import annotations

from typing import Any

import mcp_types as types
from mcp.server.mcpserver import Context

from mcpapp.registry import prompt, tool


def ask(message: str, name: str, kind: str = "string") -> types.ElicitRequest:
    """Return a question for one value."""
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def ask_model(text: str, max_tokens: int = 100) -> types.CreateMessageRequest:
    """Return a question for the client's model."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=text))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def needs(state: str | None = None, **requests: Any) -> types.InputRequiredResult:
    """Return what is to be answered first."""
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def answered(context: Context, key: str, kind: type) -> Any:
    """Return an answer of the kind that was asked for; None if there is none."""
    answer = (context.input_responses or {}).get(key)
    return answer if isinstance(answer, kind) else None


@tool("test_input_required_result_elicitation")
def elicitation(context: Context) -> str | types.InputRequiredResult:
    """Ask for a name."""
    answer = answered(context, "user_name", types.ElicitResult)
    if answer is None or answer.action != "accept" or not isinstance((answer.content or {}).get("name"), str):
        return needs(user_name=ask("What is your name?", "name"))
    return f"Hello, {answer.content['name']}!"


@tool("test_streaming_elicitation")
async def streaming_elicitation(context: Context) -> str | types.InputRequiredResult:
    """Report progress, then ask."""
    await context.report_progress(1, 2)
    return needs(user_name=ask("What is your name?", "name"))


@tool("test_input_required_result_sampling")
def sampling(context: Context) -> str | types.InputRequiredResult:
    """Ask the client's model."""
    answer = answered(context, "capital_question", types.CreateMessageResult)
    if answer is None:
        return needs(capital_question=ask_model("What is the capital of France?"))
    return str(getattr(answer.content, "text", ""))


@tool("test_input_required_result_list_roots")
def list_roots(context: Context) -> str | types.InputRequiredResult:
    """Ask for the client's folders."""
    answer = answered(context, "client_roots", types.ListRootsResult)
    if answer is None:
        return needs(client_roots=types.ListRootsRequest())
    return "Roots: " + ", ".join(str(root.uri) for root in answer.roots)


def confirmed(context: Context) -> str | types.InputRequiredResult:
    """Ask for a confirmation, with something to bring back."""
    if context.request_state != "confirming" or answered(context, "confirm", types.ElicitResult) is None:
        return needs("confirming", confirm=ask("Please confirm", "ok", "boolean"))
    return "state-ok"


@tool("test_input_required_result_request_state")
def request_state(context: Context) -> str | types.InputRequiredResult:
    """Ask for a confirmation, with something to bring back."""
    return confirmed(context)


@tool("test_input_required_result_tampered_state")
def tampered_state(context: Context) -> str | types.InputRequiredResult:
    """Ask for a confirmation, with something to bring back."""
    return confirmed(context)


@tool("test_input_required_result_multiple_inputs")
def multiple_inputs(context: Context) -> str | types.InputRequiredResult:
    """Ask for three things at once."""
    wanted = {
        "user_name": types.ElicitResult,
        "greeting": types.CreateMessageResult,
        "client_roots": types.ListRootsResult,
    }
    if context.request_state == "asked" and all(answered(context, key, kind) for key, kind in wanted.items()):
        return "All three were answered"
    return needs(
        "asked",
        user_name=ask("What is your name?", "name"),
        greeting=ask_model("Generate a greeting", 50),
        client_roots=types.ListRootsRequest(),
    )


@tool("test_input_required_result_multi_round")
def multi_round(context: Context) -> str | types.InputRequiredResult:
    """Ask twice."""
    if context.request_state == "two" and answered(context, "step2", types.ElicitResult):
        return "Both steps were answered"
    if context.request_state == "one" and answered(context, "step1", types.ElicitResult):
        return needs("two", step2=ask("Step 2: What is your favorite color?", "color"))
    return needs("one", step1=ask("Step 1: What is your name?", "name"))


@tool("test_input_required_result_capabilities")
def capabilities(context: Context) -> str | types.InputRequiredResult:
    """Ask for what the client can be asked for."""
    declared = context.client_capabilities or types.ClientCapabilities()
    requests: dict[str, Any] = {}
    if declared.sampling is not None:
        requests["greeting"] = ask_model("Generate a greeting", 50)
    if declared.elicitation is not None:
        requests["user_name"] = ask("What is your name?", "name")
    return needs(**requests) if requests and not context.input_responses else "Nothing to ask"


@prompt("test_input_required_result_prompt")
def prompt_in_rounds(context: Context) -> Any:
    """Ask for what the prompt is about."""
    answer = answered(context, "user_context", types.ElicitResult)
    if answer is None:
        return needs(user_context=ask("What context should the prompt use?", "context"))
    return f"Use this context: {(answer.content or {}).get('context')}"
