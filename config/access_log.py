"""Keep what clients put into URLs out of the access log: codes, states, and tokens that do not belong there."""

import logging
import re

# The keys of links that set a password, and the like, are in the path.
SECRET_IN_PATH = re.compile(r"(/key/)[^/]+")


class WithoutQuery(logging.Filter):
    """Cut the query string, and secrets in paths, from uvicorn's access log lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the line; never drop it."""
        # uvicorn logs (client, method, path with query, HTTP version, status).
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, *rest = record.args
            record.args = (client, method, SECRET_IN_PATH.sub(r"\1…", str(path).partition("?")[0]), *rest)
        return True


def install() -> None:
    """Add the filter once to uvicorn's access logger, however uvicorn was started."""
    logger = logging.getLogger("uvicorn.access")
    if not any(isinstance(known, WithoutQuery) for known in logger.filters):
        logger.addFilter(WithoutQuery())
