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


FINE = (Outcome.OK.value, Outcome.ASKED.value)
"""How calls end in which nothing went wrong."""


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
        ordering = ("-at", "-id")
        # Each ends with the time: one index finds what is looked for, between two moments, the latest first.
        indexes = (
            models.Index(fields=["at"], name="mcpapp_call_at"),
            models.Index(fields=["username", "at"], name="mcpapp_call_username_at"),
            models.Index(fields=["client_id", "at"], name="mcpapp_call_client_at"),
            models.Index(fields=["tool", "at"], name="mcpapp_call_tool_at"),
            models.Index(fields=["outcome", "at"], condition=~models.Q(outcome="ok"), name="mcpapp_call_not_ok_at"),
        )

    def __str__(self) -> str:
        return f"{self.tool} #{self.pk}"


class CallCount(models.Model):
    """How many calls of a tool ended in one way in an hour, and how long they took.

    By tool and hour alone, so that there are few rows however many clients and people call.
    """

    DROPPED = "dropped"
    """The outcome of what was not written, under overload; the tool is empty then."""

    hour = models.DateTimeField(_("hour"))
    tool = models.CharField(_("tool"), max_length=128, blank=True)
    """Empty for what is no tool of this server: clients can make up any name."""
    outcome = models.CharField(_("outcome"), max_length=16)
    calls = models.PositiveBigIntegerField(_("calls"))
    total_us = models.PositiveBigIntegerField(_("duration of all in µs"))
    longest_us = models.PositiveBigIntegerField(_("duration of the longest in µs"))

    class Meta:
        verbose_name = _("calls in an hour")
        verbose_name_plural = _("calls in hours")
        constraints = (
            models.UniqueConstraint(fields=["hour", "tool", "outcome"], name="mcpapp_call_count_hour_tool_outcome"),
        )

    def __str__(self) -> str:
        return f"{self.tool} {self.hour:%Y-%m-%d %H}"


class CallDuration(models.Model):
    """How many calls of a tool took how long in an hour, however they ended: a histogram, for percentiles.

    Only what was ever as long has a row, which is a few for each tool and hour.
    """

    hour = models.DateTimeField(_("hour"))
    tool = models.CharField(_("tool"), max_length=128)
    bits = models.PositiveSmallIntegerField(_("bits of the duration in µs"))
    """Of the duration in µs as a binary number: from 2 ** (bits - 1) to under 2 ** bits; 0 for under 1 µs."""
    calls = models.PositiveBigIntegerField(_("calls"))

    class Meta:
        verbose_name = _("durations in an hour")
        verbose_name_plural = _("durations in hours")
        default_permissions = ()  # a part of what `CallCount` shows
        constraints = (
            models.UniqueConstraint(fields=["hour", "tool", "bits"], name="mcpapp_call_duration_hour_tool_bits"),
        )

    def __str__(self) -> str:
        return f"{self.tool} {self.hour:%Y-%m-%d %H}: {self.bits} bits"


class ClientUsage(models.Model):
    """How often a client called in a day, all people together."""

    day = models.DateField(_("day"))
    client_id = models.CharField(_("client ID"), max_length=255)
    client_name = models.CharField(_("client name"), max_length=255, blank=True)
    calls = models.PositiveBigIntegerField(_("calls"))
    failed_calls = models.PositiveBigIntegerField(_("calls that failed"))
    """Those that ended in another way than one of `FINE`."""
    last_call_at = models.DateTimeField(_("last call"))

    class Meta:
        verbose_name = _("use of a client in a day")
        verbose_name_plural = _("use of clients in days")
        constraints = (models.UniqueConstraint(fields=["client_id", "day"], name="mcpapp_client_usage_client_day"),)
        indexes = (models.Index(fields=["day"], name="mcpapp_client_usage_day"),)

    def __str__(self) -> str:
        return f"{self.client_name or self.client_id} {self.day}"


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


class Refusal(models.Model):
    """How often a caller was turned away at the door in an hour for one reason, before any tool was reached."""

    class Reason(models.TextChoices):
        """Why."""

        NO_TOKEN = "no_token", _("no access token was sent")
        MALFORMED = "malformed", _("the Authorization header is not one Bearer token")
        UNKNOWN = "unknown", _("the token is none of this server, or was revoked")
        EXPIRED = "expired", _("the token has expired")
        OTHER_RESOURCE = "other_resource", _("the token was issued for another resource")
        INACTIVE = "inactive", _("the person may not act")
        CLIENT_DISABLED = "client_disabled", _("the client is disabled")
        APP_ONLY = "app_only", _("no person takes part, and only people may call")
        FOREIGN = "foreign", _("the token of another issuer was refused")
        SCOPES = "scopes", _("the token lacks a scope")
        UNCHECKABLE = "uncheckable", _("tokens could not be checked")
        ORIGIN = "origin", _("a web page of another origin called")
        HOST = "host", _("the host name is not served here")

    hour = models.DateTimeField(_("hour"))
    reason = models.CharField(_("reason"), max_length=16, choices=Reason.choices)
    ip_address = models.CharField(_("address"), max_length=45, blank=True)
    user_agent = models.CharField(_("user agent"), max_length=120, blank=True)
    client_id = models.CharField(_("client ID"), max_length=255, blank=True)
    """Of the token, where it is known whose it is."""
    detail = models.CharField(_("detail"), max_length=255, blank=True)
    """Of the last one; never a token."""
    requests = models.PositiveBigIntegerField(_("requests"))
    last_at = models.DateTimeField(_("last"))

    class Meta:
        verbose_name = _("refusal")
        verbose_name_plural = _("refusals")
        ordering = ("-last_at",)
        constraints = (
            models.UniqueConstraint(
                fields=["hour", "reason", "ip_address", "user_agent", "client_id"], name="mcpapp_refusal_key"
            ),
        )
        indexes = (models.Index(fields=["last_at"], name="mcpapp_refusal_last"),)

    def __str__(self) -> str:
        return f"{self.get_reason_display()} {self.hour:%Y-%m-%d %H}"
