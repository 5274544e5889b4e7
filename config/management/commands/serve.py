"""Serve the site in production: uvicorn, with what this site needs of it."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from config.ending import WorkerConfig

READY_SECONDS = 30
"""How long a new worker may take until it serves: uvicorn's 5 s are short for one that starts beside a full load.
Longer would be worse: one that dies while it is asked how it is, is missed only after this time."""
KEEP_ALIVE_SECONDS = 75
"""Longer than a proxy keeps an idle connection (nginx: 60 s): who closes first must be the one that sends, or a request
meets a connection that has just been closed."""


class Command(BaseCommand):
    """Start the workers under a supervisor, also where there is only one: it is what replaces them at SIGHUP."""

    help = (
        "Serve the site with uvicorn. SIGTERM ends it: streams end, calls finish within the time given. SIGHUP "
        "replaces the workers one by one, each once its successor serves: new code without a refused request."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take what differs from machine to machine; the rest is in the settings."""
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="the port (default: %(default)s)")
        parser.add_argument(
            "--workers",
            type=int,
            default=settings.WORKERS,
            help="how many processes serve, one for each core; also WEB_CONCURRENCY (default: %(default)s)",
        )
        parser.add_argument(
            "--forwarded-allow-ips",
            default=",".join(settings.FORWARDED_ALLOW_IPS),
            help="the proxies whose X-Forwarded-For counts, as addresses or networks with commas; also "
            "FORWARDED_ALLOW_IPS (default: %(default)s)",
        )
        parser.add_argument(
            "--limit-concurrency",
            type=int,
            default=2000,
            help="how many connections a worker has at once, open streams included; 503 beyond (default: %(default)s)",
        )
        parser.add_argument(
            "--timeout-graceful-shutdown",
            type=int,
            default=10,
            help="how many seconds calls may take to finish at the end (default: %(default)s)",
        )
        parser.add_argument("--no-access-log", action="store_true", help="log no line for each request")

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until told to end.

        Raises:
            CommandError: a number makes no sense.
        """
        for name in ("workers", "limit_concurrency", "timeout_graceful_shutdown"):
            if options[name] < 1:
                raise CommandError(f"--{name.replace('_', '-')} must be at least 1.")
        _raise_open_files()
        module, _, attribute = settings.ASGI_APPLICATION.rpartition(".")
        config = WorkerConfig(
            f"{module}:{attribute}",
            host=options["host"],
            port=options["port"],
            workers=options["workers"],
            forwarded_allow_ips=options["forwarded_allow_ips"],
            limit_concurrency=options["limit_concurrency"],
            timeout_graceful_shutdown=options["timeout_graceful_shutdown"],
            timeout_worker_healthcheck=READY_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            access_log=not options["no_access_log"],
            # None of uvicorn's own: its lines look like all others, and go where LOGGING says.
            log_config=None,
            log_level="info",
            lifespan="on",
            server_header=False,
            ws="none",
        )
        supervisor = Multiprocess(config, sockets=[config.bind_socket()])
        supervisor.run()
        if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
            sys.exit(STARTUP_FAILURE)  # so that what started this sees a failure and not an end


def _raise_open_files() -> None:
    """Allow as many open files as the system does: each connection is one, and the usual soft limit is 1024."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
