"""What is noted at the door of /star: who was turned away and why, and which connections were let in.

Counted in memory, written every few seconds beside the requests, and told to the site (`MCPAPP["CONNECTION_FACTS"]`),
which can join it with what it knows of how the connection came about.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Literal, Protocol

from django.db import close_old_connections, connections, router, transaction
from django.db.models import F

from mcpapp import conf
from mcpapp.identity import Identity
from mcpapp.models import FINE, Outcome, Refusal
from mcpapp.request_headers import RequestHeaders

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
MAXIMUM_WAITING = 200
"""Kinds of refusals that are told apart between two writes; those of further callers are counted without the caller."""
MAXIMUM_ROWS_IN_AN_HOUR = 500
"""Rows that one process makes in an hour, for the same reason: anybody can send from many addresses."""
MAXIMUM_EXPLAINED = 50
"""Tokens that are looked up between two writes to say why they were refused."""
_TOLD_AGAIN_SECONDS = 60.0

Reason = Refusal.Reason


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened to a connection, or to a caller who has none."""

    kind: Literal["accepted", "answered", "failed", "refused"]
    """A token was let in, a call of a tool ended well, or in another way, or a request was turned away."""
    at: datetime
    client_id: str = ""
    """Of the token, where it is known whose it is."""
    user_key: str = ""
    """The primary key of the person, as text."""
    ip_address: str = ""
    user_agent: str = ""
    reason: str = ""
    """A value of `Refusal.Reason`, or of `Outcome` for a call that failed."""
    detail: str = ""


class Explanation(Protocol):
    """What the attribute `explain` of a `TOKEN_LOOKUP` returns: why it does not find a token."""

    @property
    def reason(self) -> str:
        """A value of `Refusal.Reason`."""

    @property
    def client_id(self) -> str:
        """The client that the token was issued to."""

    @property
    def user_key(self) -> str:
        """The primary key of the person, as text."""


@dataclass(slots=True)
class _Count:
    fact: Fact
    requests: int = 0
    token: str = field(default="", repr=False)


