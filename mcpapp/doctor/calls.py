"""What a client does once it is signed in: the handshake of its era, the list of tools, and one harmless call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mcpapp.doctor.clients import LEGACY, MODERN, Profile
from mcpapp.doctor.messages import initialize_params, message
from mcpapp.doctor.reading import bearer_parameters, described, error_of, message_of, response_in, text
from mcpapp.doctor.report import Level
from mcpapp.doctor.walk import Walk
from mcpapp.doctor.web import Answer

_OF_LISTS = ("resultType", "ttlMs", "cacheScope")


@dataclass(slots=True)
class Conversation:
    """One client that talks to the server with a token, or without (""), where nobody is asked to sign in."""

    walk: Walk
    profile: Profile
    token: str = field(repr=False)
    era: str = LEGACY
    session: str = field(default="", repr=False)
    sent: int = 0
    """How many messages it has sent: in a session no two requests may have the same id."""

    @property
    def title(self) -> str:
        """The client's name."""
        return self.profile.title

    async def say(self, check: str, method: str, params: dict[str, Any] | None = None) -> Answer | None:
        """Send one message; note it under the check where no answer comes."""
        self.sent += 1
        headers, body = message(
            self.profile,
            method,
            params,
            era=self.era,
            token=self.token,
            session=self.session,
            request_id=self.sent + 1,  # after that of `initialize`
        )
        return await self.walk.ask(
            check,
            "POST",
            self.walk.target.url,
            headers,
            body,
            self.title,
            until=lambda received: response_in(received) is not None,
        )

    async def result(self, check: str, method: str, params: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Send a request and return its result; note it where there is none."""
        answer = await self.say(check, method, params)
        if answer is None:
            return None
        if answer.status == 401:
            self.refused(f"{method} is answered {described(answer)}.")
            return None
        response = message_of(answer)
        result = response.get("result")
        if not isinstance(result, dict):
            said = error_of(response) or described(answer)
            self.walk.wrong(check, f"{method} is answered {said}.", self.title)
            return None
        if self.token:
            self.walk.well("call.token-not-accepted", self.title)
        self.walk.well(check, self.title)
        return result

    def refused(self, saw: str) -> None:
        """Note that it is not let in: its token is no good, or it has none and cannot learn where to get one."""
        check = "call.token-not-accepted" if self.token else "discovery.resource-metadata-missing"
        self.walk.wrong(check, saw, self.title)


async def begin(walk: Walk, profile: Profile, token: str) -> Conversation | None:
    """Begin a conversation as a client does; None if none comes about."""
    conversation = Conversation(walk, profile, token)
    if profile.era == MODERN:
        conversation.era = MODERN
        if not await _discover(conversation):
            conversation.era = LEGACY
    if conversation.era == LEGACY and not await _shake_hands(conversation):
        return None
    return conversation


async def use(walk: Walk, profile: Profile, token: str) -> bool:
    """Talk to the server as a client does; return whether it could use the tools."""
    conversation = await begin(walk, profile, token)
    if conversation is None:
        return False
    tools = await conversation.result("call.list-failed", "tools/list", {})
    if tools is None:
        return False
    if conversation.era == MODERN:
        _judge_completeness(conversation, "tools/list", tools, _OF_LISTS)
    return await _call(conversation, tools)


async def _discover(conversation: Conversation) -> bool:
    """Ask what the server is, as 2026-07-28 has it; where it does not know the question, note that."""
    walk, title = conversation.walk, conversation.title
    answer = await conversation.say("call.handshake-failed", "server/discover", {})
    if answer is None:
        return False
    if answer.status == 401:
        return True  # the next message tells of it
    result = message_of(answer).get("result")
    problem = "" if isinstance(result, dict) else f"server/discover is answered {described(answer)}."
    return walk.judge("call.modern-era-missing", problem, title)


async def _shake_hands(conversation: Conversation) -> bool:
    headers, body = message(
        conversation.profile,
        "initialize",
        initialize_params(conversation.profile),
        era=LEGACY,
        token=conversation.token,
    )
    walk, title = conversation.walk, conversation.title
    answer = await walk.ask(
        "call.handshake-failed",
        "POST",
        walk.target.url,
        headers,
        body,
        title,
        until=lambda received: response_in(received) is not None,
    )
    if answer is None:
        return False
    if answer.status in (401, 403):
        conversation.refused(f"initialize is answered {described(answer)}.")
        return False
    result = message_of(answer).get("result")
    version = text(result, "protocolVersion") if isinstance(result, dict) else ""
    if not version:
        walk.wrong("call.handshake-failed", f"initialize is answered {described(answer)}.", title)
        return False
    conversation.session = answer.headers.get("mcp-session-id", "")
    accepted = await conversation.say("call.handshake-failed", "notifications/initialized")
    if accepted is None:
        return False
    problem = "" if 200 <= accepted.status < 300 else f"notifications/initialized is answered {described(accepted)}."
    return walk.judge("call.handshake-failed", problem, title)


async def _call(conversation: Conversation, listed: dict[str, Any]) -> bool:
    walk = conversation.walk
    name = harmless_tool(listed)
    if not name:
        walk.wrong("call.no-tool", "No tool is read-only and without arguments, so none was called.")
        return True
    walk.well("call.no-tool")
    result = await conversation.result("call.tool-failed", "tools/call", {"name": name, "arguments": {}})
    if result is None:
        return False
    if conversation.era == MODERN:
        _judge_completeness(conversation, "tools/call", result, _OF_LISTS[:1])
    failed = f"The tool {name} says that it failed." if result.get("isError") is True else ""
    return walk.judge("call.tool-failed", failed, conversation.title, level=Level.WARNING if failed else None)


def harmless_tool(listed: dict[str, Any]) -> str:
    """Return a tool that only reads and needs no argument; "" if there is none."""
    tools = listed.get("tools")
    for tool in tools if isinstance(tools, list) else []:
        if not isinstance(tool, dict):
            continue
        annotations, schema = tool.get("annotations"), tool.get("inputSchema")
        reads = isinstance(annotations, dict) and annotations.get("readOnlyHint") is True
        if reads and isinstance(schema, dict) and not schema.get("required"):
            return text(tool, "name")
    return ""


def _judge_completeness(
    conversation: Conversation, method: str, result: dict[str, Any], members: tuple[str, ...]
) -> None:
    missing = " and ".join(name for name in members if name not in result)
    problem = f"The result of {method} has no {missing}." if missing else ""
    conversation.walk.judge("call.result-incomplete", problem, conversation.title)


def challenge_in(answer: Answer) -> dict[str, str]:
    """Return the Bearer challenge of an answer."""
    return bearer_parameters(", ".join(answer.headers.get_list("www-authenticate")))
