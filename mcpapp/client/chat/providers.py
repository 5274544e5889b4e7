"""Where the model is: OpenAI, Azure OpenAI, or any endpoint that speaks the same, and what is shown to it as a key."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcpapp.client.failures import UsageFailure

if TYPE_CHECKING:
    from openai import AsyncOpenAI

AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"
OPENAI_KEY = "OPENAI_API_KEY"
AZURE_KEY = "AZURE_OPENAI_API_KEY"


@dataclass(frozen=True)
class Endpoint:
    """Where the model is, as the command line says it.

    `azure` is the URL of an Azure OpenAI resource, `api_version` one of its dated versions, "" for the one without a
    date. `key_env` names the variable that holds the key; a key is never on the command line, where others see it.
    `timeout` is how long the endpoint may be silent, in seconds.
    """

    model: str = ""
    base_url: str = ""
    azure: str = ""
    deployment: str = ""
    api_version: str = ""
    key_env: str = ""
    timeout: float = 120.0

    @property
    def name(self) -> str:
        """Return what the requests name as the model. Raises: UsageFailure where nothing is named."""
        if self.azure and self.base_url:
            raise UsageFailure("--azure and --base-url are two places.", "Give one of them.")
        if name := (self.deployment or self.model if self.azure else self.model):
            return name
        if self.azure:
            raise UsageFailure("Which deployment?", "Name it with --deployment.")
        raise UsageFailure("Which model?", "Name one with --model, or in the variable STAR_MODEL.")

    def key(self) -> str:
        """Return the key from the environment, "" where there is none.

        An endpoint that is named with --base-url is shown only the key that --key-env names: the one for OpenAI is not
        everybody's.
        """
        if self.key_env:
            return os.environ.get(self.key_env, "")
        if self.base_url:
            return ""
        return os.environ.get(AZURE_KEY if self.azure else OPENAI_KEY, "")


TokenProvider = Callable[[], Awaitable[str]]


def open_client(endpoint: Endpoint, token: TokenProvider | None = None) -> AsyncOpenAI:
    """Return a client for the endpoint; `token` gets a token of Microsoft Entra ID for it and comes before a key.

    Raises: UsageFailure where a key is missing, or would go over the network unencrypted.
    """
    from openai import AsyncAzureOpenAI, AsyncOpenAI

    key = endpoint.key()
    if endpoint.key_env and not key:
        raise UsageFailure(f"The variable {endpoint.key_env} is empty.", "Put the key there.")
    if not key and token is None:
        if endpoint.azure:
            raise UsageFailure("There is no key for Azure OpenAI.", f"Put it into {AZURE_KEY}, or use --azure-entra.")
        if not endpoint.base_url:
            raise UsageFailure("There is no key for OpenAI.", f"Put it into {OPENAI_KEY}.")
    url = endpoint.azure or endpoint.base_url
    if url:
        _check(url, is_secret=bool(key or token))
    # What is tried again, and when, is told to the person: see model.py.
    common: dict[str, Any] = {"timeout": endpoint.timeout, "max_retries": 0}
    if endpoint.azure and endpoint.api_version:
        return AsyncAzureOpenAI(
            azure_endpoint=endpoint.azure,
            azure_deployment=endpoint.name,
            api_version=endpoint.api_version,
            api_key=None if token else key,
            azure_ad_token_provider=token,
            **common,
        )
    if endpoint.azure:
        return AsyncOpenAI(base_url=f"{endpoint.azure.rstrip('/')}/openai/v1/", api_key=token or key, **common)
    if endpoint.base_url:
        # The package insists on a key; an endpoint on one's own machine has none.
        return AsyncOpenAI(base_url=endpoint.base_url, api_key=key or "none", **common)
    return AsyncOpenAI(api_key=key, **common)


def _check(url: str, *, is_secret: bool) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("https", "http"):
        raise UsageFailure("The endpoint of a model is an http or https URL.", "Example: https://api.example.com/v1")
    if is_secret and parts.scheme == "http" and not _is_loopback(host):
        raise UsageFailure("A key is not sent over http to another machine.", "Use https.")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
