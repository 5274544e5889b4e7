"""What a chat shows: the model's words on stdout, all else on stderr; plain, or as Markdown on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcpapp.client import console
from mcpapp.client.visible import gutter, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.status import Status

    from mcpapp.client.chat.toolbox import ChatTool, Outcome

_FENCES = ("```", "~~~")


class Screen:
    """Plain: the words as they come. `names_servers` is for several servers, `verbose` shows results in full."""

    def __init__(self, *, names_servers: bool = False, verbose: bool = False) -> None:
        self.names_servers = names_servers
        self.verbose = verbose
        self._line_is_open = False

    def text(self, added: str) -> None:
        """Show more of the model's answer."""
        stream = console.out.file
        stream.write(added)
        stream.flush()
        self._line_is_open = not added.endswith("\n")

    def text_ends(self) -> None:
        """The model has said what it has to say for now."""
        self.stop_waiting()
        if self._line_is_open:
            self.text("\n")

    def waiting(self, what: str) -> None:
        """Show that something takes its time."""

    def stop_waiting(self) -> None:
        """Show nothing of the kind any more."""

    def note(self, text: str) -> None:
        """Tell the person something that is not the model's."""
        self.stop_waiting()
        console.err.print(text, style="dim")

    def warn(self, text: str) -> None:
        """Tell the person that something is wrong."""
        self.stop_waiting()
        console.err.print(text, style="yellow")

    def calling(self, tool: ChatTool, arguments: dict[str, Any]) -> None:
        """Show a call that the model asks for."""
        written = json.dumps(arguments, ensure_ascii=False) if arguments else ""
        self.note(f"→ {self._named(tool)} {one_line(written[:2000], 300)}".rstrip())

    def progress(self, tool: ChatTool, progress: float, total: float | None, message: str) -> None:
        """Show how far a call is, where something shows that it takes its time."""
        if self.verbose:
            self.note(f"… {self._progress(tool, progress, total, message)}")

    def _progress(self, tool: ChatTool, progress: float, total: float | None, message: str) -> str:
        share = f"{min(max(progress / total, 0), 1):.0%}" if total and total > 0 else f"{progress:g}"
        return f"{self._named(tool)}: {share} {one_line(message[:500], 80)}".rstrip()

    def called(self, tool: ChatTool, outcome: Outcome, seconds: float) -> None:
        """Show what came of it."""
        sign = "✗" if outcome.is_error else "✓"
        shown = gutter(outcome.text) if self.verbose else one_line(outcome.text[:2000], 200)
        separator = "\n" if self.verbose else " "
        self.note(f"{sign} {self._named(tool)} ({seconds:.1f} s){separator}{shown}")

    def refused(self, tool: ChatTool, *, is_somebody_there: bool) -> None:
        """Show that a call is not made."""
        if is_somebody_there:
            self.note(f"✗ {self._named(tool)} was not called.")
        else:
            why = "it may change things, and nobody is here to ask. --yes allows it."
            self.warn(f"✗ {self._named(tool)} was not called: {why}")

    def wrong_call(self, name: str, problem: str) -> None:
        """Show a call that makes no sense."""
        self.note(f"✗ {one_line(name[:200], 64)}: {one_line(problem[:2000], 200)}")

    def _named(self, tool: ChatTool) -> str:
        name = one_line(tool.tool.name, 128)
        return f"{name} of {one_line(tool.server, 100)}" if self.names_servers else name


class LiveScreen(Screen):
    """A terminal: paragraphs that are complete are printed as Markdown, the last one changes in place."""

    def __init__(self, *, names_servers: bool = False, verbose: bool = False) -> None:
        super().__init__(names_servers=names_servers, verbose=verbose)
        from rich.console import Console

        # Unlike that of other commands this one breaks lines between words, as prose is.
        self._console: Console = Console(markup=False, emoji=False, highlight=False)
        self._live: Live | None = None
        self._status: Status | None = None
        self._pending = ""

    def text(self, added: str) -> None:
        """Show more of the model's answer."""
        self.stop_waiting()
        self._pending += added
        done, self._pending = finished_blocks(self._pending)
        if done:
            self._end_live()
            self._print(done)
        if self._pending.strip():
            self._update_live()

    def text_ends(self) -> None:
        """Print what is pending."""
        self.stop_waiting()
        self._end_live()
        rest, self._pending = self._pending, ""
        if rest.strip():
            self._print(rest)

    def waiting(self, what: str) -> None:
        """Show a spinner."""
        self.stop_waiting()
        self._status = console.err.status(f"{what}…")
        self._status.start()

    def progress(self, tool: ChatTool, progress: float, total: float | None, message: str) -> None:
        """Show how far a call is beside the spinner."""
        if self._status:
            self._status.update(self._progress(tool, progress, total, message))

    def stop_waiting(self) -> None:
        """Take the spinner away."""
        if self._status:
            self._status.stop()
            self._status = None

    def _print(self, text: str) -> None:
        self._console.print(_markdown(text))

    def _update_live(self) -> None:
        if self._live is None:
            from rich.live import Live

            self._live = Live(console=self._console, transient=True, refresh_per_second=12)
            self._live.start()
        self._live.update(_markdown(self._pending))

    def _end_live(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None


def finished_blocks(text: str) -> tuple[str, str]:
    """Split Markdown after its last blank line outside of a fenced block: what will not change, and the rest."""
    end = position = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        position += len(line)
        start = line.strip()[:3]
        if start in _FENCES and (not fence or start == fence):
            fence = "" if fence else start
        elif not fence and not line.strip() and line.endswith("\n"):
            end = position
    return text[:end], text[end:]


def _markdown(text: str) -> Any:
    from rich.markdown import Markdown

    # A link shows where it leads, behind its text: a model may have been talked into a misleading one.
    return Markdown(text, hyperlinks=False)
