"""The site's settings with resources that change, for real servers."""

from config.settings import *  # noqa: F403
from config.settings import MCPAPP

MCPAPP = {**MCPAPP, "TOOL_MODULES": [*MCPAPP.get("TOOL_MODULES", ()), "tests.mcpapp.library"]}
