"""One answer of a model: streamed, put together from its pieces, tried again where that makes sense."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import anyio
import httpx2
import openai

from mcpapp.client.failures import Failure
from mcpapp.client.visible import one_line, visible

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

EXIT_MODEL = 6
ATTEMPTS = 4
MAX_WAIT_SECONDS = 60.0
MAX_ANSWER = 1_000_000  # characters, of text or of the arguments of one call
MAX_CALLS = 32
_SILENT = ("The model did not answer in time.", "Try again, or raise --model-timeout.")
_TOO_LONG = re.compile(
    r"context.{0,20}(length|window)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)


class ModelFailure(Failure):
    """The model, or the endpoint it is behind, gave no answer."""

    exit_code = EXIT_MODEL


@dataclass
class ToolCall:
    """A call that the model asks for; `arguments` is JSON as it wrote it, to be checked."""

    id: str
    name: str = ""
    arguments: str = ""


@dataclass
class Answer:
    """What has arrived of an answer. `end` tells how it ended: "cut" where the stream broke off before its end."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    end: Literal["complete", "length", "filtered", "cut"] = "cut"
    usage: CompletionUsage | None = None
    _by_index: dict[int, ToolCall] = field(default_factory=dict)

    @property
    def has_begun(self) -> bool:
        """Return whether anything has arrived."""
        return bool(self.text or self.calls)

    def take(self, chunk: ChatCompletionChunk) -> str:
        """Add a piece; return what it adds to the text, made visible. Raises: ModelFailure where it grows too big."""
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        if choice.finish_reason:
            ends = {"length": "length", "content_filter": "filtered"}
            self.end = ends.get(choice.finish_reason, "complete")  # type: ignore[assignment]
        delta = choice.delta
        if delta is None:
            return ""
        for piece in delta.tool_calls or []:
            self._take_call(piece)
        added = visible(delta.content or delta.refusal or "")
        self.text += added
        if len(self.text) > MAX_ANSWER or any(len(call.arguments) > MAX_ANSWER for call in self.calls):
            raise ModelFailure("The model's answer does not end.", "Ask for less at once.")
        return added

    def _take_call(self, piece: ChoiceDeltaToolCall) -> None:
        function = piece.function
        # Some endpoints leave the index out, or count every call as the first: a new id is a new call then.
        index = piece.index if piece.index is not None else max(len(self.calls) - 1, 0)
        call = self._by_index.get(index)
        if call is None or (piece.id and call.id != piece.id and function and function.name):
            if len(self.calls) > MAX_CALLS * 4:
                raise ModelFailure("The model asks for more calls than anybody needs.", "Ask for less at once.")
            call = ToolCall(piece.id or f"call_{len(self.calls)}")
            self.calls.append(call)
            self._by_index[index] = call
        if function:
            call.name += function.name or ""
            call.arguments += function.arguments or ""


class Model:
    """A model behind an endpoint that speaks OpenAI's chat completions.

    `tell` gets a sentence whenever a request is tried again after a wait.
    """

    def __init__(self, client: AsyncOpenAI, name: str, tell: Callable[[str], None]) -> None:
        self.client = client
        self.name = name
        self.tell = tell
        self._counts_tokens = True

    async def stream(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        answer: Answer,
        show: Callable[[str], None],
    ) -> None:
        """Let the model answer into `answer`, and `show` its text as it arrives.

        An answer that has begun is never asked for again: it stays as it is, with `end` telling what happened.
        Raises: ModelFailure.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._stream_once(messages, tools, answer, show)
                if answer.end != "cut" or answer.has_begun:
                    return
                problem, wait = "The answer was cut off before it began", None
            except openai.APIStatusError as error:
                if self._counts_tokens and error.status_code in (400, 422) and "stream_options" in error.message:
                    # An older endpoint that does not know it: no numbers then.
                    self._counts_tokens = False
                    continue
                problem, wait = _may_try_again(error)
            except (openai.APIError, httpx2.TransportError) as error:
                if answer.has_begun:
                    return
                problem, wait = _broken(error), None
            if attempt == ATTEMPTS:
                raise ModelFailure(f"{problem}. Given up after {ATTEMPTS} attempts.", "Try again later.")
            seconds = wait if wait is not None else min(0.5 * 2**attempt, 8.0)
            self.tell(f"{problem}. Trying again in {seconds:.0f} s ({attempt} of {ATTEMPTS - 1}).")
            await anyio.sleep(seconds)

    async def _stream_once(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        answer: Answer,
        show: Callable[[str], None],
    ) -> None:
        request: dict[str, Any] = {"model": self.name, "messages": messages, "stream": True}
        if tools:
            request["tools"] = tools
        if self._counts_tokens:
            request["stream_options"] = {"include_usage": True}
        async with await self.client.chat.completions.create(**request) as stream:
            async for chunk in stream:
                if added := answer.take(chunk):
                    show(added)


def _broken(error: openai.APIError | httpx2.TransportError) -> str:
    """What happened where no answer began; errors in a stream come from either package.

    Raises: ModelFailure where another attempt would end as this one.
    """
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        raise ModelFailure(*_SILENT) from error
    if isinstance(error, openai.APIConnectionError | httpx2.TransportError):
        return f"The model's endpoint cannot be reached ({_cause(error)})"
    raise ModelFailure(f"The model's endpoint reports an error: {_said(error)}") from error


def _may_try_again(error: openai.APIStatusError) -> tuple[str, float | None]:
    """What happened and the seconds to wait, None where the endpoint does not say.

    Raises: ModelFailure where another attempt would end as this one.
    """
    status, said = error.status_code, _said(error)
    if status == 401:
        raise ModelFailure(
            f"The model's endpoint refuses the key: {said}", "Check the key and the endpoint."
        ) from error
    if status == 403:
        raise ModelFailure(f"The model's endpoint does not allow this: {said}") from error
    if status == 404:
        hint = "Check --model, or --deployment, and the endpoint's URL."
        raise ModelFailure(f"The model's endpoint does not know this model: {said}", hint) from error
    if error.code == "context_length_exceeded" or (status in (400, 413, 422) and _TOO_LONG.search(error.message)):
        hint = "Start anew with /clear, give fewer tools with --tool, or bound results with --max-result."
        raise ModelFailure(f"The conversation is longer than the model takes: {said}", hint) from error
    if error.code == "insufficient_quota":
        raise ModelFailure(f"The account has nothing left: {said}", "Waiting does not help.") from error
    if status == 429:
        wait = _retry_after(error.response)
        if wait is not None and wait > MAX_WAIT_SECONDS:
            raise ModelFailure(f"The endpoint asks to wait {wait:.0f} s: {said}", "Try again then.") from error
        return "The endpoint has had too many requests", wait
    if status >= 500 or status == 408:
        wait = _retry_after(error.response)
        return f"The model's endpoint failed ({status})", None if wait is None else min(wait, MAX_WAIT_SECONDS)
    raise ModelFailure(f"The model's endpoint refuses the request ({status}): {said}") from error


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds of Retry-After (RFC 9110 10.2.3), or of the finer header that Azure sends; never negative."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = response.headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * unit
    try:
        at = email.utils.parsedate_to_datetime(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, at.timestamp() - time.time())


def _said(error: openai.APIError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return one_line(str(message or error.message)[:2000], 400)


def _cause(error: BaseException) -> str:
    return one_line(str(error.__cause__ or error)[:2000], 200)
