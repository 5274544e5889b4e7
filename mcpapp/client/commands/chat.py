"""`star chat [URL…]`: the command line of a chat."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcpapp.client import console
from mcpapp.client.failures import UsageFailure
from mcpapp.client.options import Options, takes_options
from mcpapp.client.servers import chosen

if TYPE_CHECKING:
    from mcpapp.client.chat.providers import TokenProvider

MAX_QUESTION = 1_000_000  # characters from stdin
_MODEL = "Model"
_LIMITS = "What it may do"
_KEPT = "What is kept"


@takes_options
def chat(
    urls: Annotated[
        list[str] | None, typer.Argument(metavar="URL", help="Of MCP servers whose tools the model may use.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", "-p", metavar="TEXT", help="Answer this and end. Without a terminal stdin is taken."),
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME", envvar="STAR_MODEL", help="Its name.", rich_help_panel=_MODEL),
    ] = "",
    base_url: Annotated[
        str,
        typer.Option(
            "--base-url", metavar="URL", help="Of another endpoint that speaks the same.", rich_help_panel=_MODEL
        ),
    ] = "",
    key_env: Annotated[
        str,
        typer.Option(
            "--key-env",
            metavar="VARIABLE",
            help="The variable with the key: OPENAI_API_KEY, with --azure AZURE_OPENAI_API_KEY, with --base-url none.",
            rich_help_panel=_MODEL,
        ),
    ] = "",
    azure: Annotated[
        str,
        typer.Option(
            "--azure", metavar="URL", help="The endpoint of an Azure OpenAI resource.", rich_help_panel=_MODEL
        ),
    ] = "",
    deployment: Annotated[
        str, typer.Option("--deployment", metavar="NAME", help="Of the model there.", rich_help_panel=_MODEL)
    ] = "",
    api_version: Annotated[
        str,
        typer.Option("--api-version", metavar="DATE", help="A dated one, for older resources.", rich_help_panel=_MODEL),
    ] = "",
    azure_entra: Annotated[
        bool,
        typer.Option(
            "--azure-entra",
            help="A token of Entra ID in place of a key; AZURE_TENANT_ID and AZURE_CLIENT_ID say whose.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    model_timeout: Annotated[
        float,
        typer.Option("--model-timeout", metavar="SECONDS", min=1, help="Seconds of silence.", rich_help_panel=_MODEL),
    ] = 120,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Call every tool without asking.", rich_help_panel=_LIMITS)
    ] = False,
    ask_all: Annotated[bool, typer.Option("--ask-all", help="Ask before every call.", rich_help_panel=_LIMITS)] = False,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool", metavar="NAME", help="Only this tool, or those like list-*; repeatable.", rich_help_panel=_LIMITS
        ),
    ] = None,
    max_rounds: Annotated[
        int,
        typer.Option(
            "--max-rounds", metavar="NUMBER", min=1, max=1000, help="Of calls for one answer.", rich_help_panel=_LIMITS
        ),
    ] = 20,
    max_result: Annotated[
        int,
        typer.Option(
            "--max-result", metavar="NUMBER", min=100, help="Characters of a tool's result.", rich_help_panel=_LIMITS
        ),
    ] = 32_000,
    transcript: Annotated[
        Path | None,
        typer.Option("--transcript", metavar="FILE", help="A new file that gets each line.", rich_help_panel=_KEPT),
    ] = None,
    resumed: Annotated[
        Path | None, typer.Option("--continue", metavar="FILE", help="Go on with a transcript.", rich_help_panel=_KEPT)
    ] = None,
    price_in: Annotated[
        float | None,
        typer.Option("--price-in", metavar="PRICE", min=0, help="Of a million tokens in.", rich_help_panel=_KEPT),
    ] = None,
    price_out: Annotated[
        float | None,
        typer.Option("--price-out", metavar="PRICE", min=0, help="Of a million tokens out.", rich_help_panel=_KEPT),
    ] = None,
    *,
    options: Options,
) -> None:
    """Talk to a language model that uses the tools of servers. It asks before a tool changes anything."""
    with console.ending():
        if yes and ask_all:
            raise UsageFailure("--yes and --ask-all say the opposite.", "Give one of them.")
        question = prompt if prompt is not None or sys.stdin.isatty() else sys.stdin.read(MAX_QUESTION + 1)
        if question is not None and not question.strip():
            raise UsageFailure("There is no question.", "Give one with --prompt, or on stdin.")
        if question is not None and len(question) > MAX_QUESTION:
            raise UsageFailure(f"The question has more than {MAX_QUESTION} characters.", "Ask about less.")
        try:
            import openai  # noqa: F401  (an extra of its own)
        except ImportError:
            raise UsageFailure("`star chat` needs one more package.", "Install it: pip install openai") from None
        from mcpapp.client.chat import talk
        from mcpapp.client.chat.consent import Policy
        from mcpapp.client.chat.providers import Endpoint
        from mcpapp.client.chat.usage import Prices

        talk.talk(
            talk.Settings(
                urls=list(dict.fromkeys(urls)) if urls else [chosen(None, options)],
                endpoint=Endpoint(model, base_url, azure, deployment, api_version, key_env, model_timeout),
                options=options,
                question=question,
                policy=Policy.NONE if yes else Policy.ALL if ask_all else Policy.DESTRUCTIVE,
                patterns=tool or (),
                max_rounds=max_rounds,
                result_limit=max_result,
                prices=Prices(price_in, price_out),
                transcript=transcript,
                resumed=resumed,
                token=_token_provider(azure, options) if azure_entra else None,
            )
        )


def _token_provider(azure: str, options: Options) -> TokenProvider:
    if not azure:
        raise UsageFailure("--azure-entra is for Azure OpenAI.", "Name the resource with --azure.")
    from mcpapp.client.chat.providers import AZURE_SCOPE
    from mcpapp.client.entra import token_provider

    return token_provider(AZURE_SCOPE, options)
