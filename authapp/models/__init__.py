"""Clients, who connected them, and what is kept of it.

Codes and tokens themselves are django-oauth-toolkit's models; the client is ours (docs/decisions/0001).
"""

from authapp.models.accounts import AccountCheck, IdentityCredential
from authapp.models.attempt import ConnectionAttempt
from authapp.models.audit import AuditEvent
from authapp.models.client import Application
from authapp.models.consent import Connection, Rotation, TokenFamily
from authapp.models.device import DeviceAuthorization
from authapp.models.host_rule import ClientHostRule
from authapp.models.issuers import AssertedToken, LinkedIdentity, TrustedIssuer
from authapp.models.keys import KeySet, UsedAssertion
from authapp.models.signing_key import PairwiseSecret, SigningKey

__all__ = [
    "AccountCheck",
    "Application",
    "AssertedToken",
    "AuditEvent",
    "ClientHostRule",
    "Connection",
    "ConnectionAttempt",
    "DeviceAuthorization",
    "IdentityCredential",
    "KeySet",
    "LinkedIdentity",
    "PairwiseSecret",
    "Rotation",
    "SigningKey",
    "TokenFamily",
    "TrustedIssuer",
    "UsedAssertion",
]
