"""While a call runs: its progress on stderr, the server's log where it is wanted, and the server's questions."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from mcpapp.client import console
from mcpapp.client.options import Options
from mcpapp.client.visible import one_line

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.client.context import ClientRequestContext
    from rich.progress import Progress, TaskID


class During:
    """Shows what a server tells while a request is under way; used as a context around the request."""

    def __init__(self, url: str, options: Options) -> None:
        self.url = url
        self.options = options
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> During:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def client_arguments(self) -> dict[str, Any]:
        """What to give to the SDK's client, so that it tells."""
        arguments: dict[str, Any] = {"elicitation_callback": self.question}
        if self.options.verbose:
            arguments |= {"logging_callback": self.log, "log_level": "debug"}
        return arguments

    def pause(self) -> None:
        """Take the bar from the screen; the next progress brings it back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Show how far the server is."""
        said = one_line(message or "", 100)
        if not console.err.is_terminal:
            if self.options.verbose:
                console.err.print(f"{progress:g}{'' if total is None else f' of {total:g}'} {said}".rstrip())
            return
        if self._bar is None or self._task is None:
            self._bar = _new_bar()
            self._task = self._bar.add_task("", total=total, said=said)
            self._bar.start()
        self._bar.update(self._task, completed=progress, total=total, said=said)

    async def log(self, message: types.LoggingMessageNotificationParams) -> None:
        """Show a line of the server's log."""
        data = message.data if isinstance(message.data, str) else str(message.data)
        name = f" {one_line(message.logger, 60)}" if message.logger else ""
        console.err.print(f"{message.level}{name}: {one_line(data, 1000)}", style="dim")

    async def question(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        """Ask the person what the server wants to know."""
        from mcpapp.client.questions import answer

        self.pause()
        return await answer(self.url, params, self.options)


def _new_bar() -> Progress:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    said = TextColumn("{task.fields[said]}", markup=False)
    return Progress(
        BarColumn(),
        TaskProgressColumn(),
        said,
        console=console.err,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
