"""The site's settings with sessions on, for real servers."""

from config.settings import *  # noqa: F403
from config.settings import MCPAPP

MCPAPP = {**MCPAPP, "SESSIONS": True}
