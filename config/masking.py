"""Take secrets out of text that is about to be logged or traced: the last net, under code that never tells them.

By its looks a secret is found where it has a name (`client_secret=…`), where it stands (after `Bearer`, behind the
question mark of a URL), or where it is as random as tokens, codes and session keys are. A short password in a sentence
is not found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "•••"
MAXIMUM_LENGTH = 20_000
"""Characters of one text that are kept: whoever makes a long one, looking at it must not take seconds."""

_SECRET_NAME = re.compile(
    r"token|secret|passw|passphrase|api_?-?key|credential|private_?key|verifier|csrf|assertion"
    r"|\A(?:code|device_code|user_code|state|nonce|sid|sessionid|session_key|pwd|otp|pin|signature|login_hint"
    r"|id_token_hint)\Z",
    re.IGNORECASE,
)
_STRING = r"""(?:"(?:[^"\\\n]|\\.)*+"|\\++"[^"\n]*+"|'(?:[^'\\\n]|\\.)*+')"""
# Each pattern looks at a character a bounded number of times: strangers choose some of what is logged.
_HEADER = re.compile(
    r"""(?ix) \b ( (?: proxy-|http_)? (?: authorization | (?:set-)?cookie ) ) \b (['"]? \s{0,4} (?:[:=,]|\s) \s{0,4} )
    b? (?: """
    + _STRING
    + r""" | [^\n]++ )"""
)
"""A line of a header, in its own spelling, as `name: value`, or as an item of a list of pairs."""
_SCHEME = re.compile(r"\b(bearer|basic|dpop)(\s{1,4})[A-Za-z0-9._~+/=-]{4,}+", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z ]{1,40}-----(?:(?!-----END).)*+(?:-----END [A-Z ]{1,40}-----)?", re.DOTALL)
_CHUNK = re.compile(r"""[^\s"'<>]++""")
_PASSWORD_IN_URL = re.compile(r"://([^/\s:@]{0,100}):[^/\s@]{1,500}@")
_KEY_IN_PATH = re.compile(r"(/key/)[^/\s]+")
"""The keys of links that set a password, and the like."""
_HEAD = re.compile(
    r"""(?<![\w-])([\w-]++)\\*+['"]?\s{0,4}(?:=|:(?!//))\s{0,4}"""
    r"""|[(\[]b?['"]([\w-]++)['"]\s{0,4},\s{0,4}"""
)
"""What stands before a value that has a name: `name=`, `"name": `, and `("name", ` in a list of pairs."""
_VALUE = re.compile(r"b?(?:" + _STRING + r"""|[^\s,;&)\]}'"]++)""")
_JWT = re.compile(r"\beyJ[\w.-]{6,}+")
_RUN = re.compile(r"[A-Za-z0-9_-]{20,}")
_CLIENT_ID = re.compile(r"[A-Za-z0-9]{40}")
"""As django-oauth-toolkit makes them: what a log of an authorization server is read by, and no secret."""
_NO_SECRET = re.compile(
    r"[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # ids of requests and traces, UUIDs
)
_SEGMENT = re.compile(r"[0-9]+|[0-9a-f]{16}|([A-Za-z]+)[0-9]{0,4}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LONGEST_WORD = 24


def masked(text: str) -> str:
    """Return a text without what looks like a secret."""
    if len(text) > MAXIMUM_LENGTH:
        text = _shortened(text)
    text = _PEM.sub(MASK, text)
    text = _HEADER.sub(rf"\1\2{MASK}", text)
    text = _SCHEME.sub(rf"\1\2{MASK}", text)
    text = _CHUNK.sub(_without_query, text)
    text = _without_named(text)
    return _RUN.sub(_masked_run, _JWT.sub(MASK, text))


def _without_query(match: re.Match[str]) -> str:
    """Take out of whatever has a path its query and fragment, and passwords."""
    chunk = match[0]
    if "/" not in chunk:
        return chunk
    before, mark, after = chunk.partition("?") if "?" in chunk else chunk.partition("#")
    if mark and after and "/" in before:
        chunk = f"{before}?{MASK}"
    return _KEY_IN_PATH.sub(rf"\1{MASK}", _PASSWORD_IN_URL.sub(rf"://\1:{MASK}@", chunk))


def _without_named(text: str) -> str:
    """Take out the values whose names are those of secrets, also within the values of others."""
    kept: list[str] = []
    done = 0
    for head in _HEAD.finditer(text):
        if head.start() < done or not _SECRET_NAME.search((head[1] or head[2])[:200]):
            continue
        value = _VALUE.match(text, head.end())
        if value is not None:
            kept += [text[done : head.end()], MASK]
            done = value.end()
    return "".join([*kept, text[done:]])


def _shortened(text: str) -> str:
    """Return its beginning and its end, where an exception says what it is; no half of a secret at the cuts."""
    begin, end = text[: MAXIMUM_LENGTH // 2], text[-MAXIMUM_LENGTH // 2 :]
    return f"{begin[: begin.rfind(' ') + 1]}…{end[end.find(' ') :] if ' ' in end else ''}"


def masked_value(value: Any, depth: int = 0) -> Any:
    """Return any value for a log or a span, its texts without secrets; what is no plain value as its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return masked(value)
    if depth < 4 and isinstance(value, Mapping):
        # With its name before it, for what is a secret by its name alone.
        return {masked(str(key)): _named(str(key), item, depth + 1) for key, item in value.items()}
    if depth < 4 and isinstance(value, list | tuple | set | frozenset):
        return [masked_value(item, depth + 1) for item in value]
    return masked(str(value))


def _named(name: str, value: Any, depth: int) -> Any:
    if isinstance(value, str | bytes) and masked(f"{name}: '-'") != f"{name}: '-'":
        return MASK
    return masked_value(value, depth)


def _masked_run(match: re.Match[str]) -> str:
    run = match[0]
    if _NO_SECRET.fullmatch(run) or _CLIENT_ID.fullmatch(run):
        return run
    return run if all(_is_word(segment) for segment in re.split("[_-]+", run) if segment) else MASK


def _is_word(segment: str) -> bool:
    """Return whether a part of a name is a number, a short id, or words: random letters change their case often."""
    found = _SEGMENT.fullmatch(segment)
    if found is None:
        return False
    letters = found[1] or ""
    words = _WORD.findall(letters)
    are_words = len(letters) <= 8 or len(letters) >= (3 if len(letters) <= 16 else 5) * len(words)
    return are_words and max(map(len, words), default=0) <= _LONGEST_WORD
