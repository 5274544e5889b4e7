"""Calls that were made."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from mcpapp.models import ToolCall

LIST = "/admin/mcpapp/toolcall/"
"""The list of them in the admin."""


def made(**changes: Any) -> ToolCall:
    known = {
        "at": timezone.now(),
        "user_key": "1",
        "username": "alice",
        "client_id": "client-1",
        "client_name": "Cursor",
        "tool": "my-orders",
        "outcome": "ok",
        "duration_us": 1500,
        "request_bytes": 300,
        "response_bytes": 1200,
        "arguments": '["limit"]',
    }
    return ToolCall.objects.create(**known | changes)
