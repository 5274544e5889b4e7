"""Follow attempts to connect a client from request to request: how far each came, and what stopped it.

The requests of one attempt come from a client and from a browser, often from two addresses. What they have in common is
the client identifier, from sign-in on the person, and before a client has an identifier the address it comes from.
The audit trail tells of most stages (`authapp.audit` calls `follow`); the resource server tells of the last ones
(`hear_of`, which its settings name).
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseError
from django.db import router, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from authapp import conf
from authapp.models import Application, AuditEvent, ConnectionAttempt
from authapp.oauthlib_core import basic_client_id
from authapp.throttling import Bucket, address_group

logger = logging.getLogger(__name__)

TOGETHER = timedelta(hours=1)
"""How long a person may take from one request of an attempt to the next."""
STRANGERS = 300
"""Attempts without a person that may begin at once; then one in `_STRANGER_MILLISECONDS`: anybody can send requests."""
_STRANGER_MILLISECONDS = 10_000
_STRANGERS_OF_AN_ADDRESS = 30
_Action = AuditEvent.Action
_STAGE_OF = {
    _Action.CLIENT_REGISTERED: "registered_at",
    _Action.CONSENT_GIVEN: "consented_at",
    _Action.CONSENT_REMEMBERED: "consented_at",
}
_OUR_TOKEN = re.compile(r"star_[\w-]+")
_SECRET = re.compile(rf"{_OUR_TOKEN.pattern}|(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{{30,}}")
_GRANTS = frozenset({"authorization_code", "refresh_token"})
_TOLD = "authapp.attempt"
"""Where a request carries what is known of it, for the view that writes it down; oauthlib's request has it too."""


@dataclass(slots=True)
class Told:
    """Why a request is refused, as its middle knows it. No dict: oauthlib copies those in its headers."""

    problem: str = ""
    user: Any = None


# --- What happens in a request -----------------------------------------------------------------------------------


def discovered(request: HttpRequest) -> None:
    """Note that a client read where to register and to sign in."""
    address = _sender(request.META)["ip_address"]
    if not conf.attempt_days() or address is None or not _is_new(address):
        return
    with _harmless():
        recent = ConnectionAttempt.objects.filter(
            Q(ip_address=address) | Q(client_address=address), last_at__gt=timezone.now() - timedelta(days=1)
        )
        # Clients that are connected read it each time they start.
        if not recent.exists():
            _write(request.META, None, "", "discovered_at")


def shown(request: HttpRequest, application: Application | None, *, leads_to: str) -> None:
    """Note that a person was shown a sound authorization request, or the way to sign in before it."""
    if not conf.attempt_days() or application is None:
        return
    user = request.user if request.user.is_authenticated else None
    stage = "shown_at" if user is None else "signed_in_at"
    with _harmless():
        _write(request.META, application, application.client_id, stage, user=user, detail={"leads_to": leads_to})


def follow(event: AuditEvent, meta: Mapping[str, Any]) -> None:
    """Note what the audit trail was just told, where it is a stage of an attempt; in the same transaction."""
    if not conf.attempt_days():
        return
    if event.action == _Action.CONSENT_REFUSED:
        _write(meta, event.application, event.client_id, problem="consent_refused", user=event.user)
    elif event.action == _Action.TOKEN_ISSUED:
        _token_issued(event)
    elif "by" in event.detail or not meta:
        pass  # staff did it, or a command
    elif (stage := _STAGE_OF.get(_Action(event.action))) is not None:
        _write(meta, event.application, event.client_id, stage, user=event.user)


def stopped(
    request: HttpRequest, problem: str, *, client_id: str = "", user: Any = None, **detail: str | list[str]
) -> None:
    """Note why a request was refused; `problem` is one of `authapp.causes`.

    What the request itself is answered is decided already. A client that is known after all is disabled, or did not
    prove who it is.
    """
    if not conf.attempt_days():
        return
    if user is None and getattr(request, "user", None) is not None and request.user.is_authenticated:
        user = request.user
    with _harmless():
        is_text = "\x00" not in client_id  # PostgreSQL refuses to look for it
        application = Application.objects.filter(client_id=client_id).first() if client_id and is_text else None
        known = client_id if application is not None else ""
        if client_id and not known:
            detail["client_id"] = client_id
        if problem == "unknown_client" and application is not None:
            problem = "client_disabled" if application.disabled_at is not None else "client_authentication"
        _write(request.META, application, known, problem=problem, user=user, detail=_bounded(detail))


def tell(headers: Mapping[str, Any], problem: str, user: Any = None, *, again: bool = False) -> None:
    """Say in the middle of a request why it is refused, if it will be; the first word counts, or one said `again`.

    Args:
        headers: of an oauthlib request.
    """
    told = headers.get(_TOLD)
    if told is not None and (again or not told.problem):
        told.problem, told.user = problem, user


