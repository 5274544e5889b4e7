#!/usr/bin/env python
"""Run Django's command line for Star; `python manage.py help` lists the commands."""

import os
import sys


def main() -> None:
    """Run one management command; a bad setting or database ends it with a sentence, not a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
        from django.db import OperationalError
    except ImportError:
        sys.exit("Django is not installed for this Python. Run `make run`, or use .venv/bin/python manage.py.")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Star cannot start: {error}")
    except OperationalError as error:
        if "--traceback" in sys.argv:
            raise
        from django.conf import settings

        database = settings.DATABASES["default"]
        sys.exit(f"Star cannot use its database {database.get('HOST') or ''}{database['NAME']}: {error}".strip())


if __name__ == "__main__":
    main()
