"""The same with sessions on, which the protocol up to 2025-11-25 needs to ask the client something."""

from tests.conformance.settings import *  # noqa: F403
from tests.conformance.settings import MCPAPP

MCPAPP = {**MCPAPP, "SESSIONS": True}
