"""The site's settings with tools that go wrong, for real servers."""

from config.settings import *  # noqa: F403
from config.settings import MCPAPP

MCPAPP = {
    **MCPAPP,
    "TOOL_MODULES": [*MCPAPP.get("TOOL_MODULES", ()), "tests.faults.tools"],
    "STREAMS": 2500,
}
