"""Ask now and then whether a person's account still counts where it comes from, and end what stood on it if not.

`AUTHAPP["ACCOUNT_CHECK"]` is asked before a refresh, outside of its transaction, about one person at most once in
`ACCOUNT_CHECK_SECONDS`; of parallel requests one asks, and the others go on with what was known. A sign-in from before
the end counts no more, neither for a consent nor for a code that was given meanwhile.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp import audit, conf, families, transactions
from authapp.models import AccountCheck, TokenFamily

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60
"""After how long it is asked again when the answer was not to be had."""
CLAIM_SECONDS = 30
"""For how long nobody else asks about a person whom somebody is asking about."""
ASKED_AT_ONCE = 4

# A provider that answers slowly must not take all threads.
_asking = threading.BoundedSemaphore(ASKED_AT_ONCE)


def before_refresh(refresh_token: str, meta: Mapping[str, Any]) -> int:
    """Ask about the person of a refresh token, if that is due.

    Returns: in how many seconds to come back, where the answer was not to be had for too long; otherwise 0.
    """
    if conf.account_check() is None:
        return 0
    digest = hashlib.sha256(refresh_token.encode()).hexdigest()
    token = get_refresh_token_model().objects.filter(token_checksum=digest).select_related("user").first()
    if token is None or token.user is None or not token.user.is_active:
        return 0
    _ask_if_due(token.user, meta)
    row = AccountCheck.objects.filter(user=token.user).first()
    return RETRY_SECONDS if row is not None and _is_overdue(row) else 0


def confirm(user: Any) -> None:
    """Note that a person's account counts now: they just signed in with it."""
    AccountCheck.objects.update_or_create(user=user, defaults={"next_at": _next(), "unknown_since": None})


def must_sign_in_anew(request: HttpRequest) -> bool:
    """Return whether the person of a request signed in before their account ended, or was lost sight of."""
    if conf.account_check() is None or not request.user.is_authenticated:
        return False
    row = AccountCheck.objects.filter(user=request.user).first()
    if row is None:
        return False
    limits = [row.ended_at, row.unknown_since if _is_overdue(row) else None]
    limit = max((at for at in limits if at is not None), default=None)
    if limit is None:
        return False
    authenticated_at = conf.authenticated_at()(request)
    return authenticated_at is None or authenticated_at <= limit.timestamp()


def ended_since(user: Any, moment: datetime) -> bool:
    """Return whether a person's account has ended since they said yes to something."""
    return conf.account_check() is not None and AccountCheck.objects.filter(user=user, ended_at__gte=moment).exists()


def forgettable(checks: QuerySet[AccountCheck] | None = None) -> QuerySet[AccountCheck]:
    """Return the checks that may be deleted: without them somebody is asked about sooner, and that is all.

    Of an account that ended or was lost sight of the row is what keeps it out; one that is due, or that somebody is
    asking about, is where the answer goes.
    """
    rows = AccountCheck.objects.all() if checks is None else checks
    return rows.filter(ended_at=None, unknown_since=None, next_at__gt=_next(CLAIM_SECONDS))


def forget(keys: Collection[Any]) -> int:
    """Delete of some checks those that may be deleted; return how many."""

    def work() -> int:
        locked = forgettable().filter(pk__in=keys).order_by("pk").select_for_update()
        return AccountCheck.objects.filter(pk__in=[check.pk for check in locked]).delete()[0]

    return transactions.in_transaction(work)


def _next(seconds: int | None = None) -> datetime:
    return timezone.now() + timedelta(seconds=conf.account_check_seconds() if seconds is None else seconds)


def _is_overdue(row: AccountCheck) -> bool:
    grace = timedelta(seconds=conf.account_check_grace_seconds())
    return row.unknown_since is not None and row.unknown_since + grace <= timezone.now()


def _ask_if_due(user: Any, meta: Mapping[str, Any]) -> None:
    check = conf.account_check()
    if check is None or transactions.is_under_way():
        return
    if AccountCheck.objects.filter(user=user, next_at__gt=timezone.now()).exists():
        return
    if not _asking.acquire(blocking=False):
        logger.warning("Nobody is asked about user %s now: too many are.", user.pk)
        return
    try:
        if not _claim(user):
            return
        if not connection.in_atomic_block:
            connection.close()  # given back to the pool: a slow provider must not keep it from everybody else
        try:
            answer = check(user)
        except Exception:  # a fault of the check is no word about the person
            logger.exception("The account check failed for user %s.", user.pk)
            answer = None
    finally:
        _asking.release()
    transactions.in_transaction(lambda: _note(user, answer, meta))


def _claim(user: Any) -> bool:
    """Return whether it is for us to ask: of parallel requests, in all processes, for one of them."""
    try:
        AccountCheck.objects.get_or_create(user=user, defaults={"next_at": timezone.now()})
    except IntegrityError:  # the user was deleted a moment ago
        return False
    due = AccountCheck.objects.filter(user=user, next_at__lte=timezone.now())
    return bool(due.update(next_at=_next(CLAIM_SECONDS)))


def _note(user: Any, answer: bool | None, meta: Mapping[str, Any]) -> None:
    """Keep an answer; end what the person connected where it is no."""
    row = AccountCheck.objects.select_for_update().filter(user=user).first()
    if row is None:
        return
    if answer is None:
        row.unknown_since = row.unknown_since or timezone.now()
        row.next_at = _next(min(RETRY_SECONDS, conf.account_check_seconds()))
        logger.warning("Whether the account of user %s is still good could not be known.", user.pk)
    else:
        row.unknown_since = None
        row.next_at = _next()
    if answer is False:
        row.ended_at = timezone.now()
        ended = families.end_all(TokenFamily.objects.filter(user=user))
        # Those of clients without a refresh token, and those that stood on an organisation's word.
        get_access_token_model().objects.filter(user=user).delete()
        audit.record(audit.Action.ACCOUNT_ENDED, meta, user=user, ended=ended)
        logger.warning("The account of user %s has ended at its provider; connections ended: %d.", user.pk, ended)
    row.save()
