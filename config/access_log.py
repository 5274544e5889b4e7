"""Keep what clients put into URLs out of the access log: codes, states, and tokens that do not belong there.

And what says nothing: a probe every few seconds that found all well.
"""

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


class WithoutProbes(logging.Filter):
    """Drop the lines of probes that were answered 200 (`config.health`)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is to stay."""
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            return True
        return (str(record.args[2]).partition("?")[0], record.args[4]) not in {("/healthz", 200), ("/readyz", 200)}


def install() -> None:
    """Add each filter once to uvicorn's access logger, however uvicorn was started."""
    logger = logging.getLogger("uvicorn.access")
    for kind in (WithoutQuery, WithoutProbes):
        if not any(isinstance(known, kind) for known in logger.filters):
            logger.addFilter(kind())
