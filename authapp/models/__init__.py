"""Clients, who connected them, and what is kept of it.

Codes and tokens themselves are django-oauth-toolkit's models; the client is ours (docs/decisions/0001).
"""

from authapp.models.audit import AuditEvent
from authapp.models.client import Application
from authapp.models.consent import Connection, Rotation, TokenFamily
from authapp.models.host_rule import ClientHostRule
from authapp.models.signing_key import PairwiseSecret, SigningKey

__all__ = [
    "Application",
    "AuditEvent",
    "ClientHostRule",
    "Connection",
    "PairwiseSecret",
    "Rotation",
    "SigningKey",
    "TokenFamily",
]