def tokens_refused(request: HttpRequest, response: HttpResponse, told: Told) -> None:
    """Note why the token endpoint refused; `told` is what `listen` returned."""
    if request.POST.get("grant_type") not in _GRANTS:
        return
    try:
        answer = json.loads(response.content)
    except ValueError:
        return
    error = str(answer.get("error", ""))
    client_id = request.POST.get("client_id") or basic_client_id(request)
    if error == "invalid_client":
        problem = "unknown_client"
    elif error == "invalid_grant":
        is_refresh = request.POST.get("grant_type") == "refresh_token"
        problem = "refresh_refused" if is_refresh else (told.problem or "code_refused")
    else:
        problem = f"token_{error}"
    stopped(
        request,
        problem,
        client_id=client_id,
        user=told.user,
        description=str(answer.get("error_description", "")),
        resource=request.POST.getlist("resource"),
    )


def listen(request: HttpRequest) -> Told:
    """Return what `tell` fills while a request is served."""
    told = Told()
    request.META[_TOLD] = told
    return told


# --- What the resource server knows ------------------------------------------------------------------------------


def hear_of(facts: Iterable[Any]) -> None:
    """Take what happened at the resource server (`MCPAPP["CONNECTION_FACTS"]`), in a thread of its own.

    Each fact has `kind` ("accepted", "answered", "failed" or "refused"), `at`, `client_id`, `user_key`, `ip_address`,
    `user_agent`, `reason` and `detail`, all of them text but the time.

    Raises:
        django.db.Error: the database does not answer.
    """
    if not conf.attempt_days():
        return
    without_token: list[Any] = []
    with transaction.atomic(using=router.db_for_write(ConnectionAttempt)):
        for fact in facts:
            if fact.client_id:
                _hear_of_connection(fact)
            elif fact.kind == "refused" and fact.reason == "no_token" and fact.ip_address:
                without_token.append(fact)
        if without_token:  # strangers make many of these: one statement for all
            _hear_of_addresses({fact.ip_address for fact in without_token}, min(fact.at for fact in without_token))


def _hear_of_connection(fact: Any) -> None:
    attempts = ConnectionAttempt.objects.filter(
        client_id=fact.client_id, was_retried=False, token_issued_at__isnull=False, token_issued_at__lte=fact.at
    )
    if fact.user_key:
        attempts = attempts.filter(user_id=fact.user_key)
    if fact.kind == "refused":
        attempts.update(
            problem=f"token_{fact.reason}", problem_at=fact.at, last_at=fact.at, detail={"detail": fact.detail[:255]}
        )
    elif fact.kind == "failed":
        attempts.filter(healthy_at=None).update(
            problem="calls_fail", problem_at=fact.at, last_at=fact.at, detail={"reason": fact.reason}
        )
    elif fact.kind == "accepted":
        attempts.filter(first_call_at=None).update(first_call_at=fact.at, last_at=fact.at)
        attempts.exclude(problem__in=("", "calls_fail")).update(problem="", problem_at=None)
    else:
        attempts.filter(healthy_at=None).update(healthy_at=fact.at, last_at=fact.at)
        attempts.exclude(problem="").update(problem="", problem_at=None)


def _hear_of_addresses(addresses: set[str], at: Any) -> None:
    """Note that clients which fetched tokens come without one: whatever is in between took it away."""
    ConnectionAttempt.objects.filter(
        client_address__in=addresses,
        first_call_at=None,
        was_retried=False,
        token_issued_at__lte=at,
        token_issued_at__gt=at - TOGETHER,
    ).update(problem="authorization_dropped", problem_at=at, last_at=at)


@contextmanager
def _harmless() -> Iterator[None]:
    """Let nobody suffer for what could not be noted."""
    try:
        with transaction.atomic(using=router.db_for_write(ConnectionAttempt)):
            yield
    except DatabaseError:
        logger.warning("An attempt to connect was not noted: the database did not take it.", exc_info=True)


def _is_new(address: str) -> bool:
    """Return whether an address has not read the metadata for a while, as far as this process knows."""
    now = time.monotonic()
    if now - _seen_at.get(address, -_SEEN_SECONDS) < _SEEN_SECONDS:
        return False
    if len(_seen_at) >= 10_000:
        _seen_at.clear()
    _seen_at[address] = now
    return True


_seen_at: dict[str, float] = {}
_SEEN_SECONDS = 600.0


# --- The rows ----------------------------------------------------------------------------------------------------


def _token_issued(event: AuditEvent) -> None:
    """Note that tokens were fetched; those without a person, and those of refreshes, belong to no attempt."""
    if event.user is None:
        return
    found = (
        ConnectionAttempt.objects.filter(
            client_id=event.client_id, user=event.user, consented_at__isnull=False, token_issued_at=None
        )
        .order_by("-last_at")
        .values_list("pk", flat=True)[:1]
    )
    now = timezone.now()
    ConnectionAttempt.objects.filter(pk__in=list(found)).update(
        token_issued_at=now, last_at=now, client_address=event.ip_address, problem="", problem_at=None
    )


