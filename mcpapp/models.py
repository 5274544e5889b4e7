"""What is kept of calls of tools. Written by `mcpapp.call_log`, in batches; nothing here is ever changed by hand.

No row refers to a table of another app: people, clients and connections are named as their site names them, so that a
row still says who and what after they are gone, and deleting a person never waits for millions of rows.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Outcome(models.TextChoices):
    """How a call ended."""

    OK = "ok", _("answered")
    ASKED = "asked", _("asked the person something first")
    FAILED = "failed", _("the tool said it could not")
    CRASHED = "crashed", _("the tool crashed")
    TIMED_OUT = "timed_out", _("took too long")
    CANCELLED = "cancelled", _("the client cancelled or left")
    INVALID = "invalid", _("not a call the tool takes")
    DENIED = "denied", _("this person may not")
    NEEDS_SCOPES = "needs_scopes", _("needs a scope that was not granted")
    OVERLOADED = "overloaded", _("too much under way")


class ToolCall(models.Model):
    """One call of a tool (MCP `tools/call`). Appended once, deleted when it is old."""

    at = models.DateTimeField(_("at"))
    user_key = models.CharField(_("user ID"), max_length=64, blank=True)
    """The primary key of the person as text; empty for a caller who has not signed in."""
    username = models.CharField(_("user name"), max_length=150, blank=True)
    client_id = models.CharField(_("client ID"), max_length=255, blank=True)
    client_name = models.CharField(_("client name"), max_length=255, blank=True)
    connection_key = models.CharField(_("connection"), max_length=64, blank=True)
    """The consent that the token was issued under, as its site names it."""
    tool = models.CharField(_("tool"), max_length=128)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices)
    duration_us = models.PositiveBigIntegerField(_("duration in µs"))
    request_bytes = models.PositiveIntegerField(_("request bytes"))
    response_bytes = models.PositiveIntegerField(_("response bytes"))
    protocol_version = models.CharField(_("protocol version"), max_length=16, blank=True)
    request_id = models.CharField(_("request ID"), max_length=64, blank=True)
    """The client's own (JSON-RPC `id`)."""
    arguments = models.TextField(_("arguments"), blank=True)
    """JSON: an object of arguments, a list of their names, or nothing, as the policy has it."""

    class Meta:
        verbose_name = _("tool call")
        verbose_name_plural = _("tool calls")
        ordering = ("-id",)
        indexes = (
            models.Index(fields=["at"], name="mcpapp_call_at"),
            models.Index(fields=["username", "-id"], name="mcpapp_call_username"),
            models.Index(fields=["client_id", "-id"], name="mcpapp_call_client"),
            models.Index(fields=["tool", "-id"], name="mcpapp_call_tool"),
            models.Index(fields=["-id"], condition=~models.Q(outcome="ok"), name="mcpapp_call_not_ok"),
        )

    def __str__(self) -> str:
        return f"{self.tool} #{self.pk}"


class CallCount(models.Model):
    """How many calls there were in an hour, of one tool by one client with one outcome, and how long they took."""

    DROPPED = "dropped"
    """The outcome of what was not written, under overload; tool and client are empty then."""

    hour = models.DateTimeField(_("hour"))
    tool = models.CharField(_("tool"), max_length=128, blank=True)
    client_id = models.CharField(_("client ID"), max_length=255, blank=True)
    client_name = models.CharField(_("client name"), max_length=255, blank=True)
    outcome = models.CharField(_("outcome"), max_length=16)
    calls = models.PositiveBigIntegerField(_("calls"))
    total_us = models.PositiveBigIntegerField(_("duration of all in µs"))
    longest_us = models.PositiveBigIntegerField(_("duration of the longest in µs"))

    class Meta:
        verbose_name = _("calls in an hour")
        verbose_name_plural = _("calls in hours")
        constraints = (
            models.UniqueConstraint(fields=["hour", "tool", "client_id", "outcome"], name="mcpapp_call_count_key"),
        )

    def __str__(self) -> str:
        return f"{self.tool} {self.hour:%Y-%m-%d %H}"


class ConnectionUsage(models.Model):
    """How often a connection was used, and when last."""

    connection_key = models.CharField(_("connection"), max_length=64, unique=True)
    calls = models.PositiveBigIntegerField(_("calls"))
    last_call_at = models.DateTimeField(_("last call"), db_index=True)

    class Meta:
        verbose_name = _("use of a connection")
        verbose_name_plural = _("use of connections")

    def __str__(self) -> str:
        return f"{self.connection_key}: {self.calls}"
