"""What the doctor looks at: for each check how it should be, why that matters, to whom, and what mends it.

The steps of the walk name a check by its id and say what they saw; all that is always the same stands here, and
docs/doctor.md has the same ids.
"""

from __future__ import annotations

from mcpapp.doctor.checks import authorizing, calling, discovering, registering, tokens
from mcpapp.doctor.checks.check import Check

CHECKS: dict[str, Check] = {
    **discovering.CHECKS,
    **registering.CHECKS,
    **authorizing.CHECKS,
    **tokens.CHECKS,
    **calling.CHECKS,
}

STEPS = {
    "endpoint": "First request",
    "challenge": "First request",
    "discovery": "Discovery",
    "registration": "Registration",
    "authorization": "Authorization",
    "site": "Authorization",
    "token": "Token",
    "call": "Tools",
    "refresh": "Refresh",
    "revocation": "Revocation",
}
"""The step that a check belongs to, by the first word of its id."""
