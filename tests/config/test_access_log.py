"""The access log names paths; what clients put behind the question mark stays out."""

import logging

from config.access_log import WithoutQuery, install


def record(path: str) -> logging.LogRecord:
    arguments = ("127.0.0.1:5", "GET", path, "1.1", 200)
    return logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', arguments, None)


def test_a_query_is_cut_from_the_access_log() -> None:
    line = record("/o/authorize/?state=secret&code=secret")
    assert WithoutQuery().filter(line)
    assert line.getMessage() == '127.0.0.1:5 - "GET /o/authorize/ HTTP/1.1" 200'


def test_the_filter_is_installed_once() -> None:
    install()
    install()
    assert sum(isinstance(known, WithoutQuery) for known in logging.getLogger("uvicorn.access").filters) == 1
