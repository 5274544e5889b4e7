"""The access log names paths; what clients put behind the question mark stays out."""

import logging

import pytest

from config.access_log import WithoutProbes, WithoutQuery, install


def record(path: str, status: int = 200) -> logging.LogRecord:
    arguments = ("127.0.0.1:5", "GET", path, "1.1", status)
    return logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', arguments, None)


def test_a_query_is_cut_from_the_access_log() -> None:
    line = record("/o/authorize/?state=secret&code=secret")
    assert WithoutQuery().filter(line)
    assert line.getMessage() == '127.0.0.1:5 - "GET /o/authorize/ HTTP/1.1" 200'


@pytest.mark.parametrize(
    ("path", "status", "stays"),
    [
        ("/healthz", 200, False),
        ("/readyz", 200, False),
        ("/readyz?x=1", 200, False),
        ("/readyz", 503, True),
        ("/healthz", 405, True),
        ("/healthz/", 200, True),
        ("/", 200, True),
    ],
)
def test_only_probes_that_found_all_well_are_not_logged(path: str, status: int, stays: bool) -> None:
    assert WithoutProbes().filter(record(path, status)) is stays


def test_each_filter_is_installed_once() -> None:
    install()
    install()
    filters = logging.getLogger("uvicorn.access").filters
    for kind in (WithoutQuery, WithoutProbes):
        assert sum(isinstance(known, kind) for known in filters) == 1
