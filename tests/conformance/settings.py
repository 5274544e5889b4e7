"""The site's settings with what the official conformance suite calls, for real servers."""

from config.settings import *  # noqa: F403
from config.settings import MCPAPP

MCPAPP = {**MCPAPP, "TOOL_MODULES": [*MCPAPP["TOOL_MODULES"], "tests.conformance.fixtures", "tests.conformance.rounds"]}
