"""Rows are read after the server has ended, in asgiref's one thread; its connection ends with the test."""

from __future__ import annotations

from tests.mcpapp.threads import connections_closed

__all__ = ["connections_closed"]