class DoorLog:
    """The log of one process; `running` writes it."""

    def __init__(self) -> None:
        self._refusals: dict[Hashable, _Count] = {}
        self._facts: list[Fact] = []
        self._told_at: dict[Hashable, float] = {}
        self._hour: datetime | None = None
        self._rows: set[Hashable] = set()
        self._is_running = False
        self.counts: Counter[str] = Counter()
        """All that were turned away since the start, by reason."""
        self._listens = conf.connection_facts() is not None
        self._first_answer = self._tell_answered  # made once: it is looked up for each call

    # --- On the event loop ------------------------------------------------------------------------------------

    def refused(self, reason: Reason, headers: RequestHeaders, error: Exception | None = None) -> None:
        """Count a request that was turned away; `error` is why its token was refused, if it had one."""
        self.counts[reason.value] += 1
        if not self._is_running:
            return
        agent = (headers.get(b"user-agent") or "")[:120]
        address = _normal(headers.client[0]) if headers.client else ""
        client_id, token = str(getattr(error, "client_id", ""))[:255], str(getattr(error, "token", ""))
        key = (reason, address, agent, client_id, hash(token) if token else 0)
        count = self._refusals.get(key)
        if count is None:
            if len(self._refusals) >= MAXIMUM_WAITING:
                address = agent = client_id = token = ""
                key = (reason, "", "", "", 0)
            fact = Fact(
                "refused",
                _now(),
                client_id=client_id,
                user_key=str(getattr(error, "user_key", "")),
                ip_address=address,
                user_agent=_printable(agent),
                reason=reason.value,
                detail=_printable(str(error or ""))[:255],
            )
            count = self._refusals.setdefault(key, _Count(fact, token=token))
        count.requests += 1
        count.fact = replace(count.fact, at=_now())

    def accepted(self, identity: Identity) -> None:
        """Note that a token was let in; called when it was looked up, not for each request."""
        self._tell("accepted", identity)

    def answered(self, identity: Identity, outcome: str | None) -> None:
        """Note how a call of a tool ended; of those that ended well the first with a token.

        One that its client cancelled or left, or that reached no tool, says nothing of the connection.
        """
        if outcome in FINE:
            identity.once(self._first_answer)
        elif outcome is not None and outcome != Outcome.CANCELLED:
            self._tell("failed", identity, outcome)

    def _tell_answered(self, identity: Identity) -> None:
        self._tell("answered", identity)

    def _tell(self, kind: Literal["accepted", "answered", "failed"], identity: Identity, reason: str = "") -> None:
        if not self._listens or not self._is_running or identity.is_anonymous:
            return
        at = _now()
        key = (kind, identity.client_id, identity.user_id)
        if at.timestamp() - self._told_at.get(key, 0) < _TOLD_AGAIN_SECONDS and kind != "answered":
            return
        if len(self._told_at) >= 10_000 or len(self._facts) >= 10_000:
            self._told_at.clear()
            return
        self._told_at[key] = at.timestamp()
        self._facts.append(Fact(kind, at, client_id=identity.client_id, user_key=str(identity.user_id), reason=reason))

    # --- Beside it --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write what is noted meanwhile, and at the end what is left."""
        stop = asyncio.Event()
        self._is_running = True
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mcp-door-log") as thread:
            task = asyncio.create_task(self._write_for_ever(thread, stop))
            try:
                yield
            finally:
                self._is_running = False
                stop.set()
                await task
                await asyncio.get_running_loop().run_in_executor(thread, connections.close_all)

    async def _write_for_ever(self, thread: ThreadPoolExecutor, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            is_last = stop.is_set()
            refusals, self._refusals = self._refusals, {}
            facts, self._facts = self._facts, []
            if refusals or facts:
                try:
                    await loop.run_in_executor(thread, self._write, list(refusals.values()), facts)
                except Exception:
                    # These are hints for the owner of the site; they are not worth waiting for a database.
                    logger.warning("What was noted at the door of /star could not be written.", exc_info=True)
            if is_last:
                return
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await stop.wait()
            except TimeoutError:
                pass

    def _write(self, counts: list[_Count], facts: list[Fact]) -> None:
        close_old_connections()
        try:
            counts = _explained(counts)
            write_refusals([(self._bounded(count.fact), count.requests) for count in counts])
            tell = conf.connection_facts()
            if tell is not None:
                tell([*facts, *(count.fact for count in counts)])
        finally:
            close_old_connections()

    def _bounded(self, fact: Fact) -> Fact:
        """Leave the caller out where this process has made many rows in this hour already."""
        hour = _hour(fact.at)
        if hour != self._hour:
            self._hour, self._rows = hour, set()
        key = _key(fact)
        if key not in self._rows and len(self._rows) >= MAXIMUM_ROWS_IN_AN_HOUR:
            return replace(fact, ip_address="", user_agent="", client_id="", detail="")
        self._rows.add(key)
        return fact


def write_refusals(counts: Sequence[tuple[Fact, int]]) -> None:
    """Add refusals to the rows of their hours.

    Raises:
        django.db.Error: the database does not answer; nothing was written.
    """
    by_key: dict[tuple[Any, ...], tuple[Fact, int]] = {}
    for fact, requests in counts:
        key = (_hour(fact.at), *_key(fact))
        latest, before = by_key.get(key, (fact, 0))
        by_key[key] = (max(fact, latest, key=lambda one: one.at), before + requests)
    alias = router.db_for_write(Refusal)
    rows = Refusal.objects.using(alias)
    with transaction.atomic(using=alias):
        # Always in the same order: two workers that each hold a row the other one waits for would wait for ever.
        for key in sorted(by_key):
            fact, requests = by_key[key]
            names = dict(zip(("hour", "reason", "ip_address", "user_agent", "client_id"), key, strict=True))
            new = {"last_at": fact.at, "detail": fact.detail}
            if not rows.filter(**names).update(**new, requests=F("requests") + requests):
                row, is_new = rows.get_or_create(**names, defaults={**new, "requests": requests})
                if not is_new:  # another worker was faster
                    rows.filter(pk=row.pk).update(**new, requests=F("requests") + requests)


def _explained(counts: list[_Count]) -> list[_Count]:
    """Find out of tokens that no lookup knows whose they were, where a lookup can tell."""
    explainers: list[Callable[[str], Explanation | None]] = [
        explain for lookup in conf.token_lookups() if (explain := getattr(lookup, "explain", None)) is not None
    ]
    left = MAXIMUM_EXPLAINED
    for count in counts:
        token, count.token = count.token, ""
        if not token or not explainers or not left:
            continue
        left -= 1
        for explain in explainers:
            found = explain(token)
            if found is not None:
                # A reason that there is not would make the whole write fail, or show as nothing.
                reason = found.reason if found.reason in Refusal.Reason.values else count.fact.reason
                client_id, user_key = found.client_id[:255], found.user_key
                count.fact = replace(count.fact, reason=reason, client_id=client_id, user_key=user_key)
                break
    return counts


def _key(fact: Fact) -> tuple[str, str, str, str]:
    return (fact.reason, fact.ip_address, fact.user_agent, fact.client_id)


def _now() -> datetime:
    return datetime.now(UTC)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _printable(text: str) -> str:
    # PostgreSQL takes no NUL, and what a stranger sends must not forge lines where it is printed.
    return "".join(character for character in text if character.isprintable())


@lru_cache(maxsize=1024)
def _normal(host: str) -> str:
    """Return an address in its one spelling, without a zone; empty for what is none."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
