"""The site's settings, with a lifespan that fails."""

from config.settings import *  # noqa: F403

ASGI_APPLICATION = "tests.settings_that_cannot_start.application"


async def application(scope: object, receive: object, send: object) -> None:
    """Fail."""
    raise RuntimeError("on purpose")
