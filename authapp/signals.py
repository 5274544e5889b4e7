"""What the authorization server tells the site of, by Django signals, once it is committed."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

happened = Signal()
"""An event was written into the audit trail: `action`, a value of `AuditEvent.Action`."""

tokens_issued = Signal()
"""An access token was issued: `grant`, the `grant_type` of the request (RFC 6749 §4)."""


def send_when_committed(signal: Signal, sender: Any, **facts: str) -> None:
    """Tell of something when the transaction that it happens in is over, and never if that is rolled back."""
    if signal.receivers:
        transaction.on_commit(partial(signal.send_robust, sender=sender, **facts))
