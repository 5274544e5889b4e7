"""`runserver` for the whole site: Django and /star on uvicorn, with Django's autoreload and options."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from typing import Any

import uvicorn
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.management.commands.runserver import Command as StaticFilesCommand
from django.core.management.base import CommandError
from django.db import DatabaseError
from django.utils import autoreload

from mcpapp import conf
from mcpapp.connect import cards

SHOWN_IN_TERMINAL = ("vscode", "claude-code", "cursor")
"""Of the clients on the connect page."""
DEVELOPMENT_PEOPLE = (("demo", "demo"), ("demo2", "demo2"), ("admin", "admin (staff)"))


class Command(StaticFilesCommand):
    """Serve the site for development. Options are Django's own; --nothreading is accepted and means nothing here."""

    help = "Starts a development server for the whole site, the MCP endpoint included."

    # Django sets these when it reads the command line.
    addr: str
    port: str
    use_ipv6: bool

    def run(self, **options: Any) -> None:
        """Check the address once, say how to connect, then serve: with a reloader around it unless told not to."""
        if os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) != "true":
            self._require_own_port()
            self._require_free_address()
            self._welcome()
        super().run(**options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve until stopped. Runs again in a new process after each change of the code."""
        autoreload.raise_last_exception()
        if not options["skip_checks"]:
            self.check(**self.get_check_kwargs(options))  # type: ignore[arg-type]
        self.check_migrations()
        config = uvicorn.Config(
            _asgi_application(),
            host=self.addr,
            port=int(self.port),
            log_level="info",
            access_log=True,
            server_header=False,
            # Ctrl-C must not wait for a client's open stream.
            timeout_graceful_shutdown=1,
            lifespan="on",
        )
        server = uvicorn.Server(config)
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
        if not server.started:
            sys.exit(1)

    def _require_own_port(self) -> None:
        """Start over with PORT set when the address given is another than the settings know.

        Issuer and resource contain the port, and clients compare them with the URL they were given.
        """
        if not getattr(settings, "PUBLIC_URL_FOLLOWS_PORT", False) or str(settings.PORT) == str(self.port):
            return
        os.environ["PORT"] = str(self.port)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  (ourselves, once more)

    def _require_free_address(self) -> None:
        family = socket.AF_INET6 if self.use_ipv6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.addr, int(self.port)))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise CommandError(
                        f"Port {self.port} is in use. Stop what uses it, or choose another: make run PORT=8001"
                    ) from error
                raise CommandError(f"Cannot listen on {self.addr}:{self.port}: {error.strerror}.") from error

    def _welcome(self) -> None:
        url = conf.resources()[0]
        site = url.rpartition("/")[0]
        lines = ["", self.style.SUCCESS("Star is starting."), "", f"  Paste this URL into your client:  {url}", ""]
        people = self._development_people()
        if people:
            lines += ["  Sign in as (user / password):     " + ", ".join(people), ""]
        for card in cards(url, {}):
            if card.client in SHOWN_IN_TERMINAL:
                lines.append(f"  {card.title} – {card.where}")
                lines += [f"    {line}" for line in card.text.splitlines()]
                lines.append("")
        lines += [f"  The site: {site}/    The admin: {site}/admin/    Stop with Ctrl-C.", ""]
        self.stdout.write("\n".join(lines))

    def _development_people(self) -> list[str]:
        """Return the well-known accounts that exist; none of them does outside development."""
        if not settings.DEBUG:
            return []
        try:
            model = get_user_model()
            names = {name for name, _ in DEVELOPMENT_PEOPLE}
            field = model.USERNAME_FIELD
            existing = set(model.objects.filter(**{f"{field}__in": names}).values_list(field, flat=True))
        except DatabaseError:
            return []
        return [f"{name} / {password}" for name, password in DEVELOPMENT_PEOPLE if name in existing]


def _asgi_application() -> str:
    """Return `settings.ASGI_APPLICATION` the way uvicorn spells it."""
    application = getattr(settings, "ASGI_APPLICATION", None)  # a new Django project has none
    if not application:
        raise CommandError("Set ASGI_APPLICATION to an application that hands /star to mcpapp, like config/asgi.py.")
    module, _, attribute = application.rpartition(".")
    return f"{module}:{attribute}"
