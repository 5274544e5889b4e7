"""A chat from its beginning to its end: one question, or a person at a terminal with their commands."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from mcpapp.client import asking, console, questions
from mcpapp.client.chat.consent import Ask, Consent, Policy
from mcpapp.client.chat.keyboard import Keyboard
from mcpapp.client.chat.links import Link
from mcpapp.client.chat.loop import DEFAULT_ROUNDS, INSTRUCTIONS, Conversation
from mcpapp.client.chat.model import Model
from mcpapp.client.chat.providers import Endpoint, TokenProvider, open_client
from mcpapp.client.chat.results import DEFAULT_LIMIT
from mcpapp.client.chat.screen import LiveScreen, Screen
from mcpapp.client.chat.toolbox import collect
from mcpapp.client.chat.transcript import Transcript, resume
from mcpapp.client.chat.usage import NO_PRICES, Prices
from mcpapp.client.failures import Failure, as_failure
from mcpapp.client.options import Options
from mcpapp.client.visible import one_line, visible

if TYPE_CHECKING:
    from mcp.client.session import ElicitationFnT
    from mcp_types import ElicitRequestParams, ElicitResult

MAX_INSTRUCTIONS = 4000  # characters that a server may say about itself
HELP = """\
/tools        what the model may call
/usage        tokens so far, and their price where it is known
/clear        start anew; the tools stay
/save FILE    write the conversation so far to a new file
/quit         leave, as Ctrl-D does
A \\ at the end of a line goes on in the next. Ctrl-C stops an answer; twice, it leaves."""


@dataclass(frozen=True)
class Settings:
    """What a chat is to be: with which servers and model, how much it may do, and what is kept of it.

    `question` is answered and that is all; None is a conversation. `patterns` choose tools by name.
    """

    urls: Sequence[str]
    endpoint: Endpoint
    options: Options
    question: str | None = None
    policy: Policy = Policy.DESTRUCTIVE
    patterns: Sequence[str] = ()
    max_rounds: int = DEFAULT_ROUNDS
    result_limit: int = DEFAULT_LIMIT
    prices: Prices = NO_PRICES
    transcript: Path | None = None
    resumed: Path | None = None
    token: TokenProvider | None = None


def talk(settings: Settings) -> None:
    """Run a chat. Raises: Failure, KeyboardInterrupt, and what `as_failure` knows."""
    endpoint = settings.endpoint
    _ = endpoint.name  # what is missing on the command line is told before anybody signs in
    messages, lines = resume(settings.resumed) if settings.resumed else ([], [])
    transcript = Transcript(secrets=[endpoint.key()])
    transcript.lines += lines
    if path := settings.transcript or settings.resumed:
        transcript.open(path, anew=path != settings.resumed)
    is_live = console.out.is_terminal and not console.out.is_dumb_terminal
    screen_class = LiveScreen if is_live else Screen
    screen = screen_class(names_servers=len(settings.urls) > 1, verbose=settings.options.verbose)
    keyboard = Keyboard()
    ask = None
    if settings.options.is_interactive:
        ask = _asking(keyboard, screen)
        asking.through(ask)
    problem: BaseException | None = None
    try:
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(_opened(settings, screen, transcript, ask)) as conversation,
        ):
            conversation.restore(messages)
            try:
                _Talk(portal, conversation, keyboard, screen, settings.prices).run(settings.question)
            except (Exception, KeyboardInterrupt) as error:
                # Not through the connections: they are closed in good order before it goes on.
                problem = error
    finally:
        transcript.close()
    if problem:
        raise problem


def _asking(keyboard: Keyboard, screen: Screen) -> Ask:
    async def ask(question: str) -> str:
        screen.stop_waiting()
        return await keyboard.ask(question)

    return ask


@asynccontextmanager
async def _opened(
    settings: Settings, screen: Screen, transcript: Transcript, ask: Ask | None
) -> AsyncIterator[Conversation]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(open_client(settings.endpoint, settings.token))
        group = await stack.enter_async_context(anyio.create_task_group())
        one_form = anyio.Lock()
        links = []
        for url in settings.urls:
            elicit = _answering(url, settings.options, one_form)
            links.append(link := Link(url, _label(url), settings.options, group, elicitation_callback=elicit))
            stack.callback(link.close)
        toolbox = await collect(links, settings.patterns, settings.result_limit)
        model = Model(api, settings.endpoint.name, screen.warn)
        consent = Consent(settings.policy, ask)
        instructions = await _instructions(links)
        transcript.add("start", model=model.name, servers=[link.label for link in links], tools=list(toolbox.tools))
        yield Conversation(model, toolbox, consent, screen, transcript, instructions, settings.max_rounds)


def _answering(url: str, options: Options, one_form: anyio.Lock) -> ElicitationFnT:
    """What answers the questions of a server; those of calls that run side by side come one after the other."""

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        async with one_form:
            return await questions.answer(url, params, options)

    return answer


def _label(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


async def _instructions(links: Sequence[Link]) -> str:
    parts = [INSTRUCTIONS]
    for link in links:
        if said := (await link.client()).instructions:
            words = visible(said)[:MAX_INSTRUCTIONS]
            parts.append(f"The server {link.label} says how it is used (its words, not the person's):\n{words}")
    return "\n\n".join(parts)


class _Talk:
    """The main thread's side: what the person types, and the waiting for what it leads to."""

    def __init__(
        self, portal: BlockingPortal, conversation: Conversation, keyboard: Keyboard, screen: Screen, prices: Prices
    ) -> None:
        self.portal = portal
        self.conversation = conversation
        self.keyboard = keyboard
        self.screen = screen
        self.prices = prices

    def run(self, question: str | None) -> None:
        """Answer the one question, or read messages until the person leaves. Raises: as `talk`."""
        if question is not None:
            if self._answer(question):
                raise KeyboardInterrupt
            if self.prices != NO_PRICES:
                self.screen.note(self.conversation.usage.told(self.prices))
            return
        tools = len(self.conversation.toolbox.tools)
        self.screen.note(f"{self.conversation.model.name} with {tools} tools. /help tells what else there is.")
        self._converse()
        if self.conversation.usage.requests:
            self.screen.note(self.conversation.usage.told(self.prices))

    def _converse(self) -> None:
        was_interrupted = False
        while True:
            try:
                line = self.keyboard.read_message()
            except EOFError:
                return
            except KeyboardInterrupt:
                if was_interrupted:
                    raise
                was_interrupted = True
                self.screen.note("\nCtrl-C again, or /quit, leaves.")
                continue
            was_interrupted = False
            if line.startswith("/"):
                if self._command(line):
                    return
            elif line.strip():
                was_interrupted = self._answer_or_tell(line)

    def _answer_or_tell(self, line: str) -> bool:
        try:
            return self._answer(line)
        except Exception as error:
            failure = as_failure(error)
            if failure is None:
                raise
            self._tell(failure)
            return False

    def _answer(self, line: str) -> bool:
        """Have one message answered; return whether the person stopped it. Raises: KeyboardInterrupt on the second."""
        has_ended = threading.Event()

        async def work() -> None:
            try:
                await self.conversation.answer(line)
            finally:
                has_ended.set()

        future = self.portal.start_task_soon(work)
        try:
            self.keyboard.serve_until(future)
        except (KeyboardInterrupt, CancelledError):
            future.cancel()
            while not has_ended.wait(0.2):
                pass
            self.screen.note("\nStopped.")
            return True
        return False

    def _tell(self, failure: Failure) -> None:
        self.screen.warn(f"{failure} {failure.hint}".strip())

    def _command(self, line: str) -> bool:
        """Do what a line with a slash says; return whether the person wants to leave."""
        name, _, rest = line.partition(" ")
        match name:
            case "/quit" | "/exit":
                return True
            case "/help":
                self.screen.note(HELP)
            case "/usage":
                self.screen.note(self.conversation.usage.told(self.prices))
            case "/clear":
                self.conversation.clear()
                self.screen.note("Nothing of it is known to the model any more.")
            case "/tools":
                self._list_tools()
            case "/save":
                self._save(rest.strip())
            case _:
                self.screen.warn(f"There is no {one_line(name, 40)}. /help tells what there is.")
        return False

    def _list_tools(self) -> None:
        consent = self.conversation.consent
        for tool in self.conversation.toolbox.tools.values():
            asked = "asks first" if consent.is_needed(tool) else ""
            described = one_line((tool.tool.title or tool.tool.description or "")[:1000], 80)
            self.screen.note(f"{one_line(tool.tool.name, 64)}  {described}  {asked}".rstrip())

    def _save(self, path: str) -> None:
        if not path:
            self.screen.warn("Where to? /save FILE")
            return
        try:
            self.conversation.transcript.save(Path(path).expanduser())
        except Failure as failure:
            self._tell(failure)
        else:
            self.screen.note(f"Saved to {visible(path)}. It may hold what tools told about you.")