def _write(
    meta: Mapping[str, Any],
    application: Application | None,
    client_id: str,
    stage: str = "",
    *,
    problem: str = "",
    user: Any = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write a stage or a problem to the attempt that a request belongs to, or to a new one."""
    now = timezone.now()
    where = _sender(meta)
    attempt = _find(client_id, where["ip_address"], user, stage, problem)
    changed: dict[str, Any] = {"last_at": now}
    if client_id:
        changed |= {"application": application, "client_id": client_id}
        changed |= {"client_name": application.name} if application is not None else {}
    if user is not None:
        changed |= {"user": user, "username": user.get_username()[:254]}
    if stage in {"shown_at", "signed_in_at"}:
        changed["ip_address"] = where["ip_address"]
    if stage:
        changed |= {"problem": "", "problem_at": None, **({"detail": detail} if detail else {})}
        reached = {stage, "shown_at"} if stage == "signed_in_at" else {stage}
        changed |= {field: now for field in reached if attempt is None or getattr(attempt, field) is None}
    if problem:
        before = attempt.problems if attempt is not None else 0
        changed |= {"problem": problem, "problem_at": now, "detail": detail or {}, "problems": before + 1}
    if attempt is not None:
        # Only what this request knows: others, and the resource server, write to the same row.
        ConnectionAttempt.objects.filter(pk=attempt.pk).update(**changed)
    elif user is not None or _may_begin(where["ip_address"]):
        if client_id:
            _open(client_id, where["ip_address"], user).update(was_retried=True)
        ConnectionAttempt.objects.create(**{"started_at": now, **where, **changed})


def _find(client_id: str, address: str | None, user: Any, stage: str, problem: str) -> ConnectionAttempt | None:
    """Return the attempt that a request goes on with."""
    if not client_id:  # by the address alone, while there is no identifier
        return _recent(ConnectionAttempt.objects.filter(client_id="", ip_address=address)).first()
    found = list(_recent(ConnectionAttempt.objects.filter(client_id=client_id, was_retried=False))[:50])
    for attempt in found:
        is_mine = user is not None and attempt.user_id == user.pk
        is_here = address in {attempt.ip_address, attempt.client_address} and (
            attempt.user_id is None or user is None or is_mine
        )
        # A client that registered itself, and whose browser has not come yet, is one installation.
        is_waiting = attempt.shown_at is None and attempt.token_issued_at is None
        # What is refused after tokens were issued is told of that attempt; a new request to sign in begins another.
        is_open = attempt.token_issued_at is None or (bool(problem) and not stage)
        if is_open and (is_mine or is_here or is_waiting):
            return attempt
    if stage == "registered_at":
        return _recent(ConnectionAttempt.objects.filter(client_id="", ip_address=address)).first()
    return None


def _open(client_id: str, address: str | None, user: Any) -> QuerySet[ConnectionAttempt]:
    """Return the attempts that a new one of the same client and person follows."""
    same = Q(ip_address=address, user=None)
    if user is not None:
        same |= Q(user=user)
    return ConnectionAttempt.objects.filter(same, client_id=client_id, was_retried=False)


def _recent(attempts: QuerySet[ConnectionAttempt]) -> QuerySet[ConnectionAttempt]:
    return attempts.filter(last_at__gt=timezone.now() - TOGETHER).order_by("-last_at")


def _may_begin(address: str | None) -> bool:
    """Return whether somebody without an account may make one more row."""
    try:
        return not (
            Bucket(f"authapp:attempts:{address_group(address or '')}", _STRANGERS_OF_AN_ADDRESS, 60_000).take()
            or Bucket("authapp:attempts", STRANGERS, _STRANGER_MILLISECONDS).take()
        )
    except Exception:  # each cache has its own errors, which the limits on registering are loud about
        logger.debug("Attempts to connect are not followed: the cache does not work.", exc_info=True)
        return False


def _sender(meta: Mapping[str, Any]) -> dict[str, Any]:
    from authapp.audit import sender  # which calls this module

    return sender(meta)


def _bounded(detail: dict[str, Any]) -> dict[str, Any]:
    """Return detail of a size that a stranger cannot choose, without what looks like a secret in the wrong place."""

    def text(name: str, value: Any) -> str:
        printable = "".join(character for character in str(value)[:300] if character.isprintable())
        return (_OUR_TOKEN if name == "client_id" else _SECRET).sub("•••", printable)

    return {
        name: [text(name, one) for one in value[:5]] if isinstance(value, list) else text(name, value)
        for name, value in detail.items()
        if value
    }
