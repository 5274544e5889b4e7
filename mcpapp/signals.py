"""What the resource server tells the site of, by Django signals."""

from __future__ import annotations

from django.dispatch import Signal

token_refused = Signal()
"""An access token was refused: `reason` in few words, `detail` and `issuer` (both may be empty), `resource`.

Sent on the event loop, so receivers must not wait for anything, and no more often than refusals are logged.
"""
