"""What writing needs to know of the site. The process that writes has no site, so it is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from mcpapp.call_log.redaction import policy_of


class Plan(NamedTuple):
    """How the calls of one run of a server are written; it can be pickled."""

    alias: str
    """Django's name of the database."""
    tables: Mapping[str, str]
    """By the names of the models."""
    fine: Collection[str]
    """Outcomes in which nothing went wrong."""
    tools: Collection[str]
    """All there are: clients can make up any name."""
    arguments: str | Mapping[str, str]
    """`MCPAPP["CALL_LOG_ARGUMENTS"]`"""
    secret: Collection[str]
    """`MCPAPP["CALL_LOG_SECRET_ARGUMENTS"]`"""

    @classmethod
    def of_site(cls) -> Plan:
        """Return what this site's is."""
        # Here alone: whoever writes elsewhere imports this module without a site.
        from django.db import router

        from mcpapp import conf, models
        from mcpapp.registry import discover

        written = (models.ToolCall, models.CallCount, models.CallDuration, models.ClientUsage, models.ConnectionUsage)
        return cls(
            alias=router.db_for_write(models.ToolCall),
            tables={model.__name__: model._meta.db_table for model in written},
            fine=frozenset(models.FINE),
            tools=frozenset(discover().tools),
            arguments=conf.call_log_arguments(),
            secret=conf.call_log_secret_arguments(),
        )

    def policy(self, tool: str) -> Any:
        """Return what is kept of a tool's arguments (`mcpapp.call_log.redaction`)."""
        return policy_of(self.arguments, tool)
