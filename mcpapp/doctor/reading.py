"""Read what strangers answer: challenges, documents, pages, events. Nothing here trusts a type or an end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from socket import inet_aton
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from mcpapp.doctor.web import Answer

_SCHEME = re.compile(r"""(?:^|,)\s*([A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*)(?=\s+[A-Za-z]|\s*$|\s*,)""")
_PARAMETER = re.compile(r"""([A-Za-z][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))""")
_TAG = re.compile(r"<[^>]*>")
MAXIMUM_HEADER = 4096
"""Of a challenge; more is not read."""
_EVENT_END = re.compile(rb"\r?\n\r?\n")


def schemes(header: str) -> list[str]:
    """Return the schemes of a WWW-Authenticate header (RFC 9110 §11.6.1), in lower case."""
    return [match[1].lower() for match in _SCHEME.finditer(header[:MAXIMUM_HEADER])]


def bearer_parameters(header: str) -> dict[str, str]:
    """Return the parameters of the Bearer challenge in a header; those of a challenge before it are left out."""
    header = header[:MAXIMUM_HEADER]
    _, found, rest = header.partition("Bearer") if "Bearer" in header else header.lower().partition("bearer")
    if not found:
        return {}
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(rest):
        parameters.setdefault(match[1].lower(), match[2] if match[2] is not None else match[3])
    return parameters


def texts(document: Mapping[str, Any], name: str) -> list[str]:
    """Return the strings of a member that should be a list of strings."""
    value = document.get(name)
    return [_encodable(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []


def text(document: Mapping[str, Any], name: str) -> str:
    """Return a member that should be a string; "" if it is none."""
    value = document.get(name)
    return _encodable(value) if isinstance(value, str) else ""


def _encodable(value: str) -> str:
    """Return a text that can be sent: JSON can have halves of characters."""
    return value.encode("utf-8", "replace").decode()


def is_page(answer: Answer) -> bool:
    """Return whether an answer is an HTML page."""
    return answer.content_type in ("text/html", "application/xhtml+xml")


def described(answer: Answer) -> str:
    """Return an answer in a few words. Of a body it shows a title or an error, never the whole: it may hold tokens."""
    said = f"{answer.status}"
    if location := answer.headers.get("location"):
        said += f" to {without_query(location)}"
    if is_page(answer):
        title = title_of(answer)
        return f"{said}, a page “{title}”" if title else f"{said}, an HTML page"
    error = error_of(answer.document)
    if error:
        return f"{said}, {error}"
    return said if answer.content_type in ("application/json", "") else f"{said}, {answer.content_type}"


def title_of(answer: Answer) -> str:
    """Return the title of a page, or of what it has in its place; in linear time, whatever the page is."""
    page = answer.text
    begin = page.lower().find("<title")
    begin = page.find(">", begin) + 1 if begin >= 0 else 0
    end = page.lower().find("</title", begin) if begin else -1
    return cut(" ".join(_TAG.sub(" ", cut(page[begin:end], 300)).split()), 80) if end > 0 else ""


def joined(base: str, url: str) -> str:
    """Return a URL that a page or a redirect names; "" of what is none."""
    try:
        whole = urljoin(base, url)
        _ = urlsplit(whole).port
    except ValueError:
        return ""
    return whole


def error_of(document: Mapping[str, Any]) -> str:
    """Return the error that a JSON answer of OAuth or JSON-RPC is about; "" for none."""
    error = document.get("error")
    if isinstance(error, dict):
        return f"error {error.get('code')}: {cut(str(error.get('message')), 200).rstrip('.')}"
    if isinstance(error, str):
        description = text(document, "error_description")
        error = cut(error, 60)
        return f"{error} ({cut(description, 200).rstrip('.')})" if description else error
    return cut(text(document, "detail"), 200).rstrip(".")


def cut(said: str, most: int) -> str:
    """Return the beginning of a text, in whole words: of a secret that is cut, the rest would not be known as one."""
    if len(said) <= most:
        return said
    words = said[: most + 1].rstrip() if said[most].isspace() else " ".join(said[:most].split()[:-1])
    return f"{words} …".lstrip()


def without_query(url: str) -> str:
    """Return a URL without what may be secret in it."""
    return re.split(r"[?#]", url, maxsplit=1)[0]


def origin_of(url: str) -> str:
    """Return scheme and host of a URL; "" of what is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this machine, in whichever spelling."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        try:
            address = IPv4Address(inet_aton(host))  # as 127.1, which connects too
        except (OSError, UnicodeError):
            return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def may_ask(url: str, target: str) -> bool:
    """Return whether a URL out of the document of a stranger, who is at the target, may be asked.

    It must be encrypted unless what is examined is not, and does not lead to this machine from elsewhere.
    """
    try:
        parts, own = urlsplit(url), urlsplit(target)
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("https", own.scheme) or not parts.hostname:
        return False
    if parts.scheme == "http" and parts.hostname != own.hostname and not is_loopback(url):
        return False
    return not is_loopback(url) or is_loopback(target)


def is_encrypted(url: str) -> bool:
    """Return whether a URL is https, or http to this machine."""
    return url.startswith("https://") or (url.startswith("http://") and is_loopback(url))


def query_of(url: str) -> dict[str, str]:
    """Return the parameters of a URL."""
    try:
        return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    except ValueError:
        return {}


def message_of(answer: Answer) -> dict[str, Any]:
    """Return the JSON-RPC response in an answer, which comes as JSON or as an event; {} if there is none."""
    if answer.content_type != "text/event-stream":
        return answer.document
    return response_in(answer.body) or {}


def response_in(stream: bytes) -> dict[str, Any] | None:
    """Return the response among the whole events of a stream so far."""
    for event in _EVENT_END.split(stream)[:-1]:
        lines = [line for line in event.splitlines() if line.startswith(b"data:")]
        try:
            message = json.loads(b"\n".join(line.removeprefix(b"data:") for line in lines))
        except (ValueError, RecursionError):
            continue
        if isinstance(message, dict) and ("result" in message or "error" in message):
            return message
    return None
