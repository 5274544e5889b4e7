"""What may go wrong and is expected to: a sentence, what to do next, and an exit code instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator

EXIT_TOOL_FAILED = 1
EXIT_USAGE = 2
EXIT_SIGN_IN = 3
EXIT_UNREACHABLE = 4
EXIT_CACHE = 5
EXIT_INTERRUPTED = 130


class Failure(Exception):
    """An expected failure: the text says what happened, `hint` what to do next."""

    exit_code = EXIT_TOOL_FAILED

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageFailure(Failure):
    """The command line asks for something that cannot be."""

    exit_code = EXIT_USAGE


class SignInFailure(Failure):
    """The sign-in was refused, given up or not finished in time.

    `code` is the error code of the authorization server (RFC 6749 5.2), "" if it was not the one that refused.
    """

    exit_code = EXIT_SIGN_IN

    def __init__(self, message: str, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class ServerFailure(Failure):
    """The server cannot be reached, or is no MCP server."""

    exit_code = EXIT_UNREACHABLE


class CacheFailure(Failure):
    """The place where sign-ins are kept cannot be used."""

    exit_code = EXIT_CACHE


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of an exception group, and of the groups in it; an error that is no group is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


def _way_out(told: str) -> str:
    """Return what to do after a connection that came to nothing."""
    if "WRONG_VERSION_NUMBER" in told or "HTTP_REQUEST" in told:
        return "It does not speak https there. For a server on this machine write http://; check the port too."
    if "CERTIFICATE_VERIFY_FAILED" in told:
        return "Its certificate is not trusted here. SSL_CERT_FILE names the certificates of an authority of your own."
    return "Is it running? Check the URL with its port, and your network."


def as_failure(error: BaseException) -> Failure | None:
    """Return what an error of the libraries beneath means for a person; None if it is none of the expected ones."""
    found = list(leaves(error))
    for leaf in found:
        if isinstance(leaf, Failure):
            return leaf
    import httpx2
    from pydantic import ValidationError

    from mcpapp.client.sdk import MCPError, OAuthFlowError
    from mcpapp.client.visible import one_line

    for leaf in found:
        told = one_line(str(leaf))
        if isinstance(leaf, OAuthFlowError):
            return SignInFailure(f"The sign-in failed: {told}", "Try `star login URL --verbose` to see each step.")
        if isinstance(leaf, httpx2.TimeoutException):
            return ServerFailure("The server did not answer in time.", "Try again, or check the URL.")
        if isinstance(leaf, httpx2.TransportError):
            return ServerFailure(f"The server cannot be reached: {told}", _way_out(told))
        if isinstance(leaf, httpx2.InvalidURL):
            return UsageFailure(f"This is no URL: {told}")
        if isinstance(leaf, httpx2.HTTPError):
            return ServerFailure(f"The server answered in a way that MCP does not: {told}", "Check the URL.")
    for leaf in found:
        told = one_line(str(leaf))
        if isinstance(leaf, MCPError):
            return Failure(f"The server refused: {told}")
        if isinstance(leaf, ValidationError | RecursionError):
            return ServerFailure("The server answered something that MCP does not know.", "Check the URL.")
    return None
