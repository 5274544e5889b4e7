"""The cache that several workers share: Redis, and while Redis is away the memory of each process.

Limits on guessing and registering are counted here. Without this, a Redis that is away would be answered by 500
wherever django-allauth counts; and to forget the limits meanwhile would let people guess.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""For how long Redis is not asked after it did not answer."""
MAXIMUM_ENTRIES = 100_000
"""In memory; as in config/settings.py without Redis."""

# A command that is not answered in this time costs a person the wait once, and then nobody for `RETRY_SECONDS`. The
# library's own way is to try again for several seconds, for each command.
_CONNECTION = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}

_ANSWER_SECONDS = 2 * sum(_CONNECTION.values())
"""How long it may take to find out that Redis does not answer: it is asked twice."""

_turn = threading.Lock()
_away_until: dict[str, float] = {}
"""By server. Django makes a cache for each thread, and what one has found out is true for all."""


def _either(name: str) -> Callable[..., Any]:
    """Return a method of a cache that asks Redis, or the memory while Redis is away."""

    def method(self: RedisOrMemory, *arguments: Any, **options: Any) -> Any:
        if self._is_worth_asking():
            try:
                answer = getattr(super(RedisOrMemory, self), name)(*arguments, **options)
            except (RedisError, OSError) as error:
                self._miss(error)
            else:
                self._find()
                return answer
        return getattr(self.memory, name)(*arguments, **options)

    return method


class RedisOrMemory(RedisCache):
    """Django's Redis cache, with the memory of this process in its place while it does not answer."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        options = {**_CONNECTION, "retry": Retry(NoBackoff(), 1), **params.get("OPTIONS", {})}
        super().__init__(server, {**params, "OPTIONS": options})
        self.server = str(server)
        self.memory = LocMemCache(f"instead of {server}", {**params, "OPTIONS": {"MAX_ENTRIES": MAXIMUM_ENTRIES}})

    get = _either("get")
    set = _either("set")
    add = _either("add")
    touch = _either("touch")
    delete = _either("delete")
    incr = _either("incr")  # and so `decr`
    has_key = _either("has_key")
    get_many = _either("get_many")
    set_many = _either("set_many")
    delete_many = _either("delete_many")
    clear = _either("clear")

    def _is_worth_asking(self) -> bool:
        """Return whether Redis answered lately, or it is this thread's turn to find out: the others do not wait."""
        away_until, now = _away_until.get(self.server), monotonic()
        if away_until is None:
            return True
        with _turn:
            if now < _away_until.get(self.server, 0.0):
                return False
            if self.server in _away_until:
                _away_until[self.server] = now + _ANSWER_SECONDS
            return True

    def _miss(self, error: Exception) -> None:
        if self.server not in _away_until:
            logger.warning("Redis does not answer (%s); each process counts by itself meanwhile.", error)
        _away_until[self.server] = monotonic() + RETRY_SECONDS

    def _find(self) -> None:
        if _away_until and _away_until.pop(self.server, None) is not None:
            logger.warning("Redis answers again.")
